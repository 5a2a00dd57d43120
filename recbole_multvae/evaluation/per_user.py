"""The top-k metrics of each user."""

from __future__ import annotations

import copy

import numpy as np
from recbole.evaluator import Evaluator
from recbole.evaluator.base_metric import TopkMetric
from recbole.evaluator.collector import DataStruct


def top_k_metrics(evaluator: Evaluator) -> list[TopkMetric]:
    """Those of an evaluator's metrics that are of the top-k lists of single users."""
    return [metric for metric in evaluator.metric_class.values() if isinstance(metric, TopkMetric)]


def of_each_user(evaluator: Evaluator, collected: DataStruct) -> dict[str, np.ndarray]:
    """The top-k metrics of each user by name, float64 [users].

    RecBole's metrics pass them to ``topk_result``, which takes the mean.
    """
    values: dict[str, np.ndarray] = {}
    for metric in top_k_metrics(evaluator):
        metric = copy.copy(metric)

        def keep(name: str, user_values: np.ndarray, topk: list[int] = metric.topk) -> dict[str, float]:
            values.update({f"{name}@{k}": user_values[:, k - 1].astype(np.float64) for k in topk})
            return {}

        metric.topk_result = keep
        metric.calculate_metric(collected)
    return values
