"""Weak generalization with records drawn at random: the protocol of J. Liu and W. Pan's slides on Mult-VAE.

The records of all users together are shuffled and cut into training, validation and test. Two things differ from RecBole's
``eval_args: {split: {RS: [6, 2, 2]}, group_by: none}``:

* validation and test have only items of training;
* the items of validation may be recommended in the test, where RecBole masks them. They are never relevant there, so that
  metrics are lower than with RecBole's split.

``eval_args: {split: {WG: {ratios: [6, 2, 2]}}}`` chooses it. ``group_by`` and ``order`` have no effect.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from recbole_multvae.config.run_settings import Seed
from recbole_multvae.config.settings import Settings, setting
from recbole_multvae.data.csr import distinct_clicks
from recbole_multvae.data.protocols.base import Protocol, check_mode, keep_items_of, mask, part, read_arguments, seed_of
from recbole_multvae.errors import DataError

Ratio = Annotated[float, Field(gt=0)]


class WeakGeneralizationSettings(Settings):
    """The arguments of ``WG``."""

    ratios: list[Ratio] = setting(
        [0.6, 0.2, 0.2], "three positive numbers", "the shares of training, validation and test", min_length=3, max_length=3
    )
    seed: Seed | None = setting(
        None, "an integer from 0 to 4294967295", "draws the records; None: `split_seed`, or else `seed`"
    )  # fmt: skip


class WeakGeneralization(Protocol):
    """Holds out records, not users."""

    name: ClassVar[str] = "WG"

    def split(self, dataset: Any, arguments: Any) -> list[Any]:
        """Split the records. Items that are not in training are removed from the data set.

        Raises:
            ConfigurationError: an argument is not allowed.
            DataError: a part has no record.
        """
        settings = read_arguments(WeakGeneralizationSettings, self.name, arguments)
        check_mode(dataset.config, self.name)
        seed = seed_of(dataset.config, settings.seed)
        part_of_row = _draw(len(dataset.inter_feat), settings.ratios, seed)
        part_of_row = part_of_row[keep_items_of(dataset, part_of_row == 0)]
        parts = [np.flatnonzero(part_of_row == number) for number in range(3)]
        if not all(map(len, parts)):
            raise DataError(
                f"eval_args split WG ratios={settings.ratios} leave {', '.join(str(len(rows)) for rows in parts)} records "
                "for training, validation and test: every part needs one of an item of training."
            )
        train, *held_out = (part(dataset, rows) for rows in parts)
        clicks = distinct_clicks(train)
        return [train, *(mask(data, clicks) for data in held_out)]


def _draw(records: int, ratios: list[float], seed: int) -> np.ndarray:
    """The part of every record: 0 for training, 1 for validation, 2 for the test, int8 [records]."""
    cuts = np.rint(np.cumsum(ratios) / sum(ratios) * records).astype(int)[:2]
    part_of_row = np.zeros(records, dtype=np.int8)
    for number, rows in enumerate(np.split(np.random.RandomState(seed).permutation(records), cuts)):
        part_of_row[rows] = number
    return part_of_row
