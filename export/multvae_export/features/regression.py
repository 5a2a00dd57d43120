"""A ridge regression from the items' numbers to the rows of a table, with weights.

The rows T of the trained items, [I, d], are explained by their numbers X, [I, F], with an intercept. The regularisation is
chosen for each table by leaving out one trained item at a time, which a ridge does in closed form. The rows of new items are
the predictions: each is a weighted mean of trained rows, with weights that add up to 1.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from multvae_export.features.encoding import Encoded

#: What is tried for the regularisation, where an item counts 1 on average and a field has the variance 1.
STRENGTHS = 10.0 ** np.arange(-1, 5.5, 0.5)
#: Columns of a table and items by which the regularisation is chosen, drawn if there are more.
COLUMNS, ITEMS = 64, 10_000
#: Columns of a table that are computed at once, as their products take F numbers each.
WIDE = 10_000
#: An item with this many clicks counts half as much as one with very many.
HALF = 30


def weights_of(clicks: np.ndarray | None, known: np.ndarray) -> np.ndarray:
    """How much each trained item counts, float64 [I]: c / (c + HALF) for c clicks, as rows of rare items are noisy.

    Args:
        clicks: of each item in training, [I]; None if they are not known: then all count the same.
        known: whether the file has the item, bool [I].
    """
    weights = np.ones(len(known)) if clicks is None else clicks / (clicks + HALF)
    return np.where(known, weights, 0.0)


@dataclass(frozen=True)
class Regression:
    """Rows of new items for any table of the trained ones.

    Attributes:
        encoded: the items as numbers.
        weights: how much each trained item counts, float64 [I].
    """

    encoded: Encoded
    weights: np.ndarray

    @cached_property
    def _shares(self) -> Tensor:
        """The weights with the mean 1 over the items that count, [I]."""
        weights = torch.from_numpy(self.weights)
        return weights * (weights > 0).sum() / weights.sum()

    @cached_property
    def _mean(self) -> Tensor:
        """The mean of the trained items' numbers, [F]."""
        return (self.encoded.trained.T @ self._shares) / self._shares.sum()

    @cached_property
    def _weighted(self) -> Tensor:
        """X^T W, [F, I], sparse."""
        trained = self.encoded.trained
        return torch.sparse_coo_tensor(
            trained.indices(), trained.values() * self._shares[trained.indices()[0]], trained.shape, check_invariants=True
        ).T.coalesce()

    @cached_property
    def _axes(self) -> tuple[Tensor, Tensor]:
        """The eigenvalues [F] and eigenvectors [F, F] of the weighted covariance of the numbers, times the items."""
        gram = product(self._weighted, self.encoded.trained)
        values, vectors = torch.linalg.eigh(gram - self._shares.sum() * torch.outer(self._mean, self._mean))
        return values.clamp(min=0), vectors

    @cached_property
    def _new(self) -> Tensor:
        """The new items along the axes, [N, F]."""
        return torch.sparse.mm(self.encoded.new, self._axes[1]) - self._mean @ self._axes[1]

    @cached_property
    def _sample(self) -> Tensor:
        """Items by which the regularisation is chosen, int64."""
        counting = (self._shares > 0).nonzero()[:, 0]
        order = torch.randperm(len(counting), generator=torch.Generator().manual_seed(0))
        return counting[order[:ITEMS].sort().values]

    def rows(self, table: Tensor) -> Tensor:
        """The rows of the new items, float32 [N, d], of a table of the trained ones, [I, d], which may be sparse."""
        values, vectors = self._axes
        reach = self._new / (values + self._strength(table)) @ vectors.T
        parts = []
        for columns in torch.arange(table.shape[1]).split(WIDE):
            mean, products = self._moments(table.index_select(1, columns))
            parts.append((reach @ products + mean).float())
        return torch.cat(parts, dim=1)

    def _moments(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of a table's rows, [d], and the weighted covariance of numbers and rows times the items, [F, d]."""
        table = table.double()
        mean = (table.T @ self._shares) / self._shares.sum()
        return mean, product(self._weighted, table) - self._shares.sum() * torch.outer(self._mean, mean)

    def _strength(self, table: Tensor) -> float:
        """The regularisation with the smallest error of the items that are left out."""
        chosen = torch.randperm(table.shape[1], generator=torch.Generator().manual_seed(0))[:COLUMNS].sort().values
        table = table.index_select(1, chosen)
        values, vectors = self._axes
        mean, products = self._moments(table)
        along = vectors.T @ products
        rows = table.index_select(0, self._sample)
        centred = (rows.to_dense() if rows.is_sparse else rows).double() - mean
        numbers = torch.sparse.mm(self.encoded.trained.index_select(0, self._sample), vectors) - self._mean @ vectors
        shares = self._shares[self._sample]
        errors = []
        for strength in STRENGTHS:
            own = shares * (numbers**2 @ (1 / (values + strength))) + shares / self._shares.sum()
            left_out = (centred - numbers @ (along / (values + strength)[:, None])) / (1 - own).clamp(min=1e-9)[:, None]
            errors.append(float((shares[:, None] * left_out**2).sum()))
        return float(STRENGTHS[int(np.argmin(errors))])


def product(left: Tensor, right: Tensor) -> Tensor:
    """The product of a sparse matrix with another, which may be sparse, as a dense one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")  # torch makes one on the way.
        result = torch.sparse.mm(left, right)
    return result.to_dense() if result.is_sparse else result
