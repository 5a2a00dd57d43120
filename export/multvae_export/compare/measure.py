"""What the lists of two files have in common, and how well each finds the relevant items.

``U`` users, ``k`` items of a list; a list holds items by number, 0 where it has ended.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: How many standard errors a 95 % interval reaches to each side.
Z95 = 1.96


@dataclass(frozen=True)
class Paired:
    """A metric's mean over the users, and the difference new - old with its 95 % interval.

    The interval is the difference -+ 1.96 standard errors of the users' differences, by the central limit theorem: below
    about 30 users it is too narrow. It is None for a single user.
    """

    old: float
    new: float
    difference: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, old: np.ndarray, new: np.ndarray) -> Paired:
        """Compare the values of the same users, float64 [U] each."""
        differences = new - old
        mean, low, high = float(differences.mean()), None, None
        if len(differences) > 1:
            reach = Z95 * float(differences.std(ddof=1)) / math.sqrt(len(differences))
            low, high = mean - reach, mean + reach
        return cls(float(old.mean()), float(new.mean()), mean, low, high)


def overlaps(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The share that the lists of a user, int [U, k] each, have in common, float64 [U].

    It is |A and B| / k. Where fewer items are left to recommend than k, the length of the longer list is in the place of k,
    and two empty lists have overlap 1: equal lists always have overlap 1.
    """
    shares = np.ones(len(old))
    for row, lists in enumerate(zip(old, new, strict=True)):
        one, other = (set(items[items > 0].tolist()) for items in lists)
        if longest := max(len(one), len(other)):
            shares[row] = len(one & other) / longest
    return shares


def gains(lists: np.ndarray, relevant: list[np.ndarray], k: int) -> np.ndarray:
    """NDCG@k and Recall@k of the users that have a relevant item, float64 [2, U], as RecBole has them.

    NDCG is over the best value that is possible with min(k, number of relevant items); Recall is over all of them.
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    values = []
    for items, wanted in zip(lists, relevant, strict=True):
        if len(wanted):
            hits = np.isin(items, wanted)
            values.append((discount[: len(items)] @ hits / discount[: len(wanted)].sum(), hits.sum() / len(wanted)))
    return np.array(values).reshape(-1, 2).T


def shares(lists: np.ndarray, n_items: int) -> np.ndarray:
    """The share of the lists that each item is in, float64 [n_items], items by number; that of padding is 0."""
    counts = np.bincount(lists.ravel(), minlength=n_items)
    counts[0] = 0
    return counts / len(lists)
