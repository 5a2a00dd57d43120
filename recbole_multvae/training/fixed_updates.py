"""A training for a number of updates that is known before, without validation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from recbole.trainer import Trainer


class FixedUpdates(Trainer):
    """Overrides for any trainer of RecBole: put this class before it among the bases.

    The last epoch may be a part of one. The checkpoint is saved once, at the end.

    Attributes:
        updates: how many batches the training has in all; ``epochs`` is that number in epochs, rounded up. Where an epoch
            visits its batches several times, as RecVAE's does, each visit counts once for all.
    """

    updates: int

    def _train_epoch(self, train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
        left = self.updates - epoch_idx * len(train_data)
        batches = FirstBatches(train_data, left) if left < len(train_data) else train_data
        return super()._train_epoch(batches, epoch_idx, *args, **kwargs)

    def _save_checkpoint(self, epoch: int, *args: Any, **kwargs: Any) -> None:
        if epoch + 1 >= self.epochs:
            super()._save_checkpoint(epoch, *args, **kwargs)


class FirstBatches:
    """The first batches of a loader; other attributes are the loader's."""

    def __init__(self, loader: Any, number: int) -> None:
        self._loader, self._number = loader, number

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[Any]:
        return islice(self._loader, self._number)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
