"""RecBole's preparation of data without Python loops over users and interactions; the results are RecBole's own."""

from __future__ import annotations

import mmap
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction


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
