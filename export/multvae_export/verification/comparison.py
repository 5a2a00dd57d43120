"""Compare a file's answer with torch's: the same scores, and the same ranking but for ties, in order."""

from __future__ import annotations

import numpy as np

from multvae_export.errors import VerificationError
from multvae_export.verification.exported_file import ROUNDING, SMALL_SCORES, Case, ExportedFile


def check_case(file: ExportedFile, case: Case) -> float:
    """The scores and the ranking of a case equal torch's. Returns the largest difference of a score."""
    items, scores, *_ = file.run(case)
    torch_items, torch_best, all_scores = file.expected(case)
    if scores.shape != torch_best.shape or items.shape != torch_items.shape:
        raise VerificationError(f"{case.name}: the shape is {scores.shape}, expected {torch_best.shape}")
    if np.isnan(scores).any() or (np.isneginf(scores) != np.isneginf(torch_best)).any():
        raise VerificationError(
            f"{case.name}: the scores {head(scores)} hold NaN or -inf where torch has {head(torch_best)}"
        )
    allowed = file.tolerance(case, file.unfiltered(case).numpy() if file.target.options.filters else all_scores)
    finite = np.isfinite(torch_best)
    difference = np.abs(np.subtract(scores, torch_best, where=finite, out=np.zeros_like(scores)))
    if (difference > allowed).any():
        raise VerificationError(
            f"{case.name}: a score differs by {difference.max():.2e}, more than {_limit(file, allowed)}: "
            f"found {head(scores)}, expected {head(torch_best)}"
        )
    _check_ranking(case, items, torch_items, torch_best, all_scores, allowed)
    if file.target.ranks:
        _check_order(case, items, scores, all_scores)
    return float(difference.max(initial=0))


def _limit(file: ExportedFile, allowed: np.ndarray) -> str:
    if file.target.precision == "fp32":
        small = allowed.min() < file.atol
        return f"{allowed.min():.2e}, {SMALL_SCORES:.1%} of a history's largest score" if small else f"--atol={file.atol:g}"
    return f"{allowed.min():.2e}, {ROUNDING:.0%} of the range of a history's scores"


def _check_ranking(
    case: Case,
    items: np.ndarray,
    torch_items: np.ndarray,
    torch_best: np.ndarray,
    all_scores: np.ndarray,
    allowed: np.ndarray,
) -> None:
    # Where the items differ, torch must give the same score to both.
    torch_scores = np.take_along_axis(all_scores, items, axis=1)
    gap = np.abs(np.subtract(torch_scores, torch_best, where=np.isfinite(torch_best), out=np.zeros_like(torch_best)))
    tied = (gap <= 2 * allowed) & np.isfinite(torch_best)
    wrong = (items != torch_items) & ~tied
    repeated = any(len(set(row[row > 0])) < (row > 0).sum() for row in items)
    if wrong.any() or repeated:
        raise VerificationError(f"{case.name}: the ranking is {head(items)}, expected {head(torch_items)}")


def _check_order(case: Case, items: np.ndarray, scores: np.ndarray, all_scores: np.ndarray) -> None:
    """In every precision exactly: best first, the lower id first between equal scores, nothing of the history."""
    higher, equal = scores[:, 1:] > scores[:, :-1], (scores[:, 1:] == scores[:, :-1]) & np.isfinite(scores[:, 1:])
    if higher.any() or (equal & (items[:, 1:] < items[:, :-1])).any():
        raise VerificationError(f"{case.name}: {head(items)} with {head(scores)} is not in order, expected best first")
    seen = items[(items > 0) & np.isneginf(np.take_along_axis(all_scores, items, axis=1))]
    if len(seen):
        raise VerificationError(f"{case.name}: items {sorted(seen)[:5]} of the history are recommended, expected none")


def head(values: np.ndarray) -> str:
    """The first numbers of the first row, for an error."""
    return np.array2string(values[0][:5], precision=6)
