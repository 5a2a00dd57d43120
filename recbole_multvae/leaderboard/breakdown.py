"""What a test shows beyond its averages: the metrics of each user, of groups of users and of items, and of the lists."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator import Evaluator
from recbole.evaluator.base_metric import TopkMetric

from recbole_multvae.data.csr import distinct_clicks
from recbole_multvae.evaluation.activity import ActivityEvaluator
from recbole_multvae.evaluation.collector import RankingCollector, select_users

#: RecBole's metrics of all lists together: coverage, novelty and concentration.
LIST_METRICS = ("ItemCoverage", "AveragePopularity", "GiniIndex", "TailPercentage")
#: The share of the items, by clicks in training, that are the head; the others are the tail.
HEAD = 0.2


class DetailedEvaluator:
    """RecBole's evaluator for the test, which keeps more than it returns.

    Args:
        trainer: RecBole's; its collector is replaced by one that gathers what the additional metrics read.
        quantiles: into how many groups of activity the users are cut.
        train_data: the loader of training.
        test_data: the loader of the test.

    Attributes:
        users: the metrics of each user of the test, by name, float64 [users].
        lists: :data:`LIST_METRICS` by name.
        activity: the metrics of users of like activity, see :class:`.activity.Group`; empty where items are sampled.
        popularity: the metrics where only items of the head, or of the tail, are to be found; empty where items are sampled.
        rows: RecBole's ``rec.topk``: hits by place, and the number of items to be found, int [users, k + 1].
    """

    def __init__(self, trainer: Any, quantiles: int, train_data: Any, test_data: Any) -> None:
        config = copy.copy(trainer.config)
        config.final_config_dict = {**config.final_config_dict, "metrics": list(LIST_METRICS)}
        self._lists = Evaluator(config)
        config.final_config_dict["metrics"] = [*trainer.config["metrics"], *LIST_METRICS]
        trainer.eval_collector = RankingCollector(config)
        trainer.eval_collector.data_collect(train_data)
        self._own = trainer.evaluator
        self._ranks_all = isinstance(test_data, FullSortEvalDataLoader)
        if self._ranks_all:
            self._by_activity = ActivityEvaluator(self._own, quantiles, train_data, test_data)
            users = np.asarray(test_data.uid_list)
            self._found = distinct_clicks(test_data.dataset)[users]
            self._head = _head(np.asarray(distinct_clicks(train_data.dataset).sum(axis=0)).ravel())
        self.users: dict[str, np.ndarray] = {}
        self.lists: dict[str, float] = {}
        self.activity: list[Any] = []
        self.popularity: list[dict[str, Any]] = []
        self.rows = np.empty((0, 0), dtype=np.int64)

    def evaluate(self, collected: Any) -> dict[str, float]:
        """The metrics of all users, as RecBole's evaluator gives them."""
        self.lists = {name: float(value) for name, value in self._lists.evaluate(collected).items()}
        self.users = _of_each_user(self._own, collected)
        if "rec.topk" in collected:
            self.rows = collected.get("rec.topk").numpy()
        if self._ranks_all:
            self._by_activity.evaluate(collected)
            self.activity = self._by_activity.groups
            if len(self.rows):
                self.popularity = [
                    self._of_items("head", self._head, collected),
                    self._of_items("tail", ~self._head, collected),
                ]
        return self._own.evaluate(collected)

    def _of_items(self, name: str, chosen: np.ndarray, collected: Any) -> dict[str, Any]:
        """The metrics where only the chosen items are to be found, of the users who have one; bool [n_items]."""
        found = np.asarray(self._found @ chosen.astype(np.int64)).ravel()
        users = np.flatnonzero(found)
        items = collected.get("rec.items").numpy()[users]
        hits = (self.rows[users, :-1] > 0) & chosen[items]
        part = select_users(collected, users)
        part.set("rec.topk", torch.from_numpy(np.column_stack((hits, found[users])).astype(np.int64)))
        metrics = _top_k_only(self._own, part) if len(users) else {}
        return {"items": name, "of": int(chosen[1:].sum()), "users": len(users), "metrics": metrics}


def _head(clicks: np.ndarray) -> np.ndarray:
    """Whether each item is of the head: the :data:`HEAD` of most clicks, at least one; bool [n_items], padding is False."""
    order = np.argsort(-clicks[1:], kind="stable") + 1
    head = np.zeros(len(clicks), dtype=bool)
    head[order[: max(1, round(HEAD * len(order)))]] = True
    return head


def _top_k_metrics(evaluator: Evaluator) -> list[TopkMetric]:
    return [metric for metric in evaluator.metric_class.values() if isinstance(metric, TopkMetric)]


def _top_k_only(evaluator: Evaluator, collected: Any) -> dict[str, float]:
    results = [metric.calculate_metric(collected) for metric in _top_k_metrics(evaluator)]
    return {name: float(value) for result in results for name, value in result.items()}


def _of_each_user(evaluator: Evaluator, collected: Any) -> dict[str, np.ndarray]:
    """The top-k metrics before their mean: RecBole's metrics hand the values of the users to ``topk_result``."""
    values: dict[str, np.ndarray] = {}
    for metric in _top_k_metrics(evaluator):
        metric = copy.copy(metric)

        def keep(name: str, of_users: np.ndarray, topk: list[int] = metric.topk) -> dict[str, float]:
            values.update({f"{name}@{k}": of_users[:, k - 1].astype(np.float64) for k in topk})
            return {}

        metric.topk_result = keep
        metric.calculate_metric(collected)
    return values
