"""RecBole's preparation of data without Python loops over users and interactions; the results are RecBole's own."""

from __future__ import annotations

import mmap
import types
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction
from scipy.sparse import csr_matrix
from torch import Tensor


def gather_rows(offsets: Tensor, values: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Some rows of a CSR matrix.

    Args:
        offsets: where each row of the matrix begins and ends, int64 [rows of the matrix + 1].
        values: what the rows hold, [N of the matrix].
        rows: which rows, int64 [B].

    Returns:
        Their values, int64 [N], and where each row begins and ends in them, int64 [B + 1].
    """
    starts = offsets[rows]
    counts = offsets[rows + 1] - starts
    ends = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    shifts = (starts - ends[:-1]).repeat_interleave(counts)
    return values[torch.arange(len(shifts), device=shifts.device) + shifts].long(), ends


class UserItems:
    """The distinct items of every user: one CSR matrix that reads like RecBole's array of a set or a tensor per user.

    Args:
        clicks: one entry a pair of user and item, [n_users, n_items].
        kind: makes what indexing returns from the item ids of a user, an integer array.
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
        """The items of some users: the place of the user in ``users`` and the item id, int64 [N] each."""
        items, offsets = gather_rows(self._offsets, self._items, users)
        return torch.arange(len(users)).repeat_interleave(offsets.diff()), items


def item_tensor(items: np.ndarray) -> Tensor:
    """Item ids as RecBole's loader hands them out."""
    return torch.from_numpy(items.astype(np.int64))


def distinct_clicks(dataset: Any) -> csr_matrix:
    """A data set's pairs of user and item, each once: int8 ones, [n_users, n_items]."""
    return _ones(dataset.inter_matrix(form="csr"))


def _ones(clicks: csr_matrix) -> csr_matrix:
    return csr_matrix((np.ones(clicks.nnz, dtype=np.int8), clicks.indices, clicks.indptr), shape=clicks.shape)


def used_items(sampler: Any) -> dict[str, UserItems]:
    """What ``Sampler.get_used_ids`` returns: for each phase, every user's items of that phase and of those before."""
    used, result = None, {}
    for phase, dataset in zip(sampler.phases, sampler.datasets, strict=True):
        clicks = distinct_clicks(dataset)
        used = clicks if used is None else _ones(used + clicks)
        result[phase] = UserItems(used, set)
    return result


def clicks_from_sets(used: Sequence[set[int]], n_items: int) -> csr_matrix:
    """RecBole's array of a set of items per user as CSR, [len(used), n_items]."""
    offsets = np.cumsum([0, *map(len, used)])
    items = np.fromiter(chain.from_iterable(used), dtype=np.int64, count=offsets[-1])
    return csr_matrix((np.ones(len(items), dtype=np.int8), items, offsets), shape=(len(used), n_items))


def split_by_ratio(dataset: Any, ratios: Sequence[float], group_by: str) -> list[Any]:
    """What ``Dataset.split_by_ratio`` returns: each group's rows, in their order, cut by ``ratios`` into data sets."""
    groups = pd.factorize(dataset.inter_feat[group_by].numpy())[0]  # In order of first appearance, as RecBole's.
    order = np.argsort(groups, kind="stable")
    counts = np.bincount(groups)
    totals, total = np.unique(counts, return_inverse=True)
    shares = [ratio / sum(ratios) for ratio in ratios]
    cuts = np.array([dataset._calcu_split_ids(tot=int(tot), ratios=shares) for tot in totals], dtype=np.int64)[total]
    places = np.arange(len(order)) - np.repeat(counts.cumsum() - counts, counts)
    parts = sum((places >= np.repeat(cut, counts) for cut in cuts.T), np.zeros(len(order), dtype=np.int8))
    dataset._drop_unused_col()
    return [dataset.copy(_take(dataset.inter_feat, order[parts == part])) for part in range(len(ratios))]


def _take(interaction: Any, rows: np.ndarray) -> Interaction:
    # Interaction's own indexing makes a list of an array first.
    index = torch.from_numpy(rows)
    return Interaction({name: values[index] for name, values in interaction.interaction.items()})


def load_feat(original: Callable[..., Any], dataset: Any, filepath: str, source: Any) -> Any:
    """``Dataset._load_feat`` with pandas' parser in C where the file is so plain that both parsers read the same."""
    if not _is_plain(filepath, dataset.config["field_separator"]):
        return original(dataset, filepath, source)
    in_c = {"engine": "c", "float_precision": "round_trip"}  # The parser in Python rounds numbers as Python does.
    reader = types.SimpleNamespace(read_csv=lambda *args, **keys: pd.read_csv(*args, **{**keys, **in_c}))
    names = {**original.__globals__, "pd": reader}
    return types.FunctionType(original.__code__, names, closure=original.__closure__)(dataset, filepath, source)


def _is_plain(filepath: str, separator: str) -> bool:
    """Whether there is nothing that parsers differ in: quotes, carriage returns, NUL, a separator of several characters."""
    if len(separator) != 1:
        return False
    with open(filepath, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return all(content.find(byte) < 0 for byte in (b'"', b"\r", b"\0"))
