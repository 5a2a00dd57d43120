"""Sparse matrices in a checkpoint: those whose parts fit are what was saved, any other is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from recbole_multvae import checkpoint
from recbole_multvae.errors import CheckpointError
from tests import hostile


def csr(indptr: list[int], indices: list[int]) -> bytes:
    parts = {
        "indptr": hostile.array(hostile.shape(len(indptr)), hostile.dtype("i4"), hostile.octets(np.int32(indptr).tobytes())),
        "indices": hostile.array(
            hostile.shape(len(indices)), hostile.dtype("i4"), hostile.octets(np.int32(indices).tobytes())
        ),
        "data": hostile.array(hostile.shape(2), hostile.dtype("f4"), hostile.octets(np.float32([1, 2]).tobytes())),
    }
    return hostile.made("scipy.sparse._csr.csr_matrix", hostile.mapping(_shape=hostile.shape(2, 3), **parts))


def lil(rows: list[list[int]], data: list[list[int]]) -> bytes:
    def lists(values: list[list[int]]) -> bytes:
        content = hostile.array_of(*(hostile.array_of(*map(hostile.number, row)) for row in values))
        return hostile.array(hostile.shape(len(values)), hostile.dtype("O8", "|"), content)

    state = hostile.mapping(_shape=hostile.shape(2, 3), dtype=hostile.dtype("f4"), rows=lists(rows), data=lists(data))
    return hostile.made("scipy.sparse._lil.lil_matrix", state)


@pytest.mark.parametrize(
    "content",
    [
        csr([0, 1, 2], [0, 3]),
        csr([0, 1, 2], [0, -1]),
        csr([0, 1, 9], [0, 2]),
        csr([0, 2, 1], [0, 2]),
        csr([0, 2], [0, 2]),
        csr([0, 1, 2], [0]),
        lil([[0], [3]], [[1], [1]]),
        lil([[0], [-1]], [[1], [1]]),
        lil([[0], [1]], [[1], [1, 1]]),
        lil([[0]], [[1]]),
        hostile.made("scipy.sparse._csr.csr_matrix", hostile.mapping(_shape=hostile.shape(2, 3))),
        hostile.made("scipy.sparse._dia.dia_matrix", hostile.mapping(_shape=hostile.shape(2, 3))),
    ],
)
def test_sparse_matrix_whose_parts_do_not_fit(content: bytes) -> None:
    hostile.write(content, Path("hostile.pth"))
    with pytest.raises(CheckpointError, match=r"hostile.pth is damaged"):
        checkpoint.load("hostile.pth")


def test_sparse_matrix_whose_rows_are_one_row() -> None:
    row = hostile.array_of(*[hostile.number(0)] * 1000) + hostile.kept(0)
    rows = hostile.array(
        hostile.shape(10_001), hostile.dtype("O8", "|"), hostile.array_of(row, *[hostile.again(0)] * 10_000)
    )
    state = hostile.mapping(_shape=hostile.shape(10_001, 3), dtype=hostile.dtype("f4"), rows=rows + hostile.kept(1))
    state = state[:-1] + hostile.text("data") + hostile.again(1) + state[-1:]
    hostile.write(hostile.made("scipy.sparse._lil.lil_matrix", state), Path("hostile.pth"))
    with hostile.small_and_quick(), pytest.raises(CheckpointError, match="it copies the same values again and again"):
        checkpoint.load("hostile.pth")


def test_sparse_matrices_that_fit() -> None:
    hostile.write(csr([0, 1, 2], [0, 2]), Path("csr.pth"))
    assert checkpoint.load("csr.pth").toarray().tolist() == [[1, 0, 0], [0, 0, 2]]
    hostile.write(lil([[0], [2]], [[1], [2]]), Path("lil.pth"))
    assert checkpoint.load("lil.pth").tocsr().toarray().tolist() == [[1, 0, 0], [0, 0, 2]]
    matrix = sparse.random(9, 7, 0.3, random_state=0)
    for kind in ("csr", "csc", "lil", "coo", "bsr"):
        torch.save(matrix.asformat(kind), "matrix.pth", pickle_protocol=4)
        loaded = checkpoint.load("matrix.pth")
        assert loaded.format == kind
        assert (loaded.toarray() == matrix.toarray()).all()
