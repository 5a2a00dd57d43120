"""One clock for everyone: training, then validation, then the test.

What happened before one time is training, for all users alike; what follows is validation, and from a second time on the
test. No model is trained on what comes after the test begins. RecBole's ``TS`` cuts validation off user by user, so that
training holds clicks that are later than the first of the test.

``eval_args: {split: {GT: {valid_from: 0.8, test_from: 0.9, users: all}}}`` chooses it. ``group_by`` has no effect.

* A model that scores a user from clicks reads all of the user's clicks before the part begins, also those that are newer
  than the training. They are not recommended again, by no model. Other models know only the users of training.
* An item that nobody clicked before ``valid_from`` is left out of the data: it is neither recommended nor relevant, and its
  clicks are in no history. How many there are is logged, and stands in the report. In a refit (``refit: True``) this is
  ``test_from``, so that the new items of validation are there.
* With ``cold_items: features`` such an item stays if the ``.item`` file says something about it (:mod:`..cold_items`).
"""

from __future__ import annotations

from logging import getLogger
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.sparse import csr_matrix

from recbole_multvae.config.run_settings import RunSettings
from recbole_multvae.config.settings import Settings, setting
from recbole_multvae.data.cold_items import find_cold_items
from recbole_multvae.data.csr import ones
from recbole_multvae.data.known_items import known_ids
from recbole_multvae.data.normalization import times_in_file
from recbole_multvae.data.protocols.base import Protocol, check_mode, fold_in, keep_items_of, part, read_arguments
from recbole_multvae.errors import ConfigurationError, DataError
from recbole_multvae.times import since_1970, unit_of

#: A share of the interactions, a time in the unit of the column, or a date.
Boundary = int | float | str
PARTS = ("training", "validation", "test")
_BOUNDARY = "a share between 0 and 1, a time in the unit of the column, or a date such as '2020-05-31'"


class GlobalTimeSettings(Settings):
    """The arguments of ``GT``."""

    valid_from: Boundary = setting(0.8, _BOUNDARY, "where training ends and validation begins")
    test_from: Boundary = setting(0.9, _BOUNDARY, "where validation ends and the test begins")
    users: Literal["all", "known", "new"] = setting(
        "all",
        "all, known or new",
        "whose clicks are relevant: all users'; those of users in training; in the test those of users who are not in "
        "training and have clicks before test_from (validation has the known ones)",
    )


class GlobalTime(Protocol):
    """Cuts at two times."""

    name: ClassVar[str] = "GT"
    by_time: ClassVar[bool] = True

    @classmethod
    def new_users(cls, arguments: Any) -> bool:
        """Whether only users who are not in training count in the test."""
        return read_arguments(GlobalTimeSettings, cls.name, arguments).users == "new"

    def split(self, dataset: Any, arguments: Any) -> list[Any]:
        """Split the interactions, each part in order of time.

        Raises:
            ConfigurationError: an argument is not allowed, or the test does not begin after the validation.
            DataError: a part has no interaction that counts, or ``cold_items`` finds no fields of the items.
        """
        settings = read_arguments(GlobalTimeSettings, self.name, arguments)
        check_mode(dataset.config, self.name)
        times = _times(dataset)
        order = np.argsort(times, kind="stable")
        dataset.inter_feat, times = part(dataset, order).inter_feat, times[order]
        cuts = [_time(key, getattr(settings, key), times) for key in ("valid_from", "test_from")]
        if cuts[0] >= cuts[1]:
            expected = f"a later time than valid_from={settings.valid_from!r}; the two are {cuts[0]} and {cuts[1]}"
            raise ConfigurationError.of_value("eval_args split GT test_from", settings.test_from, expected)
        part_of_row = np.searchsorted(cuts, times, side="right")
        _rows(part_of_row == 0, 0, settings.users)
        trained = part_of_row <= RunSettings.from_config(dataset.config).refit
        cold, dataset.cold_items = find_cold_items(dataset, trained)
        unseen = _unseen(dataset, trained, part_of_row, cold)
        part_of_row = part_of_row[keep_items_of(dataset, trained, cold)]
        held_out = [_held_out(dataset, part_of_row, number, settings.users) for number in (1, 2)]
        for data, name, counts in zip(held_out, PARTS[1:], unseen, strict=True):
            data.left_out, data.of_cold_items = counts
            _log(name, data)
        return [part(dataset, np.flatnonzero(part_of_row == 0)), *held_out]


def _times(dataset: Any) -> np.ndarray:
    """The exact times of all interactions, float64 or int64."""
    times: np.ndarray = dataset.inter_feat[dataset.time_field].numpy()
    return times_in_file(dataset, times[:, 0] if times.ndim > 1 else times)  # Of two dimensions among numerical_features.


def _time(key: str, boundary: Boundary, times: np.ndarray) -> Any:
    """The time of a boundary in the unit of the column; of a share, that of the interaction in this place.

    Args:
        key: the name of the boundary.
        boundary: as the user wrote it.
        times: of all interactions, in order.
    """
    if isinstance(boundary, str):
        try:
            exact = since_1970(boundary, unit_of(float(abs(times[-1]))))
        except ValueError:
            raise ConfigurationError.of_value(f"eval_args split GT {key}", boundary, _BOUNDARY) from None
        return float(exact) if times.dtype == np.float64 else -(-exact.numerator // exact.denominator)
    return times[int(boundary * len(times))] if 0 < boundary < 1 else boundary


def _unseen(
    dataset: Any, trained: np.ndarray, part_of_row: np.ndarray, cold: np.ndarray
) -> list[tuple[dict[str, int], dict[str, int]]]:
    """How many items and interactions there are of items that no interaction of training has.

    Args:
        dataset: the whole data set.
        trained: the interactions of training, bool [interactions].
        part_of_row: of each interaction.
        cold: ids of the items that stay nevertheless.

    Returns:
        For validation and test, the numbers of what is left out, and of what stays.
    """
    items = dataset.inter_feat[dataset.iid_field].numpy()
    new, stays = ~np.isin(items, np.append(items[trained], known_ids(dataset))), np.isin(items, cold)

    def counts(rows: np.ndarray) -> dict[str, int]:
        return {"items": len(np.unique(items[rows])), "interactions": int(rows.sum())}

    parts = [part_of_row == number for number in (1, 2)]
    return [(counts(rows & new & ~stays), counts(rows & stays)) for rows in parts]


def _held_out(dataset: Any, part_of_row: np.ndarray, number: int, counted: str) -> Any:
    """Validation (1) or test (2) with the users' histories.

    New users are those of the test: before the validation begins nobody has a history but the users of training.
    """
    users, items = (dataset.inter_feat[field].numpy() for field in (dataset.uid_field, dataset.iid_field))
    before, rows = part_of_row < number, part_of_row == number
    known = np.isin(users, users[part_of_row == 0])
    if counted == "new" and number == 2:
        counts = rows & ~known & np.isin(users, users[before])
    else:
        counts = rows if counted == "all" else rows & known
    counting = _rows(counts, number, counted)
    seen = (np.ones(np.count_nonzero(before), dtype=np.int8), (users[before], items[before]))
    histories = ones(csr_matrix(seen, shape=(dataset.user_num, dataset.item_num)))
    data = fold_in(part(dataset, counting), histories, part(dataset, np.flatnonzero(rows)))
    data.history_rows = np.flatnonzero(before)
    return data


def _rows(counts: np.ndarray, number: int, users: str) -> np.ndarray:
    """The numbers of the rows of a part that count. Without any there is an error."""
    if not counts.any():
        raise DataError(
            f"eval_args split GT leaves no interaction for the {PARTS[number]}, with users={users!r} and items of training: "
            "move valid_from and test_from, or take users='all'."
        )
    return np.flatnonzero(counts)


def _log(name: str, data: Any) -> None:
    if data.left_out["items"]:
        getLogger().info(
            f"split GT leaves out {data.left_out['items']:,} items that are not in training, and their "
            f"{data.left_out['interactions']:,} interactions, from the {name}."
        )
    if data.of_cold_items["items"]:
        getLogger().info(
            f"{data.of_cold_items['items']:,} items that are not in training, with {data.of_cold_items['interactions']:,} "
            f"interactions, stay in the {name}: their weights follow from {', '.join(data.cold_items.fields)}."
        )
