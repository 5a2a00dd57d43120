"""Whether the best row is really better than another one: a paired bootstrap over users."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import stats

#: The number of resamples, and the seed of their draws.
RESAMPLES, SEED = 10_000, 2020
#: A difference with this p-value or more is a tie; confidence intervals have the level 1 - ALPHA.
ALPHA = 0.05
#: The most numbers in a batch of resamples.
BATCH_NUMBERS = 2**24


class UserScores(NamedTuple):
    """A metric of the users that were tested under one seed: their ids, int64 [users], and ``values``, float64 [users]."""

    ids: np.ndarray
    values: np.ndarray


def compare(best: list[UserScores], other: list[UserScores]) -> dict[str, float]:
    """Compare two rows user by user.

    Each resample draws users with replacement, each with all seeds under which it was tested, and takes the mean of the
    differences. The random part is the choice of the test users; the trained models are fixed.

    Args:
        best: the best row's metric of each user, by seed.
        other: the same of the other row, for the same users.

    Returns:
        ``difference``, the mean over users and seeds, ``low`` and ``high``, its 95 % percentile interval, and ``p``, the
        two-sided p-value of no difference: at least 2 / (resamples + 1).
    """
    ids, positions = np.unique(np.concatenate([seed.ids for seed in best]), return_inverse=True)
    differences = np.concatenate([first.values - second.values for first, second in zip(best, other, strict=True)])
    totals = np.bincount(positions, differences, minlength=len(ids))
    counts = np.bincount(positions, minlength=len(ids)).astype(float)
    if not totals.any():
        return {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}
    result = stats.bootstrap(
        (totals, counts), _mean, paired=True, vectorized=True, n_resamples=RESAMPLES, confidence_level=1 - ALPHA,
        method="percentile", batch=max(1, BATCH_NUMBERS // len(ids)), random_state=np.random.default_rng(SEED),
    )  # fmt: skip
    means = result.bootstrap_distribution
    tail = min((means <= 0).sum(), (means >= 0).sum())
    return {
        "difference": float(_mean(totals, counts)),
        "low": float(result.confidence_interval.low),
        "high": float(result.confidence_interval.high),
        "p": float(min(1.0, 2 * (tail + 1) / (RESAMPLES + 1))),
    }


def _mean(totals: np.ndarray, counts: np.ndarray, axis: int = -1) -> Any:
    return totals.mean(axis=axis) / counts.mean(axis=axis)


def holm(p_values: list[float]) -> list[float]:
    """The p-values of several comparisons, adjusted by Holm's method (Scandinavian Journal of Statistics, 1979)."""
    adjusted = np.ones(len(p_values))
    largest = 0.0
    for position, index in enumerate(np.argsort(p_values)):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - position)))
        adjusted[index] = largest
    return [float(p) for p in adjusted]


def bootstrap_rows(rows: list[dict[str, Any]], users: dict[str, list[UserScores]]) -> None:
    """Compare the first row with each other one, and write ``against_best`` and ``tie`` into these.

    Args:
        rows: with ``name``, the best first.
        users: the metric of each user under each seed, by the name of the row.
    """
    others = [row for row in rows[1:] if row["name"] in users]
    if not rows or rows[0]["name"] not in users:
        return
    comparisons = [compare(users[rows[0]["name"]], users[row["name"]]) for row in others]
    adjusted = holm([comparison["p"] for comparison in comparisons])
    for row, comparison, p_holm in zip(others, comparisons, adjusted, strict=True):
        row["against_best"] = {**comparison, "p_holm": p_holm}
        row["tie"] = p_holm >= ALPHA
