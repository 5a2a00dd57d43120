"""A file's answer beside torch's: the same scores, the same ranking but for ties, in order."""

from __future__ import annotations

import numpy as np

from multvae_export.errors import VerificationError
from multvae_export.verification.exported_file import ROUNDING, SMALL_SCORES, Case, File


def check_case(file: File, case: Case) -> float:
    """The scores and the ranking of a case equal torch's. Returns the largest difference of a score."""
    items, scores, *_ = file.run(case)
    want_items, want_scores, everything = file.expected(case)
    if scores.shape != want_scores.shape or items.shape != want_items.shape:
        raise VerificationError(f"{case.name}: the shape is {scores.shape}, expected {want_scores.shape}")
    if np.isnan(scores).any() or (np.isneginf(scores) != np.isneginf(want_scores)).any():
        raise VerificationError(
            f"{case.name}: the scores {head(scores)} hold NaN or -inf where torch has {head(want_scores)}"
        )
    allowed = file.tolerance(file.unfiltered(case).numpy() if file.options.filters else everything)
    finite = np.isfinite(want_scores)
    difference = np.abs(np.subtract(scores, want_scores, where=finite, out=np.zeros_like(scores)))
    if (difference > allowed).any():
        raise VerificationError(
            f"{case.name}: a score differs by {difference.max():.2e}, more than {_limit(file, allowed)}: "
            f"found {head(scores)}, expected {head(want_scores)}"
        )
    _check_ranking(case, items, want_items, want_scores, everything, allowed)
    if file.form.ranks:
        _check_order(case, items, scores, everything)
    return float(difference.max(initial=0))


def _limit(file: File, allowed: np.ndarray) -> str:
    if file.precision == "fp32":
        small = allowed.min() < file.atol
        return f"{allowed.min():.2e}, {SMALL_SCORES:.1%} of a history's largest score" if small else f"--atol={file.atol:g}"
    return f"{allowed.min():.2e}, {ROUNDING:.0%} of the range of a history's scores"


def _check_ranking(
    case: Case, items: np.ndarray, want: np.ndarray, want_scores: np.ndarray, everything: np.ndarray, allowed: np.ndarray
) -> None:
    # Where the items differ, the one found must be worth the same as the one expected, to torch.
    found_scores = np.take_along_axis(everything, items, axis=1)
    gap = np.abs(np.subtract(found_scores, want_scores, where=np.isfinite(want_scores), out=np.zeros_like(want_scores)))
    tied = (gap <= 2 * allowed) & np.isfinite(want_scores)
    wrong = (items != want) & ~tied
    repeated = any(len(set(row[row > 0])) < (row > 0).sum() for row in items)
    if wrong.any() or repeated:
        raise VerificationError(f"{case.name}: the ranking is {head(items)}, expected {head(want)}")


def _check_order(case: Case, items: np.ndarray, scores: np.ndarray, everything: np.ndarray) -> None:
    """In every precision exactly: best first, the lower id first between equal scores, nothing of the history."""
    higher, equal = scores[:, 1:] > scores[:, :-1], (scores[:, 1:] == scores[:, :-1]) & np.isfinite(scores[:, 1:])
    if higher.any() or (equal & (items[:, 1:] < items[:, :-1])).any():
        raise VerificationError(f"{case.name}: {head(items)} with {head(scores)} is not in order, expected best first")
    seen = items[(items > 0) & np.isneginf(np.take_along_axis(everything, items, axis=1))]
    if len(seen):
        raise VerificationError(f"{case.name}: items {sorted(seen)[:5]} of the history are recommended, expected none")


def head(values: np.ndarray) -> str:
    """The first numbers of the first row, for an error."""
    return np.array2string(values[0][:5], precision=6)
