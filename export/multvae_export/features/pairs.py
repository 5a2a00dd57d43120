"""What new items add to a sparse matrix with a weight for each pair of items."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def pairs_of_new(own: Tensor, rows: Callable[[Tensor], Tensor]) -> Tensor:
    """The entries of new items, which come after the others.

    Their rows and columns follow from those of the others, and the pairs among themselves from their rows. Each row and
    column keeps its largest weights, as many as the fullest row of the matrix has. No new item raises its own score.

    Args:
        own: the matrix of the other items, sparse, [I, I].
        rows: see :meth:`.regression.Regression.rows`.

    Returns:
        Sparse, [I + N, I + N]; none of the matrix's own entries.
    """
    own = own.coalesce()
    items, most = len(own), int(torch.bincount(own.indices()[0], minlength=1).max())
    below, beside = rows(own), rows(own.T.coalesce())
    corner = rows(below.T).T.fill_diagonal_(0)
    (lower, lower_weights), (right, right_weights), (last, last_weights) = (
        _largest(part, most) for part in (below, beside, corner)
    )
    shift = torch.tensor([[items], [0]])
    places = torch.cat([lower + shift, (right + shift).flip(0), last + items], dim=1)
    size = items + len(below)
    weights = torch.cat([lower_weights, right_weights, last_weights])
    return torch.sparse_coo_tensor(places, weights, (size, size), check_invariants=True).coalesce()


def _largest(matrix: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The places, int64 [2, n], and the values of the largest values of each row, by size."""
    columns = matrix.abs().topk(min(most, matrix.shape[1]), dim=1).indices
    rows = torch.arange(len(matrix))[:, None].expand_as(columns)
    return torch.stack([rows.flatten(), columns.flatten()]), matrix.gather(1, columns).flatten()
