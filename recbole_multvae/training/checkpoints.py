"""Checkpoints that are whole at every moment, and that can be exported without the data set.

RecBole 1.2.1 writes over the last good file (``recbole/trainer/trainer.py:_save_checkpoint``): a process that is killed
while it saves leaves nothing behind.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from recbole.trainer import Trainer
from recbole.utils import set_color

from recbole_multvae.checkpoint import FORMAT_VERSION


@contextmanager
def replaced(file: str | Path) -> Iterator[str]:
    """A path to write to in place of ``file``, which takes its place once it is written without an error."""
    part = f"{file}.{secrets.token_hex(4)}.part"  # Machines that train together may share the folder.
    try:
        yield part
        os.replace(part, file)
    finally:
        Path(part).unlink(missing_ok=True)


class WholeCheckpoints(Trainer):
    """Overrides for any trainer of RecBole: put this class before it among the bases.

    A checkpoint also holds the item tokens, for ``multvae-export``: RecBole's own models do not save them.
    """

    _dataset: Any = None

    def fit(self, train_data: Any, *args: Any, **kwargs: Any) -> Any:
        """Train. See RecBole's ``Trainer.fit``."""
        self._dataset = train_data.dataset
        return super().fit(train_data, *args, **kwargs)

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        file = kwargs.pop("saved_model_file", self.saved_model_file)
        with replaced(file) as part:
            torch.save(self._checkpoint(epoch), part, pickle_protocol=4)
        if verbose:
            self.logger.info(set_color("Saving current", "blue") + f": {file}")

    def _checkpoint(self, epoch: int) -> dict[str, Any]:
        """What RecBole's ``_save_checkpoint`` saves, and the tokens."""
        state = {name: getattr(self, name) for name in ("config", "cur_step", "best_valid_score")} | {
            "epoch": epoch,
            "state_dict": self.model.state_dict(),
            "other_parameter": self.model.other_parameter(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self._has_tokens() and "item_tokens" not in (state["other_parameter"] or {}):
            tokens = [str(token) for token in self._dataset.field2id_token[self._dataset.iid_field]]
            added = {"format_version": FORMAT_VERSION, "dataset": self._dataset.dataset_name, "item_tokens": tokens}
            state["recbole_multvae"] = added
        return state

    def _has_tokens(self) -> bool:
        return self._dataset is not None and self._dataset.iid_field is not None

    def save_pretrained_model(self, epoch: int, saved_model_file: str) -> None:
        """Save a pre-trained model: RecBole's ``PretrainTrainer`` calls this."""
        with replaced(saved_model_file) as part:
            super().save_pretrained_model(epoch, part)
        self.saved_model_file = saved_model_file  # RecBole has just named the part, and tests what is named here.
