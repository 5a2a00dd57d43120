"""The test in detail: metrics of each user, of groups of users and items, and of all recommended lists together."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator import Evaluator

from recbole_multvae.data.csr import distinct_clicks
from recbole_multvae.evaluation.activity import ActivityEvaluator
from recbole_multvae.evaluation.collector import RankingCollector, select_users
from recbole_multvae.evaluation.per_user import of_each_user, top_k_metrics

#: RecBole's metrics of all lists together: coverage, novelty and concentration.
LIST_METRICS = ("ItemCoverage", "AveragePopularity", "GiniIndex", "TailPercentage")
#: The share of the items, by clicks in training, that are the head; the others are the tail.
HEAD = 0.2


class DetailedEvaluator:
    """RecBole's evaluator for the test, which also keeps the metrics in detail.

    Args:
        trainer: RecBole's; its collector is replaced by one that collects the inputs of the additional metrics too.
        quantiles: the number of groups of users by activity.
        train_data: the loader of training.
        test_data: the loader of the test.

    Attributes:
        users: the metrics of each user of the test, by name, float64 [users].
        lists: :data:`LIST_METRICS` by name.
        activity: the metrics of groups of users by activity, see :class:`.activity.Group`; empty where items are sampled.
        popularity: the metrics with only the head's, or only the tail's, items as positives; empty where items are sampled.
    """

    def __init__(self, trainer: Any, quantiles: int, train_data: Any, test_data: Any) -> None:
        config = copy.copy(trainer.config)
        config.final_config_dict = {**config.final_config_dict, "metrics": list(LIST_METRICS)}
        self._lists = Evaluator(config)
        config.final_config_dict["metrics"] = [*trainer.config["metrics"], *LIST_METRICS]
        trainer.eval_collector = RankingCollector(config)
        trainer.eval_collector.data_collect(train_data)
        self._evaluator = trainer.evaluator
        self._ranks_all = isinstance(test_data, FullSortEvalDataLoader)
        if self._ranks_all:
            self._by_activity = ActivityEvaluator(self._evaluator, quantiles, train_data, test_data)
            users = np.asarray(test_data.uid_list)
            self._positives = distinct_clicks(test_data.dataset)[users]
            self._head = _head(np.asarray(distinct_clicks(train_data.dataset).sum(axis=0)).ravel())
        self.users: dict[str, np.ndarray] = {}
        self.lists: dict[str, float] = {}
        self.activity: list[Any] = []
        self.popularity: list[dict[str, Any]] = []

    def evaluate(self, collected: Any) -> dict[str, float]:
        """The metrics of all users, as RecBole's evaluator gives them."""
        self.lists = {name: float(value) for name, value in self._lists.evaluate(collected).items()}
        self.users = of_each_user(self._evaluator, collected)
        if self._ranks_all:
            self._by_activity.evaluate(collected)
            self.activity = self._by_activity.groups
            if "rec.topk" in collected:
                groups = {"head": self._head, "tail": ~self._head}
                self.popularity = [self._of_items(name, items, collected) for name, items in groups.items()]
        return self._evaluator.evaluate(collected)

    def _of_items(self, name: str, chosen: np.ndarray, collected: Any) -> dict[str, Any]:
        """The metrics with only the chosen items, bool [n_items], as positives, of the users who have such items."""
        positives = np.asarray(self._positives @ chosen.astype(np.int64)).ravel()
        users = np.flatnonzero(positives)
        items = collected.get("rec.items").numpy()[users]
        hits = (collected.get("rec.topk").numpy()[users, :-1] > 0) & chosen[items]
        part = select_users(collected, users)
        part.set("rec.topk", torch.from_numpy(np.column_stack((hits, positives[users])).astype(np.int64)))
        metrics = _top_k_only(self._evaluator, part) if len(users) else {}
        return {"items": name, "of": int(chosen[1:].sum()), "users": len(users), "metrics": metrics}


def _head(clicks: np.ndarray) -> np.ndarray:
    """Whether each item is in the head: the share :data:`HEAD` with the most clicks, at least one item; bool [n_items]."""
    order = np.argsort(-clicks[1:], kind="stable") + 1
    head = np.zeros(len(clicks), dtype=bool)
    head[order[: max(1, round(HEAD * len(order)))]] = True
    return head


def _top_k_only(evaluator: Evaluator, collected: Any) -> dict[str, float]:
    results = [metric.calculate_metric(collected) for metric in top_k_metrics(evaluator)]
    return {name: float(value) for result in results for name, value in result.items()}
