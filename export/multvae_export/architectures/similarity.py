"""The similarity of every pair of items, as the checkpoints of linear models hold it.

``C`` items of the catalogue with the padding item, ``N`` entries of a sparse matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from multvae_export.checkpoint.contents import Checkpoint, checked
from multvae_export.checkpoint.records import Record
from multvae_export.errors import SpecError, UnsupportedModelError, WeightsError
from multvae_export.features.pairs import pairs_of_new
from multvae_export.nodes.layers import RowsOfNew


@dataclass(frozen=True)
class Entries:
    """A sparse matrix [C, C] as the list of its entries, int64 [N], int64 [N] and float32 [N]."""

    rows: Tensor
    columns: Tensor
    weights: Tensor
    n_items: int

    def __len__(self) -> int:
        """C, as of a matrix that is stored whole."""
        return self.n_items

    def with_items(self, rows: RowsOfNew) -> Entries:
        """The matrix with new items: see :func:`.pairs_of_new`."""
        size = self.n_items - 1
        places = torch.stack([self.rows, self.columns]) - 1
        added = pairs_of_new(torch.sparse_coo_tensor(places, self.weights, (size, size), check_invariants=True), rows)
        new_rows, new_columns = added.indices() + 1
        return Entries(
            torch.cat([self.rows, new_rows]),
            torch.cat([self.columns, new_columns]),
            torch.cat([self.weights, added.values()]),
            len(added) + 1,
        )


def read(checkpoint: Checkpoint) -> tuple[Tensor | Entries, Tensor]:
    """The similarity [C, C] and the offset [C] of a checkpoint.

    Raises:
        SpecError: its description is wrong.
        WeightsError: it lacks them, or they are damaged.
        UnsupportedModelError: its similarity is not of items.
    """
    described = checkpoint.description
    return _named(described, checkpoint) if described else ADAPTERS[checkpoint.model](checkpoint)


def _named(description: dict[str, Any], checkpoint: Checkpoint) -> tuple[Tensor | Entries, Tensor]:
    """The similarity that a description names, which has no row and no column for the padding item."""
    name = description.get("similarity")
    if isinstance(name, dict):
        return _named_parts(name, description.get("n_items"), checkpoint)
    if not isinstance(name, str) or name not in checkpoint.weights:
        raise SpecError(f"the description says similarity={name!r}, which are no weights of the checkpoint.")
    similarity = checkpoint.tensor(name, 2)
    n_items = description.get("n_items")
    if similarity.shape != (n_items - 1 if isinstance(n_items, int) else 0,) * 2:
        raise SpecError(f"the description says n_items={n_items!r}, and the weights {name} are {list(similarity.shape)}.")
    return pad(similarity, (1, 0, 1, 0)), torch.zeros(len(similarity) + 1)


def _named_parts(names: dict[Any, Any], n_items: Any, checkpoint: Checkpoint) -> tuple[Entries, Tensor]:
    """The similarity whose rows are named as their ``offsets``, ``columns`` and ``weights``."""
    for part in ("offsets", "columns", "weights"):
        name = names.get(part)
        if not isinstance(name, str) or name not in checkpoint.weights:
            raise SpecError(f"the description says {part}={name!r}, which are no weights of the checkpoint.")
    offsets, columns = (_integers(checkpoint.weights[names[part]], names[part]) for part in ("offsets", "columns"))
    weights = checkpoint.tensor(names["weights"], 1)
    items = len(offsets) - 1
    if n_items != items + 1:
        raise SpecError(f"the description says n_items={n_items!r}, and the weights {names['offsets']} are of {items} rows.")
    if items < 1 or not _inside(columns, offsets, len(weights), items):
        raise WeightsError(f"the weights {names['offsets']} and {names['columns']} are a damaged matrix.")
    rows = np.repeat(np.arange(items), np.diff(offsets))
    return Entries(_long(rows) + 1, _long(columns) + 1, weights, n_items), torch.zeros(n_items)


def _integers(value: Any, name: str) -> np.ndarray:
    if not isinstance(value, Tensor) or value.dim() != 1 or value.dtype not in (torch.int32, torch.int64):
        raise WeightsError(f"the weights {name} are not a list of whole numbers.")
    return value.numpy()


# What each of RecBole's models saves in its checkpoint.


def _matrix(value: Any, name: str) -> Tensor | Entries:
    """A square matrix of a checkpoint: a NumPy array, or a matrix of scipy.sparse as its attributes."""
    if isinstance(value, Record):
        return _sparse(value, name)
    square = isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[0] == value.shape[1] > 1
    if not square or value.dtype.kind != "f":
        raise WeightsError(f"the weights {name} are not a square matrix of numbers.")
    return checked(torch.from_numpy(np.ascontiguousarray(value, np.float32)), name, 2)


def _sparse(record: Record, name: str) -> Entries:
    """A matrix in scipy.sparse's compressed rows or columns; whatever its attributes say, nothing outside it is read."""
    state, kind = record.state, record.cls.name[:3]
    parts: list[Any] = [state.get(key) for key in ("data", "indices", "indptr", "_shape")]
    data, minor, offsets, shape = parts
    arrays = all(isinstance(array, np.ndarray) and array.ndim == 1 for array in (data, minor, offsets))
    square = isinstance(shape, tuple) and shape == shape[:1] * 2 and isinstance(shape[0], int) and shape[0] > 1
    if kind not in ("csr", "csc") or not arrays or not square:
        raise WeightsError(f"the weights {name} are not a square matrix of scipy.sparse in compressed rows or columns.")
    n_items = shape[0]
    whole = offsets.dtype.kind == minor.dtype.kind == "i" and data.dtype.kind == "f" and len(offsets) == n_items + 1
    if not whole or not _inside(minor, offsets, len(data), n_items):
        raise WeightsError(f"the weights {name} are a damaged matrix of scipy.sparse.")
    major = np.repeat(np.arange(n_items), np.diff(offsets))
    rows, columns = (major, minor) if kind == "csr" else (minor, major)
    weights = checked(torch.from_numpy(data.astype(np.float32)), name, 1)
    return Entries(_long(rows), _long(columns), weights, n_items)


def _long(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.int64))


def _inside(minor: np.ndarray, offsets: np.ndarray, count: int, n_items: int) -> bool:
    ordered = offsets[0] == 0 and offsets[-1] == count == len(minor) and bool((np.diff(offsets) >= 0).all())
    return ordered and (count == 0 or (minor.min() >= 0 and minor.max() < n_items))


def _saved(checkpoint: Checkpoint, name: str) -> tuple[Tensor | Entries, Tensor]:
    similarity = _matrix(checkpoint.other_parameter.get(name), name)
    return similarity, torch.zeros(len(similarity))


def _item_knn(checkpoint: Checkpoint) -> tuple[Tensor | Entries, Tensor]:
    if checkpoint.config.get("knn_method") == "user":
        raise UnsupportedModelError(
            "ItemKNN with knn_method=user cannot be exported, because it compares users, and a history alone does not say "
            "who asks: train it with knn_method=item."
        )
    return _saved(checkpoint, "w")


def _admm_slim(checkpoint: Checkpoint) -> tuple[Tensor | Entries, Tensor]:
    if checkpoint.data is None:
        raise WeightsError(
            "a checkpoint of ADMMSLIM lacks its similarity: name the folder of its data set with --dataset-path."
        )
    model = checkpoint.data.proved_model()
    similarity = torch.from_numpy(np.asarray(model.item_similarity, np.float32))
    means = torch.from_numpy(np.asarray(model.item_means, np.float32))
    # (x - m) B + m = x B + (m - m B)
    return similarity, means - means @ similarity if model.center_columns else torch.zeros(len(similarity))


#: How each model's similarity and offset are read.
ADAPTERS: dict[str, Callable[[Checkpoint], tuple[Tensor | Entries, Tensor]]] = {
    "EASE": lambda checkpoint: _saved(checkpoint, "item_similarity"),
    "SLIMElastic": lambda checkpoint: _saved(checkpoint, "item_similarity"),
    "ADMMSLIM": _admm_slim,
    "ItemKNN": _item_knn,
}
