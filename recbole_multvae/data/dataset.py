"""The data set of the family. RecBole finds it by name, as ``<Model>Dataset`` (``recbole/data/utils.py:create_dataset``).

Files are read by pandas' parser in C where it reads what RecBole's reads, and data are split without a Python loop over
users.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from logging import getLogger
from typing import Any

import numpy as np
import pandas as pd
from recbole.data.dataset import Dataset
from recbole.utils import FeatureType

from recbole_multvae import automatic, shipped
from recbole_multvae.data.protocols.base import part

#: The columns that both parsers read alike; sequences are left to RecBole.
PLAIN_TYPES = {"token": (FeatureType.TOKEN, str), "float": (FeatureType.FLOAT, np.float64)}


class FamilyDataset(Dataset):
    """RecBole's ``Dataset``; every override returns what RecBole's own method would."""

    def __init__(self, config: Any) -> None:
        if file := shipped.of_dataset(config["dataset"]):
            getLogger().info(f"The configuration starts from {file}, which comes with this package for the data set's name.")
        super().__init__(config)

    def build(self) -> list[Any]:
        """The data sets for training, validation and test. See RecBole's ``Dataset.build``. Settles keys left at auto."""
        parts = super().build()
        automatic.settle(self.config, parts[0])
        return parts

    def split_by_ratio(self, ratios: Sequence[float], group_by: str | None = None) -> list[Any]:
        """Each group's rows, in their order, cut by ``ratios`` into data sets. See RecBole's ``Dataset.split_by_ratio``."""
        if group_by is None:
            return super().split_by_ratio(ratios, group_by)
        groups = pd.factorize(self.inter_feat[group_by].numpy())[0]  # In order of first appearance, as RecBole's.
        order = np.argsort(groups, kind="stable")
        counts = np.bincount(groups)
        totals, total = np.unique(counts, return_inverse=True)
        shares = [ratio / sum(ratios) for ratio in ratios]
        cuts = np.array([self._calcu_split_ids(tot=int(tot), ratios=shares) for tot in totals], dtype=np.int64)[total]
        places = np.arange(len(order)) - np.repeat(counts.cumsum() - counts, counts)
        parts = sum((places >= np.repeat(cut, counts) for cut in cuts.T), np.zeros(len(order), dtype=np.int8))
        self._drop_unused_col()
        return [part(self, order[parts == number]) for number in range(len(ratios))]

    def _load_feat(self, filepath: str, source: Any) -> Any:
        columns = self._plain_columns(filepath, source)
        if not columns:
            return super()._load_feat(filepath, source)
        for field, (kind, _) in columns.items():
            self.field2source[field], self.field2type[field], self.field2seqlen[field] = source, kind, 1
            if kind is FeatureType.FLOAT:
                self.field2bucketnum[field] = 2
        dtype = {f"{field}:{kind.value}": parsed for field, (kind, parsed) in columns.items()}
        table = pd.read_csv(
            filepath, sep=self.config["field_separator"], usecols=list(dtype), dtype=dtype, encoding=self.config["encoding"],
            engine="c", float_precision="round_trip",  # RecBole's parser, in Python, rounds numbers as Python does.
        )  # fmt: skip
        table.columns = list(columns)
        return table

    def _plain_columns(self, filepath: str, source: Any) -> dict[str, tuple[FeatureType, type]]:
        """The columns to load with their types, or none where the file is left to RecBole's reading."""
        load, unload = self._get_load_and_unload_col(source)
        if load == set() or source == "link" or not _is_plain(filepath, self.config["field_separator"]):
            return {}
        with open(filepath, encoding=self.config["encoding"]) as file:
            header = [column.split(":") for column in file.readline().rstrip("\n").split(self.config["field_separator"])]
        wanted = [column for column in header if (load is None or column[0] in load) and column[0] not in (unload or ())]
        known = all(len(column) == 2 for column in header) and all(column[1] in PLAIN_TYPES for column in wanted)
        return {field: PLAIN_TYPES[kind] for field, kind in wanted} if known else {}


def _is_plain(filepath: str, separator: str) -> bool:
    """Whether a file has nothing that parsers differ in: quotes, carriage returns, NUL, separators of several characters."""
    with open(filepath, "rb") as file:
        if len(separator) != 1 or not file.read(1):
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return all(content.find(byte) < 0 for byte in (b'"', b"\r", b"\0"))
