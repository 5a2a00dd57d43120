"""Metrics of the lists alone, for ``metrics: [...]`` of any model: how much their items differ, and how unknown they are.

``U`` users, ``k`` positions of the longest list, ``I`` items with RecBole's padding item.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from recbole.evaluator.base_metric import TopkMetric
from scipy.sparse import csr_matrix

from recbole_multvae.evaluation.collector import SHARES, VECTORS

#: Floats in the block of similarities that is computed at a time.
BLOCK = 2**22


class IntraListDiversity(TopkMetric):
    """The mean distance of two items of a list, the mean over users (Ziegler et al., WWW 2005: 1 minus their similarity).

    The distance is 1 - cosine of the items' vectors, which the key ``diversity_of`` names: the users who clicked the item in
    training, or a feature of the items. A pair of which one has no users, or lacks the feature, has distance 1. A list of
    fewer than two items has diversity 0.
    """

    metric_need: ClassVar[list[str]] = ["rec.items", VECTORS]

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """The values at each k of ``topk``, by names such as ``intralistdiversity@10``."""
        items, vectors = dataobject.get("rec.items").numpy(), dataobject.get(VECTORS)
        return self.topk_result("intralistdiversity", self.metric_info(items, vectors))

    def metric_info(self, items: np.ndarray, vectors: csr_matrix) -> np.ndarray:
        """The value of every user at 1, 2, ..., float64 [U, k].

        Args:
            items: the lists, int64 [U, k]; 0 where a list has ended.
            vectors: of length 1 or 0, one for each item, [I, number of users or of values of the feature].
        """
        listed, before = items > 0, np.arange(items.shape[1])
        distances = np.where(listed, before - _similarities_to_earlier(items, vectors), 0)
        return distances.cumsum(axis=1) / np.maximum(1, np.where(listed, before, 0).cumsum(axis=1))


class Novelty(TopkMetric):
    """The mean of -log2 of the share of training's users who clicked the item (Zhou et al., PNAS 2010), in bits.

    An item that nobody clicked in training counts as one that a single user clicked. An empty list has novelty 0.
    """

    metric_need: ClassVar[list[str]] = ["rec.items", SHARES]

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """The values at each k of ``topk``, by names such as ``novelty@10``."""
        return self.topk_result("novelty", self.metric_info(*(dataobject.get(name).numpy() for name in self.metric_need)))

    def metric_info(self, items: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """The value of every user at 1, 2, ..., float64 [U, k].

        Args:
            items: the lists, int64 [U, k]; 0 where a list has ended.
            shares: of the users of training who clicked each item, float64 [I], above 0.
        """
        listed = items > 0
        return (np.where(listed, -np.log2(shares[items]), 0)).cumsum(axis=1) / np.maximum(1, listed.cumsum(axis=1))


def _similarities_to_earlier(items: np.ndarray, vectors: csr_matrix) -> np.ndarray:
    """The sum of each item's products with the items before it in the list, float64 [U, k].

    The items of all lists are multiplied with a block of them at a time, as most pairs are in several lists.
    """
    listed, numbers = np.unique(items, return_inverse=True)
    numbers, vectors = numbers.reshape(items.shape), vectors[listed]
    others, step = vectors.T.tocsr(), max(1, BLOCK // len(listed))
    sums = np.zeros(items.shape)
    for start in range(0, len(listed), step):
        block = (vectors[start : start + step] @ others).toarray()
        for position, column in enumerate(numbers.T):
            users = np.flatnonzero((column >= start) & (column < start + step))
            sums[users, position + 1 :] += block[column[users, None] - start, numbers[users, position + 1 :]]
    return sums


METRICS_OF_LISTS = (IntraListDiversity, Novelty)
