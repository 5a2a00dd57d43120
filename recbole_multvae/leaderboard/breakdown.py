"""The test in detail: metrics of each user, of groups of users and items, and of all recommended lists together."""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator import Evaluator

from recbole_multvae.data.csr import distinct_clicks
from recbole_multvae.evaluation.activity import ActivityEvaluator, groups_of
from recbole_multvae.evaluation.collector import RankingCollector, select_users
from recbole_multvae.evaluation.per_user import of_each_user, top_k_metrics
from recbole_multvae.times import day, unit_of

#: Metrics of the lists, whatever is relevant: coverage, novelty, concentration and diversity.
LIST_METRICS = ("ItemCoverage", "AveragePopularity", "GiniIndex", "TailPercentage", "Novelty", "IntraListDiversity")
#: The share of the items, by clicks in training, that are the head; the others are the tail.
HEAD = 0.2
#: Groups of items by the time of their first click.
AGES = 4


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
        age: the same with the items of a group by age; empty where items are sampled or times are not loaded.
        seconds: how long the details took.
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
            head = _head(np.asarray(distinct_clicks(train_data.dataset).sum(axis=0)).ravel())
            self._by_popularity = [("head", head), ("tail", ~head)]
            self._by_age = _ages(getattr(train_data.dataset, "first_clicks", None))
        self.users: dict[str, np.ndarray] = {}
        self.lists: dict[str, float] = {}
        self.activity: list[Any] = []
        self.popularity: list[dict[str, Any]] = []
        self.age: list[dict[str, Any]] = []
        self.seconds = 0.0

    def evaluate(self, collected: Any) -> dict[str, float]:
        """The metrics of all users, as RecBole's evaluator gives them."""
        started = time.perf_counter()
        self._evaluate_details(collected)
        self.seconds = time.perf_counter() - started
        return self._evaluator.evaluate(collected)

    def _evaluate_details(self, collected: Any) -> None:
        self.lists = {name: float(value) for name, value in self._lists.evaluate(collected).items()}
        self.users = of_each_user(self._evaluator, collected)
        if self._ranks_all:
            self._by_activity.evaluate(collected)
            self.activity = self._by_activity.groups
            if "rec.topk" in collected:
                self.popularity = [self._of_items(*group, collected) for group in self._by_popularity]
                self.age = [self._of_items(*group, collected) for group in self._by_age]

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


def _ages(first: np.ndarray | None) -> list[tuple[str, np.ndarray]]:
    """Items by the time of their first click in training, float64 [n_items]: :data:`AGES` groups of about the same size.

    Returns:
        For each group, the oldest first, its first and last time, as days if they differ, and whether each item is in it,
        bool [n_items]. An item without clicks in training is in no group. Nothing if there is one group only.
    """
    if first is None or np.isnan(first).all():
        return []
    known, group = ~np.isnan(first), np.full(len(first), -1)
    group[known] = groups_of(first[known], AGES)
    unit = unit_of(float(np.nanmax(np.abs(first))))
    of_days = day(np.nanmin(first), unit) < day(np.nanmax(first), unit)
    groups = []
    for number in np.unique(group[known]):
        ends = [function(first[group == number]) for function in (np.min, np.max)]
        names = [day(end, unit) if of_days else f"{end:g}" for end in ends]
        groups.append((" to ".join(dict.fromkeys(names)), group == number))
    return groups if len(groups) > 1 else []


def _top_k_only(evaluator: Evaluator, collected: Any) -> dict[str, float]:
    of_hits = [metric for metric in top_k_metrics(evaluator) if metric.metric_need == ["rec.topk"]]
    results = [metric.calculate_metric(collected) for metric in of_hits]
    return {name: float(value) for result in results for name, value in result.items()}
