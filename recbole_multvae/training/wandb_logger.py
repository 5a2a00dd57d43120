"""What RecBole tells Weights & Biases with ``log_wandb: True``."""

from __future__ import annotations

import multiprocessing
from multiprocessing.util import Finalize
from typing import Any

from recbole.utils import WandbLogger


class CompleteWandbLogger(WandbLogger):
    """RecBole's logger, which loses nothing.

    RecBole 1.2.1 counts validations instead of naming their epochs, so that the curves of training and validation do not
    fit together, and a resumed run begins at 0 again. Several processes of one training have a run each. And W&B sends what
    it has when Python ends, which a process of ``multiprocessing`` does not do in the usual way: of each run of a report,
    nothing is left.
    """

    def __init__(self, config: Any) -> None:
        self._epoch = 0
        super().__init__(config)

    def setup(self) -> None:
        """Begin a run in the first process of a training."""
        self.log_wandb = bool(self.config["log_wandb"]) and not (self.config["local_rank"] or self.config["offset"])
        super().setup()
        if self.log_wandb and multiprocessing.parent_process() is not None:
            Finalize(None, self._wandb.finish, exitpriority=0)

    def log_metrics(self, metrics: dict[str, Any], head: str = "train", commit: bool = True) -> None:
        """Log the metrics of an epoch or of a validation."""
        self._epoch = metrics.get("epoch", self._epoch)
        if "valid_step" in metrics:
            metrics = {**metrics, "valid_step": self._epoch}
        super().log_metrics(metrics, head, commit)
