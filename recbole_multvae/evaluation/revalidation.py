"""Validating a trained model again, without its trainer, whose constructor writes logs."""

from __future__ import annotations

from typing import Any

from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator import Evaluator
from recbole.utils import WandbLogger, calculate_valid_score

from recbole_multvae.evaluation.collector import RankingCollector
from recbole_multvae.evaluation.many_users import RanksManyUsers


class Revalidation(RanksManyUsers):
    """RecBole's ``Trainer.evaluate`` for a model that has been trained.

    Args:
        config: RecBole's ``Config``.
        model: on the configuration's device, in evaluation mode.
        train_data: the loader of training, from which some metrics count clicks.
    """

    def __init__(self, config: Any, model: Any, train_data: Any) -> None:
        # Past Trainer, whose __init__ would make folders.
        self.config, self.model, self.device = config, model, config["device"]
        self.gpu_available, self.item_tensor = self.device.type == "cuda", None
        self.test_batch_size = config["eval_batch_size"]
        self.eval_collector, self.evaluator = RankingCollector(config), Evaluator(config)
        self.eval_collector.data_collect(train_data)
        self.wandblogger = WandbLogger(config)

    def score(self, valid_data: Any) -> float | None:
        """The value of ``valid_metric``, rounded as by RecBole; None where it depends on items that are drawn at random."""
        if not isinstance(valid_data, FullSortEvalDataLoader):
            return None
        result = self.evaluate(valid_data, load_best_model=False)
        return float(calculate_valid_score(result, self.config["valid_metric"].lower()))
