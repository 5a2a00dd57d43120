"""The cost of fewer bits: how much of float32's ranking a written file keeps, over real or random histories.

A real history is split into items that the model sees and items that it must find (Liang et al., WWW 2018, section 4.2: 80 %
and 20 %), so that NDCG can be measured for both files; for a random one only the two rankings are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from multvae_export.errors import HistoriesError
from multvae_export.histories import MOST, Layout, drawn, padded, random_histories, read_inter
from multvae_export.ranking import best, multi_hot
from multvae_export.verification.checks import Case, ExportedFile

#: The length of the rankings that the overlap and NDCG look at.
OVERLAP_AT, NDCG_AT = 10, 100
HELD_OUT = 0.2
RANDOM, BATCH = 1000, 100


@dataclass(frozen=True)
class Histories:
    """The histories or users that the cost is measured on.

    Attributes:
        seen: the item ids that the model sees of each history, int64 [length]; or users by id.
        held: the item ids that it must find; None for random histories and for users.
    """

    seen: list[np.ndarray]
    held: list[np.ndarray] | None


@dataclass(frozen=True)
class Cost:
    """Means over ``users``, real or random: the share of fp32's top 10 in the file's, and NDCG@100 of both if known."""

    users: int
    overlap: float
    ndcg: float | None = None
    ndcg_fp32: float | None = None
    random: bool = True

    def __str__(self) -> str:
        overlap = f"{self.overlap:.2%} of fp32's top {OVERLAP_AT}"
        if self.ndcg is None or self.ndcg_fp32 is None:
            return f"{overlap}, over {self.users} {'random histories; NDCG needs --histories' if self.random else 'users'}"
        kept = f", {self.ndcg / self.ndcg_fp32:.2%}" if self.ndcg_fp32 else ""
        return f"{overlap}, NDCG@{NDCG_AT} {self.ndcg:.4f} (fp32 {self.ndcg_fp32:.4f}{kept}), over {self.users} users"


def some_histories(n_items: int) -> Histories:
    """Random histories of about 50 items, at most half the catalogue; C items with the padding item."""
    return Histories(random_histories(n_items, RANDOM), None)


def some_users(n_users: int) -> Histories:
    """Users by RecBole's id, for a file that answers for users: at most 10,000, drawn uniformly; U users with padding."""
    users = np.random.default_rng(0).permutation(np.arange(1, n_users))[:MOST]
    return Histories(list(users), None)


def read_histories(path: str | Path, tokens: Sequence[str], layout: Layout) -> Histories:
    """Read RecBole's atomic file of interactions; a fifth of each user's items, seeded, is held out.

    Items that the model does not know are left out, and users with fewer than two known items; of more than 10,000 users,
    10,000 are drawn.

    Args:
        path: an ``.inter`` file.
        tokens: the model's item tokens by id, the padding item's first.
        layout: how the file is written.

    Raises:
        HistoriesError: the file cannot be read, lacks a column, or no user has two items that the model knows.
    """
    rows = [items for items in read_inter(path, tokens, layout) if len(items) > 1]
    if not rows:
        raise HistoriesError(f"no user of {path} has two items that the model knows: expected its data set's item tokens.")
    rng = np.random.default_rng(0)
    rows = [rng.permutation(row) for row in drawn(rows, rng)]
    cuts = [max(1, int(HELD_OUT * len(row))) for row in rows]
    return Histories(
        [row[cut:] for row, cut in zip(rows, cuts, strict=True)], [row[:cut] for row, cut in zip(rows, cuts, strict=True)]
    )


def measure(file: ExportedFile, histories: Histories) -> Cost:
    """Rank every history with the file and with torch in fp32, and compare."""
    overlaps, gains = [], []
    by_user = file.target.by_users
    for start in range(0, len(histories.seen), BATCH):
        seen = histories.seen[start : start + BATCH]
        history = np.array(seen) if by_user else padded(seen)
        k = NDCG_AT if histories.held else OVERLAP_AT
        ranking = _file_best(file, history, k)
        fp32 = best(file.model.architecture.answer(torch.from_numpy(history)), k)[0].numpy()
        overlaps += [_overlap(*pair) for pair in zip(ranking, fp32, strict=True)]
        if histories.held:
            held = histories.held[start : start + BATCH]
            gains += [(_ndcg(a, items), _ndcg(b, items)) for a, b, items in zip(ranking, fp32, held, strict=True)]
    ndcg, ndcg_fp32 = np.mean(gains, axis=0).tolist() if gains else (None, None)
    return Cost(len(overlaps), float(np.mean(overlaps)), ndcg, ndcg_fp32, random=not by_user)


def _file_best(file: ExportedFile, history: np.ndarray, k: int) -> np.ndarray:
    """The k best item ids by the file, [B, k], with 0 where fewer remain."""
    items, scores, *_ = file.run(Case("cost", history, k))
    if file.target.ranks:
        return items
    clicks = multi_hot(torch.from_numpy(history), file.model.n_items)
    return best(torch.tensor(scores).masked_fill(clicks > 0, -torch.inf), k)[0].numpy()


def _overlap(ranking: np.ndarray, fp32: np.ndarray) -> float:
    expected = set(fp32[:OVERLAP_AT].tolist()) - {0}
    return len(expected & set(ranking[:OVERLAP_AT].tolist())) / len(expected) if expected else 1.0


def _ndcg(ranking: np.ndarray, held: np.ndarray) -> float:
    """NDCG@k with the ideal ranking cut at k too, as the paper has it."""
    discount = 1 / np.log2(np.arange(2, NDCG_AT + 2))
    return float(discount[: len(ranking)] @ np.isin(ranking, held) / discount[: len(held)].sum())
