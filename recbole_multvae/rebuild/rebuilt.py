"""Answers about a checkpoint's data set for ``multvae-export``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from recbole_multvae.checkpoint import load
from recbole_multvae.errors import DataError
from recbole_multvae.rebuild.data import find_dataset
from recbole_multvae.rebuild.proof import NAMED, Proof, compare_names, prove
from recbole_multvae.rebuild.split import Split


class Rebuilt:
    """The data set of a checkpoint. Answers come only from a data set that is proved to be the one of the training.

    Args:
        split: the data set.
        trusted: whether the user vouches for it, where the checkpoint cannot tell.
        progress: called with a sentence before each step that may take long.

    Attributes:
        proof: why it is the data set of the training; None while nothing has been compared.

    Raises:
        DataError: the checkpoint holds other names than the data set.
    """

    def __init__(self, split: Split, trusted: bool, progress: Callable[[str], None]) -> None:
        self._split, self._trusted, self._progress = split, trusted, progress
        self.proof: Proof | None = compare_names(split)

    @cached_property
    def _proved(self) -> Split:
        """The split of the training. Finding it sets :attr:`proof`."""
        if self.proof is NAMED:
            return self._split
        try:
            self.proof = prove(self._split, self._trusted, self._progress)
        except DataError:
            if (split := self._split_by_recbole_times()) is None:
                raise
            self._split = split  # The memory of the other one is free again.
        return self._split

    def _split_by_recbole_times(self) -> Split | None:
        """The data set in the order of RecBole's float32 times, if that is the split of the training."""
        if self._split.config["eval_args"]["order"] != "TO":
            return None
        split = Split(self._split.checkpoint, times=np.float32)
        try:
            proof = prove(split, self._trusted, self._progress)
        except DataError:
            return None
        self.proof = replace(proof, reason=f"{proof.reason}; it is split by times in float32, as RecBole does")
        return split

    @property
    def item_tokens(self) -> list[str]:
        """The item tokens in order of RecBole's ids, the padding item's first. A split may leave items out."""
        return self._proved.tokens(self._proved.train.iid_field)

    @property
    def user_tokens(self) -> list[str]:
        """The user tokens in order of RecBole's ids, the padding user's first."""
        return self._proved.tokens(self._proved.train.uid_field)

    def training(self) -> tuple[np.ndarray, np.ndarray]:
        """The users and the items of the training clicks, int64 [N] each."""
        return self._proved.training()

    def proved_model(self) -> Any:
        """RecBole's model with the weights of the checkpoint, in evaluation mode. It is not kept here: it may be large."""
        split = self._proved
        model = split.model
        del split.model
        return model


def rebuild(checkpoint_path: str, dataset_path: str, trusted: bool, progress: Callable[[str], None]) -> Rebuilt:
    """Read the data set of a checkpoint, and compare it with the names that the checkpoint holds.

    Args:
        checkpoint_path: a checkpoint of RecBole's ``Trainer``; it is not executed.
        dataset_path: the folder of the data set, or the folder that holds that folder.
        trusted: see :class:`Rebuilt`.
        progress: likewise.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        DataError: the data set is missing, RecBole cannot use it, or it has other names than the checkpoint.
    """
    checkpoint = load(checkpoint_path, map_location="cpu")
    find_dataset(checkpoint["config"], dataset_path)
    return Rebuilt(Split(checkpoint), trusted, progress)
