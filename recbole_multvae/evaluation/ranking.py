"""Full ranking of many users at once, with the results of RecBole's evaluation.

RecBole 1.2.1 (``recbole/trainer/trainer.py``, ``recbole/evaluator/collector.py``) makes, for every batch, a copy of the
logits with a column for the padding item, an integer matrix of positives of the same shape, its sum, and the k largest
scores by a heap over each whole row. Metrics that read only the top-k lists need none of these: see :class:`Ranker`. For all
other metrics the trainer and the collector work as RecBole's do.

``B`` users in the batch, ``I`` items with RecBole's padding item, ``k`` positions of the ranking.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

#: Items in a chunk of :func:`top_k`, and how many chunks for each position of a list make it faster than ``torch.topk``.
CHUNK, CHUNKS_PER_POSITION = 32, 16
#: Floats in 64 bytes. A product whose rows begin on such a boundary took a fifth less time.
ALIGNMENT = 16


class Ranking(NamedTuple):
    """The result of a :class:`Ranker`: ``items``, int64 [B, k], best first, out of ``n_items``.

    A list that is shorter than k ends with zeros, the padding item.
    """

    items: Tensor
    n_items: int


class Ranker:
    """Ranks the batches of one evaluation; all batches share the memory of the scores.

    Args:
        model: a model of the family.
        k: the length of the lists.
        first: the items from this id on are ranked.
    """

    def __init__(self, model: Any, k: int, first: int = 1) -> None:
        self.model, self.k, self.first = model, k, first
        self._memory = torch.empty(0, device=model.device)

    def __call__(self, interaction: Any, masked: tuple[Tensor, Tensor]) -> Ranking:
        """Rank the items for the users of ``interaction``, without the pairs (row, item) in ``masked``, int64 [N] each."""
        scores = self._scores(len(interaction))
        self.model.score_into(self.model.histories(interaction), scores[:, 1:])
        scores[:, : self.first] = -torch.inf
        scores[masked] = -torch.inf
        return Ranking(only_ranked(top_k(scores, self.k), scores), self.model.n_items)

    def _scores(self, rows: int) -> Tensor:
        """An uninitialised matrix [rows, I] in which the first item after the padding begins on a boundary in each row."""
        n_items = self.model.n_items
        stride = math.ceil(n_items / ALIGNMENT) * ALIGNMENT
        if len(self._memory) < (rows + 1) * stride:
            self._memory = torch.empty((rows + 1) * stride, device=self.model.device)
        return self._memory.as_strided((rows, n_items), (stride, 1), ALIGNMENT - 1)


def only_ranked(items: Tensor, scores: Tensor) -> Tensor:
    """Replace items whose score is -inf, which are not to be ranked, by 0, the padding item.

    The list of a user with fewer than k items to rank has such items, and metrics of the lists must not count them.

    Args:
        items: the lists, int64 [B, k].
        scores: float [B, I].
    """
    return items.masked_fill(scores.gather(1, items) == -torch.inf, 0)


def top_k(scores: Tensor, k: int) -> Tensor:
    """The columns of the ``k`` largest scores of each row, as ``torch.topk(scores, k)`` orders them, also between ties.

    The k + 1 largest numbers of a row are in the k + 1 chunks with the largest maxima. Where these numbers all differ, their
    order is the result; the other rows are left to ``torch.topk``.

    Args:
        scores: float [B, I].
        k: at most I.

    Returns:
        int64 [B, k].
    """
    n_items = scores.shape[1]
    chunks = n_items // CHUNK
    if scores.is_cuda or chunks < CHUNKS_PER_POSITION * k:
        return torch.topk(scores, k, dim=1).indices
    maxima = scores[:, : chunks * CHUNK].unflatten(1, (chunks, CHUNK)).amax(dim=2)
    best = maxima.topk(k + 1, dim=1, sorted=False).indices
    columns = (best.unsqueeze(2) * CHUNK + torch.arange(CHUNK)).flatten(1)
    rest = torch.arange(chunks * CHUNK, n_items).expand(len(scores), -1)
    columns = torch.cat((columns, rest), dim=1)
    values, positions = scores.gather(1, columns).topk(k + 1, dim=1)
    result = columns.gather(1, positions[:, :k])
    unsettled = ~(values[:, :-1] > values[:, 1:]).all(dim=1)  # Ties, and NaN.
    if unsettled.any():
        result[unsettled] = torch.topk(scores[unsettled], k, dim=1).indices
    return result
