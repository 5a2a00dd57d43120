"""The base of the protocols of evaluation, and the functions with which they split a data set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from recbole.data.interaction import Interaction
from scipy.sparse import csr_matrix

from recbole_multvae.config.keys import did_you_mean
from recbole_multvae.config.run_settings import RunSettings
from recbole_multvae.config.settings import Settings
from recbole_multvae.data.known_items import known_ids
from recbole_multvae.errors import ConfigurationError

AnySettings = TypeVar("AnySettings", bound=Settings)


class Protocol(ABC):
    """A way to hold data out. A subclass sets ``name``, its key in ``eval_args: {split: {name: arguments}}``.

    Attributes:
        by_time: whether times decide. Then they are loaded, and :meth:`split` finds them exact.
    """

    name: ClassVar[str]
    by_time: ClassVar[bool] = False

    @classmethod
    def new_users(cls, arguments: Any) -> bool:
        """Whether only users who are not in training are evaluated.

        Then only models that score a user from clicks can be evaluated; others are refused before the data set is read.

        Args:
            arguments: the value in the configuration under the protocol's name.

        Raises:
            ConfigurationError: the arguments are not allowed.
        """
        return False

    @abstractmethod
    def split(self, dataset: Any, arguments: Any) -> list[Any]:
        """Split the interactions.

        Args:
            dataset: the whole data set, its rows in the order of the file; :func:`part` makes a part of it.
            arguments: the value in the configuration under the protocol's name.

        Returns:
            The data sets for training, validation and test, in this order. See :func:`fold_in` for users who are not
            in training, and :func:`mask` for items that are not recommended.

        Raises:
            ConfigurationError: the arguments are not allowed.
            DataError: the data set is too small for this split.
        """


def part(dataset: Any, rows: np.ndarray) -> Any:
    """A data set of some of the interactions; ``rows`` is an integer array.

    RecBole's ``dataset.copy(dataset.inter_feat[rows])`` makes a Python list of the array first.
    """
    index = torch.from_numpy(rows)
    return dataset.copy(Interaction({name: values[index] for name, values in dataset.inter_feat.interaction.items()}))


def fold_in(dataset: Any, histories: csr_matrix, whole: Any) -> Any:
    """In the evaluation of ``dataset``, let the model score users by these histories, not by their training clicks.

    The items of a user's history are not recommended to the user.

    Args:
        dataset: a part for validation or test, which holds the relevant items.
        histories: the clicks of each user that the model sees, one entry for a pair of user and item, [n_users, n_items].
        whole: a data set of all interactions of these users, for a training that has them in it (``refit``).

    Returns:
        The data set.
    """
    dataset.fold_in, dataset.whole = histories, whole
    return mask(dataset, histories)


def mask(dataset: Any, clicks: csr_matrix) -> Any:
    """In the evaluation of ``dataset``, do not recommend these items; all others may be recommended.

    Without a mask, RecBole does not recommend the items of training, nor in the test those of validation.

    Args:
        dataset: a part for validation or test, which holds the relevant items; these are not masked.
        clicks: one entry for a pair of user and item, [n_users, n_items].

    Returns:
        The data set.
    """
    dataset.masked = clicks
    return dataset


def keep_items_of(dataset: Any, rows: np.ndarray, cold: Sequence[int] | np.ndarray = ()) -> np.ndarray:
    """Remove the items that are in none of the ``rows`` from the interactions, the tokens and the features.

    Items that the model knows from ``warm_start`` stay.

    Args:
        dataset: the whole data set, changed in place.
        rows: the interactions whose items are kept, bool [interactions].
        cold: ids of other items that stay; their new ids come after those of all others.

    Returns:
        The rows of the interactions that are left, int64.
    """
    field = dataset.iid_field
    items = dataset.inter_feat[field].numpy()
    clicked = np.bincount(items[rows], minlength=dataset.item_num)
    clicked[0] = 1  # RecBole's padding item.
    clicked[known_ids(dataset)] = 1
    kept = np.append(np.flatnonzero(clicked), np.asarray(cold, dtype=np.int64))
    ids = np.full(dataset.item_num, -1)
    ids[kept] = np.arange(len(kept))
    left = np.flatnonzero(ids[items] >= 0)
    dataset.inter_feat = part(dataset, left).inter_feat
    dataset.inter_feat[field] = torch.from_numpy(ids[dataset.inter_feat[field].numpy()])
    dataset.field2id_token[field] = dataset.field2id_token[field][kept]
    dataset.field2token_id[field] = {token: item for item, token in enumerate(dataset.field2id_token[field])}
    if dataset.item_feat is not None:
        dataset.item_feat = dataset.item_feat[kept]
        dataset.item_feat[field] = torch.arange(len(kept))
    return left


def read_arguments(settings_class: type[AnySettings], protocol: str, arguments: Any) -> AnySettings:
    """Read the value in the configuration under the protocol's name; None: the defaults.

    Raises:
        ConfigurationError: an argument is unknown or not allowed.
    """
    arguments = {} if arguments is None else arguments
    known = settings_class.model_fields
    if not isinstance(arguments, Mapping):
        expected = f"a dictionary with some of {', '.join(known)}"
        raise ConfigurationError.of_value(f"eval_args split {protocol}", arguments, expected)
    for name in arguments.keys() - known.keys():
        hint = did_you_mean(str(name), known, f": expected some of {', '.join(known)}.")
        raise ConfigurationError(f"eval_args split {protocol} has no argument {name!r}{hint}")
    return settings_class.from_config(arguments)


def seed_of(config: Any, seed: int | None) -> int:
    """The seed with which a protocol draws: its own argument, ``split_seed``, or else ``seed``."""
    seeds = (seed, RunSettings.from_config(config).split_seed, config["seed"])
    return next(seed for seed in seeds if seed is not None)


def check_mode(config: Any, protocol: str) -> None:
    """Refuse rankings of sampled items.

    Raises:
        ConfigurationError: ``eval_args`` has another mode than full.
    """
    for mode in config["eval_args"]["mode"].values():
        if mode != "full":
            raise ConfigurationError(
                f"eval_args mode={mode!r} does not go with split {protocol}, which ranks all items: take full."
            )
