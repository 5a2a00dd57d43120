"""What fewer bits cost: how much of float32's ranking a written file keeps, over given or made histories.

A given history is split into what the model sees and what it must find (Liang et al., WWW 2018, section 4.2: 80 % and 20 %),
so that NDCG can be told for both; a made one can only be ranked twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from multvae_export.errors import HistoriesError
from multvae_export.verify import Case, File

#: How far down a ranking the overlap and NDCG look.
OVERLAP_AT, NDCG_AT = 10, 100
HELD_OUT = 0.2
MADE, MOST, BATCH = 1000, 10_000, 100
COLUMNS = ("user_id:token", "item_id:token")


@dataclass(frozen=True)
class Histories:
    """Who the cost is measured on.

    Attributes:
        seen: the item ids that the model sees of each, int64 [length].
        held: those that it must find; None where nothing is known.
    """

    seen: list[np.ndarray]
    held: list[np.ndarray] | None


@dataclass(frozen=True)
class Cost:
    """Means over ``users`` histories: the share of fp32's top 10 in the file's, and NDCG@100 of both if it is known."""

    users: int
    overlap: float
    ndcg: float | None = None
    ndcg_fp32: float | None = None

    def __str__(self) -> str:
        overlap = f"{self.overlap:.2%} of fp32's top {OVERLAP_AT}"
        if self.ndcg is None or self.ndcg_fp32 is None:
            return f"{overlap}, over {self.users} made histories; NDCG needs --histories"
        kept = f", {self.ndcg / self.ndcg_fp32:.2%}" if self.ndcg_fp32 else ""
        return f"{overlap}, NDCG@{NDCG_AT} {self.ndcg:.4f} (fp32 {self.ndcg_fp32:.4f}{kept}), over {self.users} users"


def made_histories(n_items: int) -> Histories:
    """Histories of distinct items drawn evenly, seeded, of lognormal length: about 50 items, at most half the catalogue.

    Args:
        n_items: C, the catalogue with the padding item.
    """
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(30), 1, MADE), 1, max(1, (n_items - 1) // 2)).astype(int)
    return Histories([rng.choice(n_items - 1, length, replace=False) + 1 for length in lengths], None)


def read_histories(path: str | Path, tokens: Sequence[str]) -> Histories:
    """Read RecBole's atomic file of interactions; a fifth of each user's items, seeded, is held out.

    Items that the model does not know are left out, and users with fewer than two known items; of more than 10,000 users,
    10,000 are drawn.

    Args:
        path: an ``.inter`` file with the columns ``user_id:token`` and ``item_id:token``.
        tokens: the model's item tokens by id, the padding item's first.

    Raises:
        HistoriesError: there is no such file, it lacks a column, or no user has two items that the model knows.
    """
    users = _items_of_users(path, {token: n for n, token in enumerate(tokens) if n})
    rows = [np.array(sorted(items)) for items in users.values() if len(items) > 1]
    if not rows:
        raise HistoriesError(f"no user of {path} has two items that the model knows: expected its data set's item tokens.")
    rng = np.random.default_rng(0)
    rows = [rng.permutation(rows[n]) for n in sorted(rng.permutation(len(rows))[:MOST])]
    cuts = [max(1, int(HELD_OUT * len(row))) for row in rows]
    return Histories(
        [row[cut:] for row, cut in zip(rows, cuts, strict=True)], [row[:cut] for row, cut in zip(rows, cuts, strict=True)]
    )


def _items_of_users(path: str | Path, ids: dict[str, int]) -> dict[str, set[int]]:
    """The known items of every user, by the user's token."""
    try:
        header, *lines = Path(path).read_text("utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise HistoriesError(f"cannot read the histories in {path}: {error}") from error
    names = header.split("\t")
    if missing := [name for name in COLUMNS if name not in names]:
        raise HistoriesError(f"{path} has no column {missing[0]}: expected a RecBole .inter file, found {header[:80]!r}.")
    user_at, item_at = (names.index(name) for name in COLUMNS)
    users: dict[str, set[int]] = {}
    for number, line in enumerate(lines, 2):
        fields = line.split("\t")
        if len(fields) != len(names):
            raise HistoriesError(f"line {number} of {path} has {len(fields)} fields, expected {len(names)}.")
        if item := ids.get(fields[item_at]):
            users.setdefault(fields[user_at], set()).add(item)
    return users


def measure(file: File, histories: Histories) -> Cost:
    """Rank every history with the file and with torch in fp32, and compare."""
    catalogue = file.model.scorer.n_items - 1
    overlaps, gains = [], []
    for start in range(0, len(histories.seen), BATCH):
        seen = histories.seen[start : start + BATCH]
        history = np.zeros((len(seen), max(map(len, seen))), np.int64)
        for row, items in zip(history, seen, strict=True):
            row[: len(items)] = items
        k = min(NDCG_AT if histories.held else OVERLAP_AT, catalogue)
        ours, theirs = _file_best(file, history, k), _best(file.model.scorer.unseen(torch.from_numpy(history)), k)
        overlaps += [_overlap(*pair) for pair in zip(ours, theirs, strict=True)]
        if histories.held:
            held = histories.held[start : start + BATCH]
            gains += [(_ndcg(a, items), _ndcg(b, items)) for a, b, items in zip(ours, theirs, held, strict=True)]
    ndcg, ndcg_fp32 = np.mean(gains, axis=0).tolist() if gains else (None, None)
    return Cost(len(overlaps), float(np.mean(overlaps)), ndcg, ndcg_fp32)


def _best(scores: torch.Tensor, k: int) -> np.ndarray:
    """The k best item ids, [B, C] -> [B, k], with 0 where fewer remain."""
    values, items = scores.topk(k)
    return items.masked_fill(values.isneginf(), 0).numpy()


def _file_best(file: File, history: np.ndarray, k: int) -> np.ndarray:
    items, scores = file.run(Case("cost", history, k))
    if file.io != "dense":
        return items
    clicks = file.model.scorer.clicks(torch.from_numpy(history))
    return _best(torch.tensor(scores).masked_fill(clicks > 0, -torch.inf), k)


def _overlap(ours: np.ndarray, theirs: np.ndarray) -> float:
    expected = set(theirs[:OVERLAP_AT].tolist()) - {0}
    return len(expected & set(ours[:OVERLAP_AT].tolist())) / max(1, len(expected)) if expected else 1.0


def _ndcg(ranking: np.ndarray, held: np.ndarray) -> float:
    """NDCG@k with the ideal ranking cut at k too, as the paper has it."""
    discount = 1 / np.log2(np.arange(2, NDCG_AT + 2))
    return float(discount[: len(ranking)] @ np.isin(ranking, held) / discount[: len(held)].sum())
