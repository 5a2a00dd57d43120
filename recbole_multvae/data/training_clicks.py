"""The clicks of the training data, which every model of the family holds."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from recbole_multvae.clicks import Clicks, entries_of_rows


class TrainingClicks(nn.Module):
    """The training data as CSR, on the model's device: 4 bytes a click and 8 a row, whatever the longest row.

    Args:
        matrix: how often each user clicked each item, by RecBole's ids, [n_users, n_items]. An item counts once for a user.

    Attributes:
        n_columns: the number of columns without that of the padding item.
    """

    offsets: Tensor
    columns: Tensor
    values: Tensor | None
    order: Tensor

    def __init__(self, matrix: csr_matrix) -> None:
        super().__init__()
        clicks = Clicks.from_csr(matrix)
        self.n_columns = matrix.shape[1] - 1
        # Not persistent: the clicks belong to the data, and a checkpoint without them stays small.
        for name in ("offsets", "columns", "values"):
            self.register_buffer(name, getattr(clicks, name), persistent=False)

    def set_order(self, order: np.ndarray) -> None:
        """Give every click its place in time among those of its user, int32 [N]."""
        self.register_buffer("order", torch.from_numpy(order).to(self.offsets.device), persistent=False)

    def with_order(self, rows: Tensor) -> tuple[Clicks, Tensor]:
        """The clicks of some users, and the place of each in time, [N]; see :meth:`set_order`."""
        entries, offsets = entries_of_rows(self.offsets, rows)
        return Clicks(self.columns[entries].long(), offsets), self.order[entries]

    def set_values(self, values: np.ndarray) -> None:
        """Give every click a value, such as the user's rating, [N]."""
        self.values = torch.from_numpy(values.astype(np.float32)).to(self.offsets.device)

    @property
    def clicks(self) -> Clicks:
        """The clicks of all rows; ``columns`` are int32."""
        return Clicks(self.columns, self.offsets, self.values)

    def forward(self, rows: Tensor) -> Clicks:
        """The clicks of some users, by their RecBole ids, int64 [B]."""
        return self.clicks.select(rows)
