from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix

from recbole_multvae.clicks import Clicks

#: Clicks of three users by RecBole's ids, the second without any.
HISTORIES = [[1, 4], [], [2, 3, 4]]


def lists(clicks: Clicks) -> list[list[int]]:
    return [row.tolist() for row in clicks.ids.tensor_split(clicks.offsets[1:-1])]


def from_csr() -> Clicks:
    matrix = np.zeros((3, 5))
    for row, items in enumerate(HISTORIES):
        matrix[row, items] = 1
    return Clicks.from_csr(csr_matrix(matrix))


def test_lists_and_matrices_become_the_same_clicks_and_back() -> None:
    clicks = Clicks.from_lists(HISTORIES, torch.device("cpu"))
    assert lists(clicks) == lists(from_csr()) == HISTORIES
    assert clicks.columns.tolist() == [0, 3, 1, 2, 3] and len(clicks) == 3
    assert clicks.rows.tolist() == [0, 0, 2, 2, 2] and clicks.counts.tolist() == [2, 0, 3]
    assert clicks.nonzeros.tolist() == [1.0] * 5
    assert (clicks.columns.dtype, from_csr().columns.dtype) == (torch.int64, torch.int32)
    assert lists(Clicks.from_lists([[], []], torch.device("cpu"))) == [[], []]


def test_rows_are_taken_with_their_values() -> None:
    clicks = from_csr()
    rated = Clicks(clicks.columns, clicks.offsets, torch.arange(5.0))
    chosen = rated.select(torch.tensor([2, 0, 1, 2]))
    assert lists(chosen) == [HISTORIES[row] for row in (2, 0, 1, 2)] and chosen.columns.dtype == torch.int64
    assert chosen.values is not None and chosen.values.tolist() == [2, 3, 4, 0, 1, 2, 3, 4]
    last = rated.between(1, 7)
    assert lists(last) == HISTORIES[1:] and last.values is not None and last.values.tolist() == [2, 3, 4]
    assert rated.between(0, 3) is rated
