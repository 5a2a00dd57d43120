"""The proof of a file's options: filters against masking in torch, reasons against brute force, samples against torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from multvae_export.errors import VerificationError
from multvae_export.target import Options
from multvae_export.verification.comparison import check_case, head
from multvae_export.verification.exported_file import Case, ExportedFile

Check = Callable[[ExportedFile], str]
#: How many histories reasons are proved on, and their length: brute force runs torch once more for each item.
HISTORIES, LENGTH = 4, 30


def checks(options: Options) -> tuple[tuple[str, Check], ...]:
    """The checks of the options that are on, each with its name in the report."""
    by_option = {
        "filters": ("filters equal masking", check_filters),
        "reasons": ("reasons equal brute force", check_reasons),
        "posterior": ("samples equal torch", check_posterior),
    }
    return tuple(by_option[name] for name in options.names)


def _requests(file: ExportedFile, rng: np.random.Generator, rows: int, length: int) -> np.ndarray:
    """Histories of item ids, or users by number for a file that answers for them."""
    if file.target.by_users:
        return rng.integers(1, len(file.model.architecture.user_tokens), rows)
    history = rng.integers(1, file.model.n_items, (rows, length))
    return np.where(rng.random(history.shape) < 0.7, history, 0)


def filter_cases(file: ExportedFile) -> Iterator[Case]:
    """Lists of every kind, the same ones at every call."""
    rng = np.random.default_rng(2)
    n_items, all_items = file.model.n_items, np.arange(1, file.model.n_items)[None]
    history = _requests(file, rng, 3, 20)

    def some(rows: int, length: int) -> np.ndarray:
        return rng.integers(1, n_items, (rows, length))

    plain = Case("filters", history, 10)
    yield replace(plain, name="some excluded", exclude=some(3, 15))
    yield replace(plain, name="the same excluded for all", exclude=some(1, 15))
    yield replace(plain, name="everything excluded", exclude=all_items)
    yield replace(plain, name="among one", among=some(3, 1))
    yield replace(plain, name="among five", among=some(3, 5))
    yield replace(plain, name="among five for all", among=some(1, 5))
    yield replace(plain, name="among the whole catalogue", among=rng.permutation(all_items.T).T)
    yield replace(plain, name="among half the catalogue", among=rng.permutation(all_items.T).T[:, : max(1, n_items // 2)])
    yield replace(plain, name="among nothing that is known", among=np.array([[0, -1]]))
    noisy = np.concatenate([some(3, 4), some(3, 4), np.tile([0, -1], (3, 2))], axis=1)
    yield replace(plain, name="repeats, padding and unknown items", exclude=noisy, among=np.repeat(noisy[:, 2:], 2, axis=1))
    yield replace(plain, name="excluded among five", exclude=all_items[:, :3], among=all_items[:, :5])
    yield replace(plain, name="k above what remains", k=n_items, exclude=some(3, 5), among=some(3, 8))
    if not file.target.by_users:
        yield replace(plain, name="among the history", among=history)
        yield Case("empty history", np.zeros((2, 0), np.int64), 5, exclude=some(2, 3), among=some(2, 6))


def check_filters(file: ExportedFile) -> str:
    """Excluded items, and the only items to rank, against masking of torch's scores."""
    differences = [check_case(file, case) for case in filter_cases(file)]
    return f"{len(differences)} kinds of lists, largest score difference {max(differences):.1e}"


def reason_cases(file: ExportedFile) -> Iterator[Case]:
    """Histories of every kind that reasons are proved on."""
    rng = np.random.default_rng(3)
    n_items = file.model.n_items
    item = rng.integers(1, n_items, (1, 1))
    yield Case("empty history", np.zeros((1, 1), np.int64), 5)
    yield Case("history of length zero", np.zeros((2, 0), np.int64), 5)
    yield Case("history of one item", item, 10)
    yield Case("repeated, unknown and padded items", np.array([[*item[0], 0, -1, *item[0], *item[0]]]), 5)
    yield Case("some histories", _requests(file, rng, HISTORIES, LENGTH), 10)
    short = np.arange(1, max(2, n_items - 2))[None, :LENGTH]
    yield Case("fewer items than k", short, n_items)


def check_reasons(file: ExportedFile) -> str:
    """Every returned item's score, with the history and without each of its items, through torch."""
    rng = np.random.default_rng(4)
    worst, count = 0.0, 0
    for case in reason_cases(file):
        if file.target.options.posterior:
            case = replace(case, noise=_noise(file, rng, len(case.history)))
        worst = max(worst, _check_reasons(file, case))
        count += len(case.history)
    return f"{count} histories without each of their items, largest difference {worst:.1e}"


def _check_reasons(file: ExportedFile, case: Case) -> float:
    items, _, reasons = file.run(case)
    if reasons.shape != (*items.shape, case.history.shape[1]) or not np.isfinite(reasons).all():
        raise VerificationError(f"{case.name}: the reasons {head(reasons)} of shape {reasons.shape} are not all numbers")
    # The difference of two scores, each as far from torch's as it may be.
    allowed = 2 * file.tolerance(case, file.unfiltered(case).numpy())
    worst = 0.0
    for row, history in enumerate(case.history):
        known = np.unique(history[(history > 0) & (history < file.model.n_items)])
        expected = np.where(items[row] > 0, _brute_force(file, case, row, known)[:, items[row]], 0)
        for item, rises in zip(known, expected, strict=True):
            at_positions = reasons[row][:, history == item]
            total = at_positions.sum(axis=1)
            difference = float(np.abs(total - rises).max(initial=0))
            if difference > allowed[row, 0] or (np.count_nonzero(at_positions, axis=1) > 1).any():
                raise VerificationError(
                    f"{case.name}: item {item} raises the scores by {total[:5]}, expected {rises[:5]} at one position"
                )
            worst = max(worst, difference)
        if reasons[row][:, ~np.isin(history, known)].any():
            raise VerificationError(f"{case.name}: padding or an unknown item has a reason, expected 0")
    return worst


def _brute_force(file: ExportedFile, case: Case, row: int, known: np.ndarray) -> np.ndarray:
    """By how much each known item of a history raises all scores, float32 [known, C]."""
    history = case.history[row]
    histories = np.stack([history, *(np.where(history == item, 0, history) for item in known)])
    noise = None if case.noise is None else np.repeat(case.noise[row : row + 1], len(histories), axis=0)
    scores = file.logits(histories, noise).numpy()
    scores[:, 0] = 0  # -inf of the padding item.
    return scores[:1] - scores[1:]


def _noise(file: ExportedFile, rng: np.random.Generator, rows: int) -> np.ndarray:
    return rng.standard_normal((rows, file.model.architecture.latent_units), np.float32)


def check_posterior(file: ExportedFile) -> str:
    """The same noise in torch; noise that is not finite gets no item, and changes no other row."""
    rng = np.random.default_rng(5)
    history = _requests(file, rng, 8, 20)
    case = Case("samples of the posterior", history, 10, noise=_noise(file, rng, 8))
    worst = check_case(file, case)
    shared = Case("the same noise for all", history, 10, noise=_noise(file, rng, 1))
    worst = max(worst, check_case(file, shared))
    _check_not_finite(file, case)
    return f"{2 * len(history)} histories, largest score difference {worst:.1e}; noise that is not finite gets no item"


def _check_not_finite(file: ExportedFile, case: Case) -> None:
    assert case.noise is not None
    for value in (np.nan, np.inf, -np.inf):
        noise = case.noise.copy()
        noise[::2, -1] = value
        items, scores, *_ = file.run(replace(case, noise=noise))
        is_unranked = np.isnan(scores) if file.target.dense else np.isneginf(scores) & (items == 0)
        if not is_unranked[::2].all():
            raise VerificationError(f"noise of {value} gives the scores {head(scores)}, expected no item")
        if not np.array_equal(scores[1::2], file.run(case)[1][1::2]):
            raise VerificationError(f"noise of {value} in a row changes the scores of another row, expected the same")
