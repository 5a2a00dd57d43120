"""The choice of weights, by the ranking of the validation.

Weights on a grid are compared on many samples of the users, drawn with replacement, and the best weights of all samples are
averaged: the bagging of ensemble selection (Caruana et al., ICML 2004, section 2.3). Near the best weights rankings hardly
differ, and the best of one sample is a matter of chance: on validation halves the average did better on the other half
(benchmarks/JOURNAL.md).

``M`` members, ``U`` users, ``W`` weights of the grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import comb
from typing import NamedTuple

import numpy as np

#: The finest step of the grid, as parts of 1, and the most weights on it.
PARTS, MOST_WEIGHTS = 20, 300
#: Samples of the users, and the seed that draws them.
SAMPLES, SEED = 200, 0
#: Digits of a weight.
DIGITS = 3

Weights = tuple[float, ...]


class Quality(NamedTuple):
    """How good a ranking is, more being better: the mean, and the value of each user, float64 [U], if there is one."""

    mean: float
    users: np.ndarray | None


def choose_weights(members: int, judge: Callable[[Weights], Quality]) -> Weights:
    """Choose the weights of M members, 0 or more, whose sum is 1. A member without which the ranking is as good gets 0.

    Args:
        members: M.
        judge: ranks by weights.
    """
    grid = list(_grid(members))
    qualities = [judge(weights) for weights in grid]
    users = [quality.users for quality in qualities if quality.users is not None]
    means = np.array([quality.mean for quality in qualities])
    best = _best_of_samples(np.stack(users)) if len(users) == len(grid) else np.array([means.argmax()])
    weights = _rounded(np.array(grid)[best].mean(axis=0))
    return _without_idle(weights, judge)


def alone(member: int, members: int) -> Weights:
    """The weights with which one member ranks alone."""
    return tuple(float(m == member) for m in range(members))


def _grid(members: int) -> Iterator[Weights]:
    """All weights in steps of the same size whose sum is 1; as fine as :data:`MOST_WEIGHTS` allows."""
    parts = next((n for n in range(PARTS, 1, -1) if comb(n + members - 1, n) <= MOST_WEIGHTS), 1)

    def counts(left: int, places: int) -> Iterator[tuple[int, ...]]:
        if places == 1:
            yield (left,)
            return
        for first in range(left, -1, -1):
            yield from ((first, *rest) for rest in counts(left - first, places - 1))

    return (tuple(count / parts for count in point) for point in counts(parts, members))


def _best_of_samples(values: np.ndarray) -> np.ndarray:
    """The place of the best weights in each sample of the users, int64 [SAMPLES]; ``values`` are float64 [W, U]."""
    users = values.shape[1]
    times = np.random.default_rng(SEED).multinomial(users, np.full(users, 1 / users), size=SAMPLES)
    places: np.ndarray = (values @ times.T).argmax(axis=0)
    return places


def _without_idle(weights: Weights, judge: Callable[[Weights], Quality]) -> Weights:
    """The weights without the members that do not raise the mean, tried from the least weight on."""
    best = judge(weights).mean
    for member in np.argsort(weights):
        fewer = np.array(weights)
        fewer[member] = 0
        if weights[member] and fewer.any() and (mean := judge(_rounded(fewer / fewer.sum())).mean) >= best:
            weights, best = _rounded(fewer / fewer.sum()), mean
    return weights


def _rounded(weights: np.ndarray) -> Weights:
    return tuple(round(float(weight), DIGITS) for weight in weights)
