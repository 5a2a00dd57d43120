r"""EDLAE (Steck, "Autoencoders that don't overfit towards the Identity", NeurIPS 2020), the full-rank model in closed form.

A linear auto-encoder of clicks, trained to predict every item from the others under dropout of the input. With the dropout
probability p, and summed over infinitely many draws of the dropout, its objective has the minimum

.. math:: B = I - C \cdot \mathrm{dMat}(1 \oslash \mathrm{diag}(C)), \quad C = (X^\top X + \Lambda)^{-1}, \quad
    \Lambda = \tfrac{p}{1 - p} \mathrm{dMat}(\mathrm{diag}(X^\top X)) + \lambda I

with a diagonal of zeros; the scores of a click vector x are x B. Dropout is an L2 penalty that grows with the popularity of
an item. With p = 0 this is EASE (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019). With an exponent
above 0 the users are weighted, and W^(1/2) X (:func:`.linear.weigh_users`) stands in the place of X.

B is computed in the memory that it needs itself: SciPy calls LAPACK's Cholesky factor and inverse, which overwrite X^T X, in
float32. Where there are few users, the identity of Woodbury replaces I x I by U x U: with K = I + X Lambda^-1 X^T,

.. math:: C = \Lambda^{-1} - \Lambda^{-1} X^\top K^{-1} X \Lambda^{-1}.

Rounding in float32 would spoil this difference, so that it is computed in float64, a block of columns at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from logging import getLogger
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.linalg import get_lapack_funcs
from scipy.sparse import csr_matrix, diags
from torch import Tensor

from recbole_multvae.clicks import Clicks
from recbole_multvae.config.settings import RecommenderSettings, setting
from recbole_multvae.data.cold_items import ColdItems
from recbole_multvae.errors import TrainingError
from recbole_multvae.models.linear import LinearRecommender, weigh_users

#: Rows or columns that are computed at a time.
BLOCK = 128
#: A multiplication with an entry of X takes as long as so many inside LAPACK, and the solution by users is taken where it
#: needs so many times fewer of these.
SPARSE_COST, GAIN = 50, 8


class EDLAESettings(RecommenderSettings):
    """The settings of :class:`EDLAE`."""

    dropout_prob: float = setting(
        0.5,
        "a number from 0 up to, but not including, 1",
        "p, the probability of dropping a click of the input; 0: EASE",
        ge=0,
        lt=1,
    )
    reg_weight: float = setting(200.0, "a number above 0", "lambda, the L2 penalty beside that of the dropout", gt=0)
    user_exponent: float = setting(
        0.0, "a number, 0 or more", "a: the error of a user with n clicks is weighted by n^-a; 0: all alike", ge=0
    )


class EDLAE(LinearRecommender):
    """Item similarities of full rank.

    Attributes:
        similarity: B, [I, I], without the padding item. Before the training, one zero stands for all entries: RecBole copies
            the untrained model to count its operations.
    """

    settings_class = EDLAESettings
    no_cold_items = None

    similarity: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.register_buffer("similarity", torch.zeros(()).expand(self.n_items - 1, self.n_items - 1))

    def fit(self, clicks: csr_matrix) -> None:  # noqa: D102
        settings = self.settings
        weighted = weigh_users(clicks, settings.user_exponent)
        computed = similarities(weighted, settings.dropout_prob, settings.reg_weight)
        self.similarity = torch.from_numpy(computed).to(self.device)

    def add_cold_items(self, cold: ColdItems) -> None:  # noqa: D102
        table = torch.cat([self.similarity, cold.rows(self.similarity)])
        columns = cold.rows(table.T).T
        columns[self.n_trained :].fill_diagonal_(0)
        self.similarity = torch.cat([table, columns], dim=1)

    @classmethod
    def dense_bytes(cls, n_users: int, n_items: int, n_clicks: int) -> int:
        """B in float32, for the solution by users K in float64, and a block of rows with its sparse form."""
        users = n_users if by_users(n_users, n_items, n_clicks) else 0
        return 4 * n_items**2 + 8 * users**2 + 32 * BLOCK * n_items

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # Not in load_state_dict, which torch does not call for a member of a sum. A copy would take the memory twice.
        similarity = state_dict.get(f"{prefix}similarity")
        if isinstance(similarity, Tensor) and similarity.shape == self.similarity.shape:
            self.similarity = similarity.to(self.training_clicks.columns.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def forward(self, clicks: Clicks) -> Tensor:
        """The scores x B, [B, I]."""
        return F.embedding_bag(clicks.columns, self.similarity, clicks.offsets, mode="sum", include_last_offset=True)

    def spec(self) -> dict[str, Any]:
        """The description of the model: ``similarity`` names B, which has no row or column for the padding item."""
        return {
            "model": type(self).__name__,
            "architecture": "linear",
            "n_items": self.n_items,
            "similarity": "similarity",
        }


def similarities(clicks: csr_matrix, dropout: float, l2: float) -> np.ndarray:
    """The similarities B of the module's equation.

    Args:
        clicks: X or W^(1/2) X, float32 [U, I].
        dropout: p.
        l2: lambda, above 0.

    Returns:
        float32 [I, I], with a diagonal of zeros.

    Raises:
        TrainingError: ``l2`` is so small that LAPACK finds no factor.
    """
    users, items = clicks.shape
    penalty = dropout / (1 - dropout) * np.bincount(clicks.indices, clicks.data**2, items) + l2
    solve = solve_by_users if by_users(users, items, clicks.nnz) else solve_by_items
    return solve(clicks, penalty, l2)


def by_users(n_users: int, n_items: int, n_clicks: int) -> bool:
    """Whether the solution by users is far cheaper. It then also has fewer than half as many users as items."""
    return GAIN * (n_users**3 + SPARSE_COST * n_clicks * (n_users + n_items)) < n_items**3


def solve_by_items(clicks: csr_matrix, penalty: np.ndarray, l2: float) -> np.ndarray:
    """B for the diagonal ``penalty`` of Lambda, [I], in the memory of X^T X."""
    matrix = product(clicks.T.tocsr(), clicks)
    diagonal = np.einsum("ii->i", matrix)
    diagonal += penalty
    invert(matrix, l2)
    matrix /= -diagonal
    diagonal[:] = 0
    return matrix


def solve_by_users(clicks: csr_matrix, penalty: np.ndarray, l2: float) -> np.ndarray:
    """B for the diagonal ``penalty`` of Lambda, [I], in the memory of B and of K."""
    users, items = clicks.shape
    scaled = (clicks @ diags(1 / penalty)).tocsr()
    K = product(scaled, clicks.T.tocsr().astype(np.float64))  # noqa: N806
    K.flat[:: users + 1] += 1
    invert(K, l2)
    scaled = scaled.T.tocsr()
    similarity = np.empty((items, items), np.float32)
    for block in blocks(items):
        columns = scaled @ np.ascontiguousarray((scaled[block] @ K).T)
        own = columns[block]
        diagonal = 1 / penalty[block] - own.diagonal()
        columns /= diagonal
        np.fill_diagonal(own, 0)
        similarity[:, block] = columns
    return similarity


def blocks(size: int) -> Iterator[slice]:
    """Slices of at most ``BLOCK`` that together are ``size`` long."""
    return (slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK))


def product(left: csr_matrix, right: csr_matrix) -> np.ndarray:
    """The product of two sparse matrices as a dense one. Its sparse form, of 8 bytes an entry, is never there as a whole."""
    result = np.empty((left.shape[0], right.shape[1]), np.result_type(left.dtype, right.dtype))
    for block in blocks(len(result)):
        (left[block] @ right).toarray(out=result[block])
    return result


def invert(matrix: np.ndarray, l2: float) -> None:
    """Invert a symmetric matrix without negative entries in its own memory, [n, n] in C order.

    A warning in the log says if rounding may change lists: on ml-1m, 1 in 200 of them at the limit.

    Raises:
        TrainingError: it is not positive definite in its precision, as ``l2`` is too small.
    """
    potrf, pocon, potri = get_lapack_funcs(("potrf", "pocon", "potri"), (matrix,))
    norm = matrix.sum(axis=0).max()
    factor, failed = potrf(matrix.T, lower=1, clean=0, overwrite_a=1)  # Of the transpose: Fortran's order, and no copy.
    if failed:
        raise TrainingError(
            f"reg_weight={l2!r} is too small to invert X^T X with {matrix.dtype} numbers: take a larger one, such as 1."
        )
    if pocon(factor, norm, uplo="L")[0] < np.finfo(matrix.dtype).eps / 10:
        getLogger().warning(f"reg_weight={l2!r} is so small that {matrix.dtype} numbers may change the order of items.")
    potri(factor, lower=1, overwrite_c=1)
    for block in blocks(len(matrix)):  # LAPACK has written one triangle.
        own, after = matrix[block, block], slice(block.stop, None)
        own[:] = np.triu(own) + np.triu(own, 1).T
        matrix[after, block] = matrix[block, after].T
