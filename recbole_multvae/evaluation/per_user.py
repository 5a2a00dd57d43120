"""The top-k metrics of each user, and a CSV file of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from recbole.evaluator import Evaluator
from recbole.evaluator.base_metric import TopkMetric
from recbole.evaluator.collector import DataStruct

from recbole_multvae.data.csr import distinct_clicks
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.files import atomic_write


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


def history_lengths(train_data: Any, test_data: Any) -> np.ndarray:
    """The number of clicks by which the model scores each user of the test, int64 [users].

    They are the clicks of training, or the history that the split gives in their place.

    Args:
        train_data: the loader of training.
        test_data: the loader of the test.
    """
    fold_in = getattr(test_data.dataset, "fold_in", None)
    clicks = distinct_clicks(train_data.dataset) if fold_in is None else fold_in
    lengths: np.ndarray = np.diff(clicks.indptr)[np.asarray(test_data.uid_list)]
    return lengths


def per_user_table(train_data: Any, test_data: Any) -> dict[str, np.ndarray]:
    """For each user of the test the token, ``user``, and the length of the history, ``history``; see above."""
    data = test_data.dataset
    tokens = data.field2id_token[data.uid_field][np.asarray(test_data.uid_list)]
    return {"user": tokens.astype(str), "history": history_lengths(train_data, test_data)}


class PerUserEvaluator:
    """RecBole's evaluator for the test, which also keeps the metrics of each user.

    Args:
        evaluator: RecBole's.
        around: an evaluator around it whose result is the result; None: there is none.
        train_data: the loader of training.
        test_data: the loader of the test.

    Attributes:
        table: a row for each user: ``user``, the token; ``history``, the number of clicks; and the metrics by name. The
            metrics are those of the last evaluation.

    Raises:
        ConfigurationError: the test has no lists of users.
    """

    def __init__(self, evaluator: Any, around: Any, train_data: Any, test_data: Any) -> None:
        if not hasattr(test_data, "uid_list") or not top_k_metrics(evaluator):
            raise ConfigurationError(
                "--per_user needs a test with a list for each user: take metrics such as NDCG, and eval_args split GT for a "
                "sequential model, or leave it out."
            )
        self._evaluator, self._around = evaluator, around or evaluator
        self.table = pd.DataFrame(per_user_table(train_data, test_data))

    def evaluate(self, collected: Any) -> dict[str, float]:
        """The metrics of all users, as RecBole's evaluator computes them."""
        self.table = self.table.assign(**of_each_user(self._evaluator, collected))
        result: dict[str, float] = self._around.evaluate(collected)
        return result


def write_per_user(file: str, tables: Sequence[pd.DataFrame]) -> None:
    """Write tables, one below the other, into a CSV file."""
    with atomic_write(file) as part:
        pd.concat(tables).to_csv(part, index=False, lineterminator="\n")
