"""From histories to a ranking, the same for every model: clicked items, and the best of the others. torch only.

``B`` histories in the batch, ``L`` their padded length, ``C`` items of the catalogue with the padding item (RecBole's ids
run from 0, the padding item, to C - 1).
"""

from __future__ import annotations

import torch
from torch import Tensor


def multi_hot(history: Tensor, n_items: int) -> Tensor:
    """The clicks of histories of item ids, int64 [B, L] -> float32 [B, C].

    Padding (0) and unknown ids are ignored, and an item counts once however often it occurs.
    """
    known = (history > 0) & (history < n_items)
    rows = torch.zeros(len(history), n_items, device=history.device)
    rows.scatter_(1, history.where(known, 0), 1.0)
    rows[:, 0] = 0
    return rows


def best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Rank items.

    Args:
        scores: float32 [B, C], -inf for items that must not be recommended.
        k: how many items; more than the catalogue holds is clamped.

    Returns:
        ``items`` int64 [B, k] and ``scores`` float32 [B, k], best first, the lower id first between equal scores. Where
        fewer than k items remain, the rest is padding: id 0 with score -inf.
    """
    k = min(k, scores.shape[1] - 1)
    items = _keys(scores).topk(k).indices
    best_scores = scores.gather(1, items)
    return items.masked_fill(best_scores.isneginf(), 0), best_scores


def _keys(scores: Tensor) -> Tensor:
    """Integers in the order of the ranking, all different within a row, [B, C]: the score above, the id below."""
    # Adding 0 makes -0 equal to 0. The bits of a float are in order as an integer once those of a negative are flipped.
    bits = (scores + 0.0).view(torch.int32).long()
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (ordered << 32) - torch.arange(scores.shape[1])
