"""Metrics for ``metrics: [...]`` of any model: one that RecBole lacks, and corrected versions of RecBole's.

The paper (Liang et al., WWW 2018, section 4.2) has two. Its NDCG@R is RecBole's ``NDCG``: both divide by the best value that
is possible with min(R, |I_u|) items. Its Recall@R is not RecBole's ``Recall``: it is ``CappedRecall`` here.

The other classes have the names of RecBole's metrics and compute what RecBole documents
(``recbole/evaluator/metrics.py``), where RecBole 1.2.1 computes something else. In all of them:

* the catalogue ``I`` is the items of the data set, without RecBole's padding item;
* a list has only items that may be recommended to the user. RecBole fills it up to k with items that the user has already,
  and with the padding item. Here the remaining positions hold 0, the padding item, and do not count.

``U`` users, ``k`` positions of the longest list, ``S`` records of a labeled evaluation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from recbole.evaluator import metrics as recbole_metrics
from recbole.evaluator.base_metric import LossMetric, TopkMetric

from recbole_multvae.errors import ConfigurationError, DataError


class CappedRecall(TopkMetric):
    """The paper's Recall@R: the number of hits among the R best items, over min(R, |I_u|), the mean over users.

    ``|I_u|`` is the number of relevant items of user u, those held out for the evaluation. RecBole's ``Recall`` divides by
    ``|I_u|`` itself, so that a user with more than R relevant items cannot reach 1. The two are equal for other users.
    """

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """The values at each k of ``topk``, by names such as ``cappedrecall@20``."""
        return self.topk_result("cappedrecall", self.metric_info(*self.used_info(dataobject)))

    def metric_info(self, pos_index: np.ndarray, pos_len: np.ndarray) -> np.ndarray:
        """The recall of every user at 1, 2, ..., float [U, k].

        Args:
            pos_index: whether the item at each position of the ranking is a hit, bool [U, k].
            pos_len: the number of relevant items, at least 1, int [U].
        """
        positions = np.arange(1, pos_index.shape[1] + 1)
        return pos_index.cumsum(axis=1) / np.minimum(positions, pos_len[:, None])


class ItemCoverage(recbole_metrics.ItemCoverage):
    """RecBole's ``ItemCoverage``: the share of the catalogue that is in any list. RecBole 1.2.1 counts the padding item."""

    def get_coverage(self, item_matrix: np.ndarray, num_items: int) -> float:
        """The share for the lists ``item_matrix``, int [U, k]; ``num_items`` counts the padding item."""
        return np.count_nonzero(_counts(item_matrix, num_items)) / (num_items - 1)


class ShannonEntropy(recbole_metrics.ShannonEntropy):
    """RecBole's ``ShannonEntropy``, in nats. RecBole 1.2.1 divides it by the number of different items in the lists."""

    def get_entropy(self, item_matrix: np.ndarray) -> float:
        """The entropy of the items in the lists ``item_matrix``, int [U, k]."""
        counts = _counts(item_matrix)
        shares = counts[counts > 0] / counts.sum()
        return float((shares * np.log(1 / shares)).sum())


class GiniIndex(recbole_metrics.GiniIndex):
    """RecBole's ``GiniIndex`` of how often each item of the catalogue is listed. RecBole 1.2.1 counts the padding item."""

    def get_gini(self, item_matrix: np.ndarray, num_items: int) -> float:
        """The index for the lists ``item_matrix``, int [U, k]; ``num_items`` counts the padding item."""
        counts = np.sort(_counts(item_matrix, num_items))
        weights = 2 * np.arange(1, len(counts) + 1) - len(counts) - 1
        return float((weights * counts).sum() / (len(counts) * counts.sum()))


class AveragePopularity(recbole_metrics.AveragePopularity):
    """RecBole's ``AveragePopularity``. RecBole 1.2.1 counts the items that fill up a list that is shorter than k."""

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """The values at each k of ``topk``, by names such as ``averagepopularity@20``."""
        items, counts = self.used_info(dataobject)
        return self.topk_result("averagepopularity", _means(self.get_pop(items, counts), items))

    def get_pop(self, item_matrix: np.ndarray, item_count: dict[int, int]) -> np.ndarray:
        """The records of training of each item in the lists, int [U, k]."""
        items, positions = np.unique(item_matrix, return_inverse=True)
        return np.array([item_count.get(item, 0) for item in items.tolist()])[positions].reshape(item_matrix.shape)


class TailPercentage(recbole_metrics.TailPercentage):
    """RecBole's ``TailPercentage``. RecBole 1.2.1 counts the items that fill up a list that is shorter than k.

    The tail is a part of the items of training: the share ``tail_ratio`` with the fewest records, or the items with at most
    ``tail_ratio`` records if that is an integer above 1.

    Raises:
        ConfigurationError: ``tail_ratio`` is neither a share nor a number of records.
    """

    def __init__(self, config: Any) -> None:
        tail_ratio = config["tail_ratio"]
        if tail_ratio is not None and not _is_tail_ratio(tail_ratio):
            raise ConfigurationError(
                f"tail_ratio={tail_ratio!r} is not allowed: expected a number above 0 and up to 1, the share of the items "
                "of training, or an integer above 1, the most records that an item of the tail has in training."
            )
        super().__init__(config)

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """The values at each k of ``topk``, by names such as ``tailpercentage@20``."""
        items, counts = self.used_info(dataobject)
        return self.topk_result("tailpercentage", _means(self.get_tail(items, counts), items))

    def get_tail(self, item_matrix: np.ndarray, count_items: dict[int, int]) -> np.ndarray:
        """Whether each item in the lists is in the tail, bool [U, k]."""
        rarest_first = sorted(count_items, key=lambda item: (count_items[item], item))
        if self.tail > 1:
            tail = [item for item in rarest_first if count_items[item] <= self.tail]
        else:
            tail = rarest_first[: max(1, int(len(rarest_first) * self.tail))]
        return np.isin(item_matrix, tail)


class GAUC(recbole_metrics.GAUC):
    """RecBole's ``GAUC``, in float64.

    Raises:
        DataError: no user has both relevant and other items.
    """

    def metric_info(self, pos_rank_sum: np.ndarray, user_len_list: np.ndarray, pos_len_list: np.ndarray) -> float:
        """The value.

        Args:
            pos_rank_sum: the sum of the ranks of each user's relevant items, [U, 1].
            user_len_list: the number of items that are ranked for each user, [U].
            pos_len_list: the number of each user's relevant items, [U].
        """
        if not ((pos_len_list > 0) & (pos_len_list < user_len_list)).any():
            raise DataError(
                "GAUC compares relevant items with other items, and no user has both: take another metric, such as Recall."
            )
        values = (pos_rank_sum, user_len_list, pos_len_list)
        return float(super().metric_info(*(value.astype(np.float64) for value in values)))


class _LabeledMetric(LossMetric):
    """A metric of a labeled evaluation, computed in float64."""

    def used_info(self, dataobject: Any) -> tuple[np.ndarray, np.ndarray]:
        """The scores and the labels, float64 [S] each."""
        scores, labels = (dataobject.get(name).numpy().astype(np.float64).ravel() for name in self.metric_need)
        return scores, labels

    def output_metric(self, metric: str, dataobject: Any) -> dict[str, float]:
        """The value, as a dictionary with the key ``metric``."""
        return {metric: round(float(self.metric_info(*self.used_info(dataobject))), self.decimal_place)}


class _BinaryMetric(_LabeledMetric):
    """A metric of records with label 1, the positives, and label 0, the negatives.

    Raises:
        ConfigurationError: there are other labels. RecBole 1.2.1 takes a rating of 1 for a positive, and a 5 for a negative.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.config = config

    def used_info(self, dataobject: Any) -> tuple[np.ndarray, np.ndarray]:
        """The scores and the labels, float64 [S] each."""
        scores, labels = super().used_info(dataobject)
        if len(others := labels[~np.isin(labels, (0, 1))]):
            raise ConfigurationError(
                f"{type(self).__name__} reads labels of 0 and 1, and the column {self.config['LABEL_FIELD']} has "
                f"{others[0]:g}: let RecBole make labels with threshold={{'rating': 4}}, where rating is a column of "
                "numbers, or take RMSE or MAE."
            )
        return scores, labels


class MAE(_LabeledMetric, recbole_metrics.MAE):
    """RecBole's ``MAE``, in float64."""


class RMSE(_LabeledMetric, recbole_metrics.RMSE):
    """RecBole's ``RMSE``, in float64."""


class AUC(_BinaryMetric, recbole_metrics.AUC):
    """RecBole's ``AUC``, in float64, for labels 0 and 1.

    Raises:
        DataError: all records have the same label.
    """

    def metric_info(self, preds: np.ndarray, trues: np.ndarray) -> float:
        """The value, from the scores and the labels, float64 [S] each."""
        if (trues == trues[0]).all():
            raise DataError(
                f"AUC compares records of label 1 with records of label 0, and all {len(trues)} that are evaluated have "
                f"{trues[0]:g}: change threshold, or the split, or take another metric."
            )
        return super().metric_info(preds, trues)


class LogLoss(_BinaryMetric, recbole_metrics.LogLoss):
    """RecBole's ``LogLoss``, for labels 0 and 1 and scores that are probabilities.

    Raises:
        ConfigurationError: a score is no probability. RecBole 1.2.1 takes 1 in place of 3.2, and 0 in place of -3.2.
    """

    def metric_info(self, preds: np.ndarray, trues: np.ndarray) -> float:
        """The value, from the scores and the labels, float64 [S] each."""
        if len(others := preds[~((preds >= 0) & (preds <= 1))]):
            raise ConfigurationError(
                f"LogLoss reads probabilities, and a score of {self.config['model']} is {others[0]:.4g}: take AUC, or a "
                "model that predicts probabilities, such as NeuMF."
            )
        return super().metric_info(preds, trues)


def _counts(lists: np.ndarray, num_items: int = 0) -> np.ndarray:
    """How often each item is in the lists, int [num_items - 1]; without ``num_items``, up to the last item of the lists."""
    return np.bincount(lists.ravel(), minlength=num_items)[1:]


def _means(values: np.ndarray, lists: np.ndarray) -> np.ndarray:
    """The mean of the values at the first 1, 2, ... positions of each list, float [U, k]. Empty positions do not count."""
    listed = lists > 0
    return (values * listed).cumsum(axis=1) / np.maximum(1, listed.cumsum(axis=1))


def _is_tail_ratio(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and (0 < value <= 1 or (value > 1 and value == int(value)))


METRICS = (
    CappedRecall, ItemCoverage, ShannonEntropy, GiniIndex, AveragePopularity, TailPercentage,
    GAUC, AUC, MAE, RMSE, LogLoss,
)  # fmt: skip
