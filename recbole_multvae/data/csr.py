"""The items of all users as one sparse matrix (CSR), in place of a Python object for each user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_multvae.clicks import entries_of_rows


class UserItems:
    """The distinct items of every user: one CSR matrix, indexed like RecBole's array of a set or a tensor per user.

    Args:
        clicks: one entry for a pair of user and item, [n_users, n_items].
        kind: the type that indexing returns, made from the item ids of a user, an integer array.
    """

    def __init__(self, clicks: csr_matrix, kind: Callable[[np.ndarray], Any]) -> None:
        self.clicks, self.kind = clicks, kind
        self._offsets = torch.from_numpy(clicks.indptr.astype(np.int64))
        self._items = torch.from_numpy(clicks.indices.astype(np.int32, copy=False))

    def __getitem__(self, users: Any) -> Any:
        if np.ndim(users) > 0:
            return [self[user] for user in users]
        start, end = self.clicks.indptr[int(users) : int(users) + 2]
        return self.kind(self.clicks.indices[start:end])

    def pairs(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """The items of some users: the user's position in ``users`` and the item id, int64 [N] each."""
        entries, offsets = entries_of_rows(self._offsets, users)
        return torch.arange(len(users)).repeat_interleave(offsets.diff()), self._items[entries].long()


def item_tensor(items: np.ndarray) -> Tensor:
    """Item ids as RecBole's loader returns them."""
    return torch.from_numpy(items.astype(np.int64))


def click_matrix(dataset: Any, field: str | None = None) -> csr_matrix:
    """How often each user clicked each item, or the sums of a column, [n_users, n_items]; columns are sorted."""
    matrix = dataset.inter_matrix(form="csr", value_field=field)
    matrix.sort_indices()
    return matrix


def distinct_clicks(dataset: Any) -> csr_matrix:
    """The pairs of user and item of a data set, each once: int8 ones, [n_users, n_items]."""
    clicks: csr_matrix | None = getattr(dataset, "clicks", None)  # Rows of sequences are no single clicks.
    return ones(click_matrix(dataset)) if clicks is None else clicks


def ones(clicks: csr_matrix) -> csr_matrix:
    """The same entries with the value 1, int8."""
    return csr_matrix((np.ones(clicks.nnz, dtype=np.int8), clicks.indices, clicks.indptr), shape=clicks.shape)


def used_items(sampler: Any) -> dict[str, UserItems]:
    """The result of ``Sampler.get_used_ids``: for each phase, every user's items of that phase and of those before."""
    used, result = None, {}
    for phase, dataset in zip(sampler.phases, sampler.datasets, strict=True):
        clicks = distinct_clicks(dataset)
        used = clicks if used is None else ones(used + clicks)
        result[phase] = UserItems(used, set)
    return result


def clicks_from_sets(used: Sequence[set[int]], n_items: int) -> csr_matrix:
    """RecBole's array of a set of items per user as CSR, [len(used), n_items]."""
    offsets = np.cumsum([0, *map(len, used)])
    items = np.fromiter(chain.from_iterable(used), dtype=np.int64, count=offsets[-1])
    return csr_matrix((np.ones(len(items), dtype=np.int8), items, offsets), shape=(len(used), n_items))
