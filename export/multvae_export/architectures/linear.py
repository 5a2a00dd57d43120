"""Linear models: the scores of a history x are x B + c, with a similarity B of every pair of items.

RecBole's EASE (Steck, WWW 2019), SLIMElastic (Ning and Karypis, ICDM 2011), ADMMSLIM (Steck et al., WSDM 2020) and ItemKNN
(Aiolli, RecSys 2013), and models whose description names a ``similarity`` among their weights. ``C`` items of the catalogue
with the padding item, whose row and column of B are left out.

B is stored whole, as a network of a single layer, or as the list of its entries where that takes at most an eighth of the
bytes (:data:`DENSE_BYTES`). On the CPU a batch of 16 histories then takes half the time or less; one history alone takes up
to 0.1 ms more on small catalogues and the same on large ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from string import Template
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from multvae_export.architectures.auto_encoder import AutoEncoder
from multvae_export.architectures.base import Architecture
from multvae_export.architectures.similarity import Entries, read
from multvae_export.checkpoint.contents import Checkpoint
from multvae_export.target import Options

#: Entries of a chunk, and the bytes of an entry: its column as int32, its weight as float32.
WIDTH, ENTRY_BYTES = 32, 8
#: B is stored whole where its entries would take more than this share of that.
DENSE_BYTES = 1 / 8

#: The items of all histories, one after the other, each with the chunks of its row of B; ``entry`` says whose a chunk is. An
#: item without entries has one chunk of zeros, so that no two items begin at the same chunk. Every entry is added to
#: the score of its column, in the history of its item.
ENTRIES = Template("""
    clicks = NonZero($seen)
    clicked_by = Gather(clicks, zero)
    clicked = Gather(clicks, one_more)
    chunks = Gather(chunk_count, clicked)
    chunk_end = CumSum(chunks, zero)
    chunk_begin = Sub(chunk_end, chunks)
    chunk_total = ReduceSum <keepdims: int = 1> (chunks)
    no_marks = ConstantOfShape <value: tensor = int64[1] {0}> (chunk_total)
    begin_shape = Shape(chunk_begin)
    ones = Expand(one_more, begin_shape)
    marks = ScatterElements <axis: int = 0> (no_marks, chunk_begin, ones)
    begun = CumSum(marks, zero)
    entry = Sub(begun, one_more)
    own_first = Gather(first_chunk, clicked)
    shift = Sub(own_first, chunk_begin)
    entry_shift = Gather(shift, entry)
    chunk_limit = Squeeze(chunk_total)
    chunk_number = Range(zero, chunk_limit, one_more)
    chunk = Add(entry_shift, chunk_number)
    columns32 = Gather(table_columns, chunk)
    columns = Cast <to: int = 7> (columns32)
    weights = Gather(table_weights, chunk)
    whose = Gather(clicked_by, entry)
    whose_first = Mul(whose, n_items)
    whose_row = Unsqueeze(whose_first, axis1)
    cell = Add(columns, whose_row)
    all_cells = Reshape(cell, everything)
    all_weights = Reshape(weights, everything)
    scores_shape = Shape($seen)
    histories = Shape <start: int = 0, end: int = 1> ($seen)
    scores_count = Mul(histories, n_items)
    no_scores = ConstantOfShape <value: tensor = float[1] {0}> (scores_count)
    flat = ScatterElements <axis: int = 0, reduction: string = "add"> (no_scores, all_cells, all_weights)
    similar = Reshape(flat, scores_shape)
    $output = Add(similar, bias)
""")
#: An entry whose column is returned raises that score, by its weight, for the position of its item in the history. The
#: others are added up in a place of their own, before the first returned item, which is cut off.
RAISED = Template("""
    all_writers = Reshape(writer, everything)
    clicked_row = Mul(clicked_by, n_items)
    clicked_cell = Add(clicked_row, clicked)
    clicked_place32 = Gather(all_writers, clicked_cell)
    clicked_place = Cast <to: int = 7> (clicked_place32)
    entry_place = Gather(clicked_place, entry)
    entry_place_row = Unsqueeze(entry_place, axis1)
    not_returned = ConstantOfShape <value: tensor = int64[1] {0}> (catalogue_shape)
    returned_shape = Shape($ids)
    returned_count = Shape <start: int = 1, end: int = 2> ($ids)
    returned_last64 = Squeeze(returned_count)
    returned_end = Add(returned_last64, one_more)
    returned_numbers = Range(one_more, returned_end, one_more)
    returned_ranks = Expand(returned_numbers, returned_shape)
    rank = ScatterElements <axis: int = 1> (not_returned, $ids, returned_ranks)
    all_ranks = Reshape(rank, everything)
    entry_rank = Gather(all_ranks, cell)
    rank_count = Add(returned_count, one_more)
    whose_ranks = Mul(whose, rank_count)
    whose_rank_row = Unsqueeze(whose_ranks, axis1)
    own_rank = Add(whose_rank_row, entry_rank)
    own_rank_row = Mul(own_rank, length_shape)
    raised_place = Add(own_rank_row, entry_place_row)
    raised_places = Reshape(raised_place, everything)
    raised_shape = Concat <axis: int = 0> (batch_shape, rank_count, length_shape)
    nothing_raised = ConstantOfShape <value: tensor = float[1] {0}> (raised_shape)
    nothing_flat = Reshape(nothing_raised, everything)
    raised_flat = ScatterElements <axis: int = 0, reduction: string = "add"> (nothing_flat, raised_places, all_weights)
    raised_all = Reshape <allowzero: int = 1> (raised_flat, raised_shape)
    raised = Slice(raised_all, one_row, rank_count, axis1)
""")


@dataclass(frozen=True)
class Linear(AutoEncoder):
    """A linear model whose similarity is stored whole: a network of one layer without scaling of its input."""

    name: ClassVar[str] = "linear"
    models: ClassVar[tuple[str, ...]] = ("EASE", "SLIMElastic", "ADMMSLIM", "ItemKNN")
    described: ClassVar[tuple[str, ...]] = ("EDLAE",)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Architecture:  # type: ignore[override]
        """Read the similarity, and choose how it is stored. See the base class."""
        return stored(*read(checkpoint))

    def spec(self) -> dict[str, Any]:
        """See the base class."""
        return {"sizes": self.sizes, "similarity": "dense"}


@dataclass(frozen=True)
class SparseLinear(Architecture):
    """A linear model whose similarity is stored as its entries.

    Attributes:
        entries: the similarity, [C, C]; none in the padding item's row and column.
        offset: c, [C].
    """

    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    why_not: ClassVar[str] = "half of what a sparse similarity takes are the places of its entries"
    no_reasons_because: ClassVar[str] = ""

    entries: Entries
    offset: Tensor

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Architecture:
        """See :meth:`Linear.from_checkpoint`, which makes these."""
        return Linear.from_checkpoint(checkpoint)

    @property
    def n_items(self) -> int:
        """C, the catalogue with the padding item."""
        return len(self.offset)

    def logits(self, clicks: Tensor) -> Tensor:
        """See the base class."""
        scores = torch.sparse.mm(self.transposed.to(clicks.device), clicks.T).T + self.offset.to(clicks.device)
        scores[:, 0] = -torch.inf
        return scores

    @cached_property
    def transposed(self) -> Tensor:
        """The similarity as torch's sparse matrix, [C, C], with a row for each item that is scored."""
        places = torch.stack([self.entries.columns, self.entries.rows])
        shape = (self.n_items, self.n_items)
        return torch.sparse_coo_tensor(places, self.entries.weights, shape, check_invariants=True)

    def rounded(self, precision: str) -> SparseLinear:
        """See the base class."""
        return self

    def nodes(self, io: str, precision: str, output: str) -> str:
        """See the base class."""
        return ENTRIES.substitute(seen="x" if io == "dense" else "seen", output=output)

    def constants(self, io: str, precision: str) -> dict[str, Any]:
        """See the base class."""
        bias = self.offset.numpy().copy()
        bias[0] = -np.inf
        return {
            **chunked(self.entries, self.n_items),
            "bias": bias,
            "zero": np.int64(0),
            "everything": np.array([-1]),
            "axis1": np.array([1]),
            "n_items": np.array([self.n_items]),
        }

    def reasoned(self, precision: str, ids: str, options: Options) -> str:
        """See the base class."""
        return RAISED.substitute(ids=ids)

    def option_constants(self, values: dict[str, Any], precision: str, options: Options) -> dict[str, Any]:
        """See the base class."""
        return {"one_row": np.array([1])}

    def spec(self) -> dict[str, Any]:
        """See the base class."""
        items = self.n_items - 1
        return {"sizes": [items, items], "similarity": "sparse", "entries": len(self.entries.weights)}


def chunked(entries: Entries, n_items: int) -> dict[str, np.ndarray]:
    """The entries cut into chunks of WIDTH, a row's one after the other; what is missing in its last one is zeros.

    Returns:
        ``chunk_count`` and ``first_chunk``, int64 [C], and ``table_columns``, int32, and ``table_weights``, float32,
        [chunks, WIDTH] each.
    """
    order = torch.argsort(entries.rows, stable=True).numpy()
    rows = entries.rows.numpy()[order]
    number = np.bincount(rows, minlength=n_items)
    count = np.maximum(1, -(-number // WIDTH))
    first = np.cumsum(count) - count
    place = np.arange(len(rows)) - (np.cumsum(number) - number)[rows]
    columns, weights = np.zeros((count.sum(), WIDTH), np.int32), np.zeros((count.sum(), WIDTH), np.float32)
    where = first[rows] + place // WIDTH, place % WIDTH
    columns[where], weights[where] = entries.columns.numpy()[order], entries.weights.numpy()[order]
    return {"chunk_count": count, "first_chunk": first, "table_columns": columns, "table_weights": weights}


def stored(similarity: Tensor | Entries, offset: Tensor) -> Architecture:
    """The model of a similarity [C, C] and an offset [C], in the form that its size asks for."""
    n_items = len(similarity)
    entries = similarity if isinstance(similarity, Entries) else _entries(similarity)
    real = (entries.rows > 0) & (entries.columns > 0) & (entries.weights != 0)
    entries = Entries(entries.rows[real], entries.columns[real], entries.weights[real], n_items)
    number = torch.bincount(entries.rows, minlength=n_items)
    chunks = int(((number + WIDTH - 1) // WIDTH).clamp(min=1).sum())
    if chunks * WIDTH * ENTRY_BYTES <= DENSE_BYTES * 4 * n_items**2:
        return SparseLinear(entries, offset)
    whole = similarity if isinstance(similarity, Tensor) else _whole(entries)
    return Linear(((whole[1:, 1:].contiguous(), offset[1:]),), ("none",), norm=False, latent=1)


def _entries(matrix: Tensor) -> Entries:
    rows, columns = matrix.nonzero(as_tuple=True)
    return Entries(rows, columns, matrix[rows, columns], len(matrix))


def _whole(entries: Entries) -> Tensor:
    matrix = torch.zeros(len(entries), len(entries))
    return matrix.index_put_((entries.rows, entries.columns), entries.weights, accumulate=True)
