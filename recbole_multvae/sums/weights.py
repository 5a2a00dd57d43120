"""The choice of weights: from the best member, step by step towards a member that helps.

It is the ensemble selection of Caruana et al. (ICML 2004), with a search for the length of each step. A step must improve
the mean over the users by more than the standard error of the improvement: a member that adds nothing keeps weight 0.

``M`` members, ``U`` users.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

#: The lengths of a step that are tried first, and by how much the best is then changed.
STEPS, REFINEMENTS = tuple(n / 10 for n in range(1, 10)), (0.05, 0.025, 0.0125)
#: Digits of a weight.
DIGITS = 4

Weights = tuple[float, ...]


class Quality(NamedTuple):
    """How good a ranking is, more being better: the mean, and the value of each user, float64 [U], if there is one."""

    mean: float
    users: np.ndarray | None


class Step(NamedTuple):
    """Weights, and how good their ranking is."""

    weights: Weights
    quality: Quality


def choose_weights(members: int, judge: Callable[[Weights], Quality]) -> Step:
    """Choose the weights of M members, 0 or more, whose sum is 1.

    Args:
        members: M.
        judge: ranks by weights.
    """
    alone = [tuple(float(m == n) for n in range(members)) for m in range(members)]
    best = _best([Step(weights, judge(weights)) for weights in alone])
    while True:
        better = _best([_line_search(best, towards, judge) for towards in alone if towards != best.weights])
        if not _improves(better.quality, best.quality):
            return best
        best = better


def _line_search(start: Step, towards: Weights, judge: Callable[[Weights], Quality]) -> Step:
    """The best step from some weights towards a member."""

    def tried(length: float) -> Step:
        weights = _between(start.weights, towards, length)
        return Step(weights, judge(weights))

    steps = {length: tried(length) for length in STEPS}
    for change in REFINEMENTS:
        best = max(steps, key=lambda length: steps[length].quality.mean)
        steps |= {length: tried(length) for length in (best - change, best + change) if 0 < length < 1}
    return _best(list(steps.values()))


def _between(start: Weights, end: Weights, share: float) -> Weights:
    return tuple(round((1 - share) * one + share * other, DIGITS) for one, other in zip(start, end, strict=True))


def _best(steps: Sequence[Step]) -> Step:
    return max(steps, key=lambda step: step.quality.mean)


def _improves(better: Quality, best: Quality) -> bool:
    """Whether the mean improves by more than the standard error of the users' improvements."""
    error = 0.0
    if better.users is not None and best.users is not None:
        gains = better.users - best.users
        error = float(gains.std() / np.sqrt(max(1, len(gains))))
    return better.mean - best.mean > error
