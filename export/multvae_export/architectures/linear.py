"""Linear models: the scores of a history x are x B + c, with a similarity B of every pair of items.

RecBole's EASE (Steck, WWW 2019), SLIMElastic (Ning and Karypis, ICDM 2011), ADMMSLIM (Steck et al., WSDM 2020) and ItemKNN
(Aiolli, RecSys 2013), and models whose description names a ``similarity`` among their weights. ``C`` items of the catalogue
with the padding item, whose row and column of B are left out.

B is stored whole, as a network of a single layer, or as the list of its entries if that takes at most an eighth of the bytes
(:data:`DENSE_BYTES`). On the CPU a batch of 16 histories then takes half the time or less. One history alone takes up to
0.1 ms more on small catalogues and the same on large ones. In every precision below fp32 an entry takes 4 bytes, not 8: its
weight is float16, in int8 and int4 too, as fewer bits would save little beside its column, which is uint16 where it fits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from string import Template
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from multvae_export.architectures.auto_encoder import AutoEncoder
from multvae_export.architectures.base import OF_PAIRS, Architecture, Reasons
from multvae_export.architectures.similarity import Entries, read
from multvae_export.checkpoint.contents import Checkpoint
from multvae_export.nodes import filters, quantise
from multvae_export.nodes.layers import RowsOfNew
from multvae_export.nodes.nodes import Nodes
from multvae_export.target import Target

#: Entries of a chunk, and the bytes of an entry in fp32: its column as int32, its weight as float32. The choice of how B is
#: stored is the same in every precision.
WIDTH, ENTRY_BYTES = 32, 8
#: B is stored whole if its entries would take more than this share of its bytes.
DENSE_BYTES = 1 / 8
#: Items whose ids fit into uint16.
SMALL_CATALOGUE = 2**16

#: The items of all histories, one after the other, each with the chunks of its row of B; ``item_of_chunk`` is the place of
#: a chunk's item among them. An item without entries has one chunk of zeros, so that no two items begin at the same chunk.
#: Every entry is added to the score of its column, in the history of its item.
SCORES = Template("""
    clicks = NonZero($seen)
    click_history = Gather(clicks, zero)
    click_item = Gather(clicks, one)
    click_chunks = Gather(chunk_count, click_item)
    chunk_end = CumSum(click_chunks, zero)
    chunk_begin = Sub(chunk_end, click_chunks)
    chunk_total = ReduceSum <keepdims: int = 1> (click_chunks)
    no_begins = ConstantOfShape <value: tensor = int64[1] {0}> (chunk_total)
    clicks_shape = Shape(chunk_begin)
    ones = Expand(one, clicks_shape)
    is_begin = ScatterElements <axis: int = 0> (no_begins, chunk_begin, ones)
    items_begun = CumSum(is_begin, zero)
    item_of_chunk = Sub(items_begun, one)
    click_first_chunk = Gather(first_chunk, click_item)
    click_shift = Sub(click_first_chunk, chunk_begin)
    chunk_shift = Gather(click_shift, item_of_chunk)
    chunk_limit = Squeeze(chunk_total)
    chunk_number = Range(zero, chunk_limit, one)
    chunk = Add(chunk_shift, chunk_number)
    columns32 = Gather(table_columns, chunk)
    columns = Cast <to: int = 7> (columns32)
    weights = Gather(table_weights, chunk)
    $widening
    chunk_history = Gather(click_history, item_of_chunk)
    history_begin = Mul(chunk_history, n_items)
    history_begin_column = Unsqueeze(history_begin, axis1)
    cell = Add(columns, history_begin_column)
    all_cells = Reshape(cell, flat_shape)
    all_weights = Reshape($weights, flat_shape)
    scores_shape = Shape($seen)
    histories = Shape <start: int = 0, end: int = 1> ($seen)
    scores_count = Mul(histories, n_items)
    no_sums = ConstantOfShape <value: tensor = float[1] {0}> (scores_count)
    flat_sums = ScatterElements <axis: int = 0, reduction: string = "add"> (no_sums, all_cells, all_weights)
    sums = Reshape(flat_sums, scores_shape)
    $output = Add(sums, bias)
""")
#: An entry whose column is returned contributes its weight to that score, at the position of its item in the history. The
#: other entries are added up at rank 0, before the first returned item, which is cut off.
SCORE_DROPS = Template("""
    flat_position_of_item = Reshape(position_of_item, flat_shape)
    click_row_begin = Mul(click_history, n_items)
    click_cell = Add(click_row_begin, click_item)
    click_position32 = Gather(flat_position_of_item, click_cell)
    click_position = Cast <to: int = 7> (click_position32)
    chunk_position = Gather(click_position, item_of_chunk)
    chunk_position_column = Unsqueeze(chunk_position, axis1)
    no_ranks = ConstantOfShape <value: tensor = int64[1] {0}> (catalogue_shape)
    returned_shape = Shape($ids)
    returned_count = Shape <start: int = 1, end: int = 2> ($ids)
    last_rank = Squeeze(returned_count)
    rank_end = Add(last_rank, one)
    rank_row = Range(one, rank_end, one)
    ranks = Expand(rank_row, returned_shape)
    rank_of_item = ScatterElements <axis: int = 1> (no_ranks, $ids, ranks)
    flat_rank_of_item = Reshape(rank_of_item, flat_shape)
    entry_rank = Gather(flat_rank_of_item, cell)
    rank_count = Add(returned_count, one)
    history_rank_begin = Mul(chunk_history, rank_count)
    history_rank_begin_column = Unsqueeze(history_rank_begin, axis1)
    entry_row = Add(history_rank_begin_column, entry_rank)
    entry_row_begin = Mul(entry_row, length_shape)
    entry_place = Add(entry_row_begin, chunk_position_column)
    all_places = Reshape(entry_place, flat_shape)
    drops_shape = Concat <axis: int = 0> (batch_shape, rank_count, length_shape)
    no_drops = ConstantOfShape <value: tensor = float[1] {0}> (drops_shape)
    no_flat_drops = Reshape(no_drops, flat_shape)
    flat_drops = ScatterElements <axis: int = 0, reduction: string = "add"> (no_flat_drops, all_places, all_weights)
    drops_by_rank = Reshape <allowzero: int = 1> (flat_drops, drops_shape)
    score_drop = Slice(drops_by_rank, from_second, rank_count, axis1)
""")


@dataclass(frozen=True)
class Linear(AutoEncoder):
    """A linear model whose similarity is stored whole: a network of one layer without scaling of its input."""

    name: ClassVar[str] = "linear"
    models: ClassVar[tuple[str, ...]] = ("EASE", "SLIMElastic", "ADMMSLIM", "ItemKNN")
    described: ClassVar[tuple[str, ...]] = ("EDLAE", "SparseEDLAE")

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Architecture:  # type: ignore[override]
        """Read the similarity, and choose how it is stored."""
        return linear_model(*read(checkpoint))

    def spec(self) -> dict[str, Any]:
        return {"sizes": self.sizes, "similarity": "dense"}


@dataclass(frozen=True)
class SparseLinear(Reasons):
    """A linear model whose similarity is stored as its entries.

    Attributes:
        entries: the similarity, [C, C]; none in the padding item's row and column.
        offset: c, [C].
    """

    no_vectors_because = OF_PAIRS

    entries: Entries
    offset: Tensor

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Architecture:
        return Linear.from_checkpoint(checkpoint)

    @property
    def n_items(self) -> int:
        """C, the catalogue with the padding item."""
        return len(self.offset)

    def logits(self, clicks: Tensor) -> Tensor:
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
        widened = quantise.entries(self.entries.weights.numpy(), precision).widened
        return replace(self, entries=replace(self.entries, weights=torch.from_numpy(widened)))

    def with_items(self, rows: RowsOfNew) -> SparseLinear:
        offset = torch.cat([self.offset, rows(self.offset[1:, None])[:, 0]])
        return replace(self, entries=self.entries.with_items(rows), offset=offset)

    def shifted(self, shift: Tensor) -> SparseLinear:
        return replace(self, offset=self.offset + pad(shift, (1, 0)))

    def graph(self, target: Target, output: str) -> Nodes:
        bias = self.offset.numpy().copy()
        bias[0] = -np.inf
        widening, weights = quantise.widened("weights", "fp32" if target.precision == "fp32" else "fp16")
        seen = "x" if target.dense else "seen"
        text = SCORES.substitute(seen=seen, output=output, widening=widening.text, weights=weights)
        tables = chunked(self.entries, self.n_items, target.precision)
        constants = {**tables, "bias": bias, "n_items": np.array([self.n_items])}
        return filters.masked(Nodes(text, constants), target, output)

    def graph_with_reasons(self, target: Target, output: str, ids: str) -> tuple[Nodes, Nodes]:
        n_items = {"n_items": np.array([self.n_items])}
        return self.graph(target, output), Nodes(SCORE_DROPS.substitute(ids=ids), n_items)

    def spec(self) -> dict[str, Any]:
        items = self.n_items - 1
        return {"sizes": [items, items], "similarity": "sparse", "entries": len(self.entries.weights)}


def chunked(entries: Entries, n_items: int, precision: str) -> dict[str, np.ndarray]:
    """The entries cut into chunks of WIDTH, those of a row one after the other; zeros fill the last chunk of a row.

    Returns:
        ``chunk_count`` and ``first_chunk``, int64 [C], and ``table_columns`` and ``table_weights``, [chunks, WIDTH] each:
        int32 and float32 in fp32; else uint16, or int32 for more items than it counts, and float16.

    Raises:
        PrecisionError: a weight is too large for float16.
    """
    order = torch.argsort(entries.rows, stable=True).numpy()
    rows = entries.rows.numpy()[order]
    number = np.bincount(rows, minlength=n_items)
    count = np.maximum(1, -(-number // WIDTH))
    first = np.cumsum(count) - count
    place = np.arange(len(rows)) - (np.cumsum(number) - number)[rows]
    stored = quantise.entries(entries.weights.numpy(), precision).values
    small = precision != "fp32" and n_items <= SMALL_CATALOGUE
    columns = np.zeros((count.sum(), WIDTH), np.uint16 if small else np.int32)
    weights = np.zeros((count.sum(), WIDTH), stored.dtype)
    where = first[rows] + place // WIDTH, place % WIDTH
    columns[where], weights[where] = entries.columns.numpy()[order], stored[order]
    return {"chunk_count": count, "first_chunk": first, "table_columns": columns, "table_weights": weights}


def linear_model(similarity: Tensor | Entries, offset: Tensor) -> Architecture:
    """The model of a similarity [C, C] and an offset [C], stored whole or as entries, whichever fits its size."""
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
