"""A transcription of the metrics, from scores and parts alone.

Where scores are equal, or so near that another batch may order them otherwise, no order is the right one: every metric has
a least and a greatest value there, with the items to be found last or first among their equals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tests.differential.transcription import Record

#: Scores that differ by less than this share of the largest are one.
NEAR = 1e-6
Bounds = dict[str, tuple[float, float]]


def items_by_user(records: Iterable[Record]) -> dict[str, set[str]]:
    """The distinct items of every user."""
    found: dict[str, set[str]] = {}
    for user, item, _ in records:
        found.setdefault(user, set()).add(item)
    return found


def ranked_items(items: Sequence[str], wanted: Sequence[Record], seen: Sequence[Record]) -> dict[str, list[str]]:
    """The items that are ranked for each user with something to be found: all but those seen and not to be found."""
    before = items_by_user(seen)
    return {
        user: [item for item in items if item in positives or item not in before.get(user, ())]
        for user, positives in items_by_user(wanted).items()
    }


def bounds(
    scores: np.ndarray, users: Sequence[str], items: Sequence[str], wanted: Sequence[Record], ranked: dict[str, list[str]],
    topk: Sequence[int],
) -> Bounds:  # fmt: skip
    """The least and the greatest value of every metric.

    Args:
        scores: of every user and item, [users, items].
        users: whose rows they are.
        items: whose columns they are.
        wanted: the records to be found; only their users count.
        ranked: the items that are ranked for each of these users.
        topk: the lengths of the lists.
    """
    rows, places = ({token: n for n, token in enumerate(tokens)} for tokens in (users, items))
    values = []
    for user, positives in items_by_user(wanted).items():
        one = scores[rows[user], [places[item] for item in ranked[user]]]
        positive = np.array([item in positives for item in ranked[user]])
        values.append([of_user(hits(one, positive, first), len(positives), topk) for first in (False, True)])
    means = np.mean(values, axis=0)
    return {name: (means[0][n], means[1][n]) for n, name in enumerate(names(topk))}


def hits(scores: np.ndarray, positive: np.ndarray, first: bool) -> np.ndarray:
    """Whether each place of the ranking holds an item to be found; among equal scores these come first or last."""
    order = np.argsort(-scores, kind="stable")
    scale = np.abs(scores[np.isfinite(scores)]).max(initial=0)
    steps = np.diff(scores[order], prepend=scores[order[0]]) < -NEAR * scale
    level = np.cumsum(steps)
    return positive[order][np.lexsort((positive[order] != first, level))]


def names(topk: Sequence[int]) -> list[str]:
    """The names of the metrics, in the order of :func:`of_user`."""
    return [f"{name}@{k}" for k in topk for name in ("recall", "mrr", "ndcg", "hit", "precision", "map")]


def of_user(hit: np.ndarray, wanted: int, topk: Sequence[int]) -> list[float]:
    """The metrics of one user by RecBole's documented formulas, for each k."""
    found: list[float] = []
    for k in topk:
        places = np.flatnonzero(hit[:k]) + 1
        best = 1 / np.log2(np.arange(1, min(wanted, k) + 1) + 1)
        precisions = np.cumsum(hit[:k])[places - 1] / places
        found += [
            len(places) / wanted,
            1 / places[0] if len(places) else 0.0,
            (1 / np.log2(places + 1)).sum() / best.sum(),
            float(len(places) > 0),
            len(places) / k,
            precisions.sum() / min(wanted, k),
        ]
    return found
