"""The best unseen items for a history, and the items of the history that they are recommended because of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

#: Histories that are scored at once.
_BATCH = 100


def recommend(
    model: Any, history: Sequence[int], k: int, exclude: Sequence[int] = (), among: Sequence[int] | None = None
) -> list[tuple[int, float]]:
    """The k best items that are not in a history, with their scores. Of equal scores the lower id comes first.

    Args:
        model: one of the family, in evaluation mode.
        history: RecBole item ids.
        k: how many items.
        exclude: ids of items that are never recommended.
        among: ids of the only items that are ranked; None ranks all.
    """
    scores = model.score_histories([history])[0]
    if among is not None:
        allowed = torch.zeros(len(scores), dtype=torch.bool)
        allowed[torch.tensor(among, dtype=torch.long)] = True
        scores[~allowed] = -torch.inf
    scores[torch.tensor([0, *history, *exclude])] = -torch.inf
    values, items = scores.sort(descending=True, stable=True)
    k = min(k, int(scores.isfinite().sum()))
    return list(zip(items[:k].tolist(), values[:k].tolist(), strict=True))


def reasons(model: Any, history: Sequence[int], items: Sequence[int]) -> torch.Tensor:
    """By how much each item of a history raises the scores of some items, float32 [items, history].

    It is the score with the whole history minus the score without this item, as in ``multvae-export --reasons``.
    """
    shorter = [[*history[:position], *history[position + 1 :]] for position in range(len(history))]
    batches = [model.score_histories(shorter[n : n + _BATCH])[:, items] for n in range(0, len(shorter), _BATCH)]
    scores_without = torch.cat(batches) if batches else torch.zeros(0, len(items))
    return (model.score_histories([history])[:, items] - scores_without).T
