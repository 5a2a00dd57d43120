"""``--vectors``: the two factors of a model's scores, and the nodes from a history or a user to ``vector``.

The score of an item is the inner product of the user's vector and the item's. A bias is one more dimension: the item's
vector ends in it, the user's in 1. Then both have d = D + 1 dimensions, else d = D.

``B`` users in the batch, ``L`` the padded length of their histories, ``C`` items of the catalogue with the padding item.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from multvae_export.nodes.nodes import Nodes

ONE_COLUMN = {"one_column": np.array([1])}
#: From ``ids``, int64 [B, L], 0 for padding and unknown items, to ``item``, the same in another order, and ``counts``,
#: bool [B, L]. Sorted, equal items stand side by side, and of these the last one counts. Padding stands at the end, before
#: one more 0. Unlike the nodes of a file that ranks, these do not write a row of the whole catalogue.
DISTINCT = Nodes(
    """
    batch_shape = Shape <start: int = 0, end: int = 1> (ids)
    length_shape = Shape <start: int = 1, end: int = 2> (ids)
    item, place_before = TopK <axis: int = 1> (ids, length_shape)
    end_shape = Concat <axis: int = 0> (batch_shape, one_column)
    end = Expand(zero, end_shape)
    item_and_end = Concat <axis: int = 1> (item, end)
    next_item = Slice(item_and_end, from_second, past_end, axis1)
    is_repeated = Equal(item, next_item)
    counts = Not(is_repeated)
""",
    {**ONE_COLUMN, "past_end": np.array([np.iinfo(np.int64).max])},
)


@dataclass(frozen=True)
class Factors:
    """score[b, i] = user[b] . items[i] + bias[i].

    Attributes:
        nodes: from ``item`` and ``counts`` of :data:`DISTINCT`, or from ``user_id``, to the user's part.
        user: the name of that part, float32 [B, D].
        items: [C - 1, D], without the padding item.
        bias: [C - 1]; None where there is none.
    """

    nodes: Nodes
    user: str
    items: Tensor
    bias: Tensor | None

    @property
    def dimensions(self) -> int:
        """d, of the vectors."""
        return self.items.shape[1] + (self.bias is not None)

    @property
    def vectors(self) -> np.ndarray:
        """The items' vectors, float32 [C - 1, d]."""
        columns = [self.items] if self.bias is None else [self.items, self.bias[:, None]]
        return np.ascontiguousarray(torch.cat(columns, dim=1).numpy(), np.float32)

    @property
    def vector(self) -> Nodes:
        """:attr:`nodes`, and those to ``vector``, float32 [B, d]."""
        if self.bias is None:
            return self.nodes.renamed("", {self.user: "vector"})
        text = f"""
    user_shape = Shape <start: int = 0, end: int = 1> ({self.user})
    ones_shape = Concat <axis: int = 0> (user_shape, one_column)
    ones = Expand(one_float, ones_shape)
    vector = Concat <axis: int = 1> ({self.user}, ones)
"""
        return self.nodes + Nodes(text, ONE_COLUMN)
