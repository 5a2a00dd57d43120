"""The click histories that the models of the family read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from recbole_multvae.data.csr import gather_rows


class History(nn.Module):
    """The click history of every user as CSR: 4 bytes a click and 8 a user, whatever the longest history.

    An item's column is its RecBole id less one: the padding item, id 0, has none.

    Args:
        dataset: the training data set; an item counts once for a user however often it occurs.
        by_item: the other way round: for every item, who clicked it.
    """

    offsets: Tensor
    columns: Tensor
    values: Tensor | None

    def __init__(self, dataset: Any, by_item: bool = False) -> None:
        super().__init__()
        self.by_item = by_item
        clicks = self._matrix(dataset, None)
        # Not persistent: the history belongs to the data, and a checkpoint without it stays small.
        self.register_buffer("offsets", torch.from_numpy(clicks.indptr.astype(np.int64)), persistent=False)
        self.register_buffer("columns", torch.from_numpy((clicks.indices - 1).astype(np.int32)), persistent=False)
        self.register_buffer("values", None, persistent=False)

    def _matrix(self, dataset: Any, field: str | None) -> csr_matrix:
        """The sums of a column, or the numbers of clicks, a row for each user; or for each item."""
        matrix = dataset.inter_matrix(form="csr", value_field=field)
        matrix = matrix.T.tocsr() if self.by_item else matrix
        matrix.sort_indices()
        return matrix

    def add_values(self, dataset: Any, field: str) -> None:
        """Give every click the value of a column, such as the user's rating; the mean, where an item occurs repeatedly.

        Args:
            dataset: the same as before.
            field: the name of the column.
        """
        sums, counts = self._matrix(dataset, field), self._matrix(dataset, None)
        self.values = torch.from_numpy((sums.data / counts.data).astype(np.float32)).to(self.offsets.device)

    def forward(self, users: Tensor) -> tuple[Tensor, ...]:
        """The histories of some users; or of some items, where the history is by item.

        Args:
            users: RecBole ids, [B].

        Returns:
            The columns of their items, int64 [N], where each user's begin and end in it, int64 [B + 1], and the values of
            their clicks, float32 [N], if these were added.
        """
        columns, ends = gather_rows(self.offsets, self.columns, users)
        history = columns.long(), ends
        return history if self.values is None else (*history, gather_rows(self.offsets, self.values, users)[0])
