"""The clicks of a batch of users as a sparse matrix. Torch only.

``B`` users in the batch, ``I`` items without RecBole's padding item, ``N`` clicks of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def columns_of(ids: Any) -> Any:
    """The columns of RecBole ids, a tensor or an array: the id less one, as the padding id, 0, has no column."""
    return ids - 1


def entries_of_rows(offsets: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Find some rows of a CSR matrix.

    Args:
        offsets: where each row of the matrix begins and ends, int64 [rows of the matrix + 1].
        rows: which rows, int64 [B].

    Returns:
        The positions of their entries in the matrix, int64 [N], and the offsets of the rows in these, int64 [B + 1].
    """
    starts = offsets[rows]
    counts = offsets[rows + 1] - starts
    ends = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    shifts = (starts - ends[:-1]).repeat_interleave(counts)
    return torch.arange(len(shifts), device=shifts.device) + shifts, ends


@dataclass(frozen=True, eq=False)
class Clicks:
    """The items that each user clicked, user after user.

    Attributes:
        columns: the clicked items, from 0 to I - 1, int64 [N]; int32, to save memory, where a whole data set is held.
        offsets: where the clicks of each user begin and end, int64 [B + 1].
        values: the non-zeros of the matrix, such as ratings, float32 [N]; None: every click is 1.
    """

    columns: Tensor
    offsets: Tensor
    values: Tensor | None = None

    @classmethod
    def from_lists(cls, histories: Sequence[Sequence[int]], device: torch.device) -> Clicks:
        """Clicks from a list of RecBole's item ids for each user."""
        ids = torch.tensor([item for history in histories for item in history], dtype=torch.long, device=device)
        counts = torch.tensor([0, *map(len, histories)], device=device)
        return cls(columns_of(ids), counts.cumsum(0))

    @classmethod
    def from_csr(cls, matrix: Any) -> Clicks:
        """Clicks from the entries of a SciPy matrix with a column for each RecBole id, [B, I + 1]. ``columns`` are int32."""
        return cls(torch.from_numpy(columns_of(matrix.indices)).int(), torch.from_numpy(matrix.indptr).long())

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def ids(self) -> Tensor:
        """RecBole's ids of the clicked items, [N]."""
        return self.columns + 1

    @property
    def counts(self) -> Tensor:
        """The number of each user's clicks, int64 [B]."""
        return self.offsets.diff()

    @property
    def rows(self) -> Tensor:
        """The row of each click, from 0 to B - 1, int64 [N]."""
        return torch.repeat_interleave(self.counts, output_size=len(self.columns))

    def per_click(self, numbers: Tensor) -> Tensor:
        """Repeat each user's number, [B], for each of the user's clicks, [N]."""
        return torch.repeat_interleave(numbers, self.counts, output_size=len(self.columns))

    @property
    def nonzeros(self) -> Tensor:
        """The values, float32 [N]; ones where :attr:`values` is None."""
        return torch.ones_like(self.columns, dtype=torch.float32) if self.values is None else self.values

    def select(self, rows: Tensor) -> Clicks:
        """The clicks of some users, by their rows, int64 [B]."""
        entries, offsets = entries_of_rows(self.offsets, rows)
        values = None if self.values is None else self.values[entries]
        return Clicks(self.columns[entries].long(), offsets, values)

    def where(self, kept: Tensor) -> Clicks:
        """The clicks that are kept, bool [N]; a user may have none left."""
        kept_before = torch.nn.functional.pad(kept.cumsum(0), (1, 0))
        values = None if self.values is None else self.values[kept]
        return Clicks(self.columns[kept], kept_before[self.offsets], values)

    def between(self, first: int, end: int) -> Clicks:
        """The clicks of the users in the rows from ``first`` to ``end`` - 1."""
        if first == 0 and end >= len(self):
            return self  # Slicing would make the CPU wait for a GPU.
        offsets = self.offsets[first : end + 1]
        entries = slice(offsets[0], offsets[-1])
        values = None if self.values is None else self.values[entries]
        return Clicks(self.columns[entries], offsets - offsets[0], values)

    def to(self, device: Any) -> Clicks:
        """The same on another device."""
        values = None if self.values is None else self.values.to(device)
        return Clicks(self.columns.to(device), self.offsets.to(device), values)
