"""Whether the best row is really better than another one: a paired bootstrap over users."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import stats

#: Resamples, and the seed that draws them.
RESAMPLES, SEED = 10_000, 2020
#: Differences with a p-value of this or more are ties; confidence intervals leave out as much.
ALPHA = 0.05
#: Numbers that a batch of resamples may hold.
BATCH_NUMBERS = 2**24


class UserScores(NamedTuple):
    """A metric of the users that were tested under one seed: their ids, int64 [users], and ``values``, float64 [users]."""

    ids: np.ndarray
    values: np.ndarray


def compare(best: list[UserScores], other: list[UserScores]) -> dict[str, float]:
    """Compare two rows user by user.

    Users are drawn with replacement, each with all seeds under which it was tested, and the mean of the differences is
    taken anew. What is random is whom the models are tested on; the trained models are taken as they are.

    Args:
        best: the metric under each seed.
        other: the same of the other row, of the same users.

    Returns:
        ``difference``, the mean over users and seeds, ``low`` and ``high``, its 95 % percentile interval, and ``p``, the
        two-sided p-value of no difference: at least 2 / (resamples + 1).
    """
    ids, places = np.unique(np.concatenate([seed.ids for seed in best]), return_inverse=True)
    differences = np.concatenate([ours.values - theirs.values for ours, theirs in zip(best, other, strict=True)])
    totals = np.bincount(places, differences, minlength=len(ids))
    counts = np.bincount(places, minlength=len(ids)).astype(float)
    if not totals.any():
        return {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}
    result = stats.bootstrap(
        (totals, counts), _mean, paired=True, vectorized=True, n_resamples=RESAMPLES, confidence_level=1 - ALPHA,
        method="percentile", batch=max(1, BATCH_NUMBERS // len(ids)), random_state=np.random.default_rng(SEED),
    )  # fmt: skip
    drawn = result.bootstrap_distribution
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
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
    for place, index in enumerate(np.argsort(p_values)):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - place)))
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
    found = [compare(users[rows[0]["name"]], users[row["name"]]) for row in others]
    for row, one, adjusted in zip(others, found, holm([one["p"] for one in found]), strict=True):
        row["against_best"] = {**one, "p_holm": adjusted}
        row["tie"] = adjusted >= ALPHA
