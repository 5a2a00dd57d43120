"""Checkpoints that are complete at every moment, and that can be exported without the data set.

RecBole 1.2.1 overwrites the last good file (``recbole/trainer/trainer.py:_save_checkpoint``): a process that is killed
while it saves leaves no usable checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from recbole.trainer import Trainer
from recbole.utils import set_color

from recbole_multvae import checkpoint
from recbole_multvae.checkpoint import FORMAT_VERSION
from recbole_multvae.data.trained_on import TrainedOn, tokens
from recbole_multvae.files import atomic_write


class AtomicCheckpoints(Trainer):
    """Overrides for any trainer of RecBole: put this class before it among the bases.

    A checkpoint of any model also holds a description of its training data (:class:`.TrainedOn`): for ``multvae-export``,
    and so that a run is resumed only with the same data.

    Attributes:
        saved_epoch: the number of the epoch after which the checkpoint was saved, from 0; None while there is none.
    """

    _dataset: Any = None
    _trained_on: TrainedOn | None = None
    _resumed: dict[str, Any] | None = None
    saved_epoch: int | None = None

    def fit(self, train_data: Any, *args: Any, **kwargs: Any) -> Any:
        """Train.

        Raises:
            DataError: the run that is resumed was trained on other data.
        """
        if self._dataset is not train_data.dataset:
            self._dataset, self._trained_on = train_data.dataset, None
        self._check_resumed(self._dataset, self._resumed)
        self._resumed = None
        return super().fit(train_data, *args, **kwargs)

    def resume_checkpoint(self, resume_file: Any) -> None:
        """Continue a run. :meth:`fit` will compare the data."""
        super().resume_checkpoint(resume_file)
        self._resume(checkpoint.load(resume_file, self.device))

    def _resume(self, saved: dict[str, Any]) -> None:
        """Restore the values that :meth:`_checkpoint` adds to RecBole's."""
        added = saved.get("recbole_multvae")
        self._resumed = added if isinstance(added, dict) else {}

    def evaluate(self, eval_data: Any, *args: Any, **kwargs: Any) -> Any:
        """Evaluate.

        Raises:
            DataError: the run that is resumed was trained on other users or items.
        """
        if self._resumed and eval_data:
            names = {name: tokens for name, tokens in self._resumed.items() if name.endswith("_tokens")}
            self._check_resumed(eval_data._dataset, names)
        return super().evaluate(eval_data, *args, **kwargs)

    @staticmethod
    def _check_resumed(dataset: Any, resumed: dict[str, Any] | None) -> None:
        if resumed is not None and dataset.uid_field is not None and dataset.iid_field is not None:
            TrainedOn.of(dataset).check(dataset.dataset_name, resumed)

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        file = kwargs.pop("saved_model_file", self.saved_model_file)
        with atomic_write(file) as part:
            torch.save(self._checkpoint(epoch), part, pickle_protocol=4)
        self.saved_epoch = epoch
        if verbose:
            self.logger.info(set_color("Saving current", "blue") + f": {file}")

    def save_test_result(self, result: Mapping[str, float] | None) -> None:
        """Add the metrics of the test to the checkpoint, which was saved before the test, as a part of its archive.

        They are not needed to go on, so a file that cannot be written is only a warning.
        """
        file = self.saved_model_file
        if self.config["local_rank"] or not result or not Path(file).exists():
            return
        try:
            checkpoint.add_test_result(file, result)
        except OSError as error:
            self.logger.warning(f"The result of the test could not be written into {file}: {error}")

    def _checkpoint(self, epoch: int) -> dict[str, Any]:
        """The values that RecBole saves, the time, and the training data, unless the model saves those itself."""
        state = {name: getattr(self, name) for name in ("config", "cur_step", "best_valid_score")} | {
            "epoch": epoch,
            "saved_at": int(time.time()),
            "state_dict": self.model.state_dict(),
            "other_parameter": self.model.other_parameter(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self._has_tokens() and "item_tokens" not in (state["other_parameter"] or {}):
            added = {"format_version": FORMAT_VERSION, "dataset": self._dataset.dataset_name}
            if self._dataset.uid_field is None:
                state["recbole_multvae"] = added | {"item_tokens": tokens(self._dataset, self._dataset.iid_field)}
            else:
                state["recbole_multvae"] = added | self._data_of_training().saved()
        return state

    def _data_of_training(self) -> TrainedOn:
        if self._trained_on is None:
            self._trained_on = TrainedOn.of(self._dataset)
        return self._trained_on

    def _has_tokens(self) -> bool:
        return self._dataset is not None and self._dataset.iid_field is not None

    def save_pretrained_model(self, epoch: int, saved_model_file: str) -> None:
        """Save a pre-trained model: RecBole's ``PretrainTrainer`` calls this."""
        with atomic_write(saved_model_file) as part:
            super().save_pretrained_model(epoch, part)
        self.saved_model_file = saved_model_file  # RecBole has set it to the unfinished file.
