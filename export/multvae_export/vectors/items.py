"""``items.npy`` and ``items.parquet``: the items' vectors, float32 [items, d], in RecBole's order of ids.

The row of the item with id n is n - 1. ``items.parquet`` has the columns ``token`` and ``vector``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from multvae_export.errors import OptionError
from multvae_export.graph.weights_digest import add_bytes

ARRAY, TABLE = "items.npy", "items.parquet"


def require_arrow() -> tuple[Any, Any]:
    """The package pyarrow and its module for Parquet, which only ``--vectors`` needs.

    Raises:
        OptionError: it is missing, or does not fit the installed NumPy.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise OptionError(f"--vectors writes {TABLE}, which needs pyarrow ({reason}): pip install pyarrow.") from error
    return pyarrow, parquet


def write_array(folder: Path, vectors: np.ndarray) -> str:
    """Write ``items.npy``. Returns the SHA-256 of its bytes."""
    np.save(folder / ARRAY, vectors)
    digest = hashlib.sha256()
    with (folder / ARRAY).open("rb") as file:
        add_bytes(digest, file)
    return digest.hexdigest()


def write_table(folder: Path, tokens: tuple[str, ...], vectors: np.ndarray, metadata: Mapping[str, str]) -> None:
    """Write ``items.parquet``, with entries for the metadata of its schema."""
    pa, parquet = require_arrow()
    columns = [pa.array(tokens, pa.string()), pa.FixedSizeListArray.from_arrays(vectors.ravel(), vectors.shape[1])]
    table = pa.Table.from_arrays(columns, ["token", "vector"])
    parquet.write_table(table.replace_schema_metadata(metadata), folder / TABLE)


def read_items(folder: Path) -> tuple[np.ndarray, list[str], np.ndarray]:
    """The vectors in ``items.npy``, and the tokens and the vectors in ``items.parquet``."""
    table = require_arrow()[1].read_table(folder / TABLE)
    array = np.load(folder / ARRAY)
    rows = table["vector"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
    return array, table["token"].to_pylist(), rows
