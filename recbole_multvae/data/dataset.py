"""The data set of the family, which splits data without a Python loop over users.

RecBole finds it by name, as ``<Model>Dataset`` (``recbole/data/utils.py:create_dataset``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from recbole.data.dataset import Dataset

from recbole_multvae.data.protocols.base import part


class FamilyDataset(Dataset):
    """RecBole's ``Dataset``, whose split returns what RecBole's own would."""

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
