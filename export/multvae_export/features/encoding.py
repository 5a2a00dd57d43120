"""The fields of items as numbers: one sparse row an item.

Each field is a block of columns. Words, of token and token_seq, have a column each with tf-idf; a row has length 1. A number
has columns between which it is interpolated, at its quantiles, so that the model may rise and fall with it. Numbers of
float_seq, such as an embedding, are taken as they are. Every block is scaled to the same variance.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multvae_export.errors import FeaturesError
from multvae_export.features.item_file import ItemFile

#: A word counts if this many trained items have it; of more words than MOST, the most frequent count.
LEAST, MOST = 2, 2000
#: Columns of a number.
QUANTILES = 10


@dataclass(frozen=True)
class Encoded:
    """Trained and new items as numbers, of the same columns.

    Attributes:
        trained: [I, F], sparse; rows of zeros for items without fields.
        new: [N, F], sparse.
        names: of the fields that say something.
        constant: of those that do not, as all trained items have the same or nothing in common.
    """

    trained: Tensor
    new: Tensor
    names: tuple[str, ...]
    constant: tuple[str, ...]

    @property
    def known(self) -> np.ndarray:
        """Whether each new item has anything that a trained one has, bool [N]."""
        known = np.zeros(self.new.shape[0], bool)
        known[self.new.indices()[0]] = True
        return known


@dataclass(frozen=True)
class _Block:
    """The entries of a field: of the trained items, then of the new ones."""

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    width: int

    @classmethod
    def of(cls, rows: list[dict[int, float]], width: int) -> _Block:
        counts = [len(row) for row in rows]
        columns = np.fromiter((column for row in rows for column in row), np.int64, sum(counts))
        values = np.fromiter((value for row in rows for value in row.values()), np.float64, sum(counts))
        return cls(np.repeat(np.arange(len(rows)), counts), columns, values, width)


def encode(trained: ItemFile, new: ItemFile, order: dict[str, int], weights: np.ndarray) -> Encoded:
    """The fields of both files as numbers.

    Args:
        trained: the file of the items of training, which may have others too.
        new: the file of the new items, with the same fields.
        order: the row of each trained item by its token.
        weights: how much each trained item counts, [I]; 0 for one that the file does not have.

    Raises:
        FeaturesError: no field says anything, or the rows of a float_seq have different lengths.
    """
    items, blocks = len(order), {}
    for name, kind in trained.kinds.items():
        rows: list[list[Any]] = [[] for _ in range(items)]
        for token, value in zip(trained.tokens, trained.values[name], strict=True):
            if (row := order.get(token)) is not None and weights[row] > 0:
                rows[row] = value
        block = _encoder(kind)(rows, new.values[name], name)
        if block is not None and (scale := _scale(block, items, weights)) > 0:
            blocks[name] = _Block(block.rows, block.columns, block.values * scale, block.width)
    constant = tuple(name for name in trained.kinds if name not in blocks)
    if not blocks:
        raise FeaturesError(f"the fields {', '.join(constant)} of {trained.path} tell no two of the trained items apart.")
    return Encoded(*_matrices(list(blocks.values()), items, len(new.tokens)), tuple(blocks), constant)


def _encoder(kind: str) -> Any:
    return {"token": _words, "token_seq": _words, "float": _number, "float_seq": _numbers}[kind]


def _words(trained: list[list[str]], new: list[list[str]], name: str) -> _Block | None:
    """tf-idf with smoothed frequencies, a row at length 1."""
    frequency = Counter(word for row in trained for word in set(row))
    common = [(word, count) for word, count in frequency.most_common(MOST) if count >= LEAST]
    if not common:
        return None
    items = sum(map(bool, trained))
    idf = {word: (n, np.log((1 + items) / (1 + count)) + 1) for n, (word, count) in enumerate(common)}
    rows = []
    for words in (*trained, *new):
        row = {idf[word][0]: count * idf[word][1] for word, count in Counter(words).items() if word in idf}
        length = float(np.linalg.norm(list(row.values())))
        rows.append({column: value / length for column, value in row.items()})
    return _Block.of(rows, len(common))


def _number(trained: list[list[float]], new: list[list[float]], name: str) -> _Block | None:
    """A number as the weights of the two quantiles beside it."""
    known = [row[0] for row in trained if row]
    places = np.unique(np.quantile(known, np.linspace(0, 1, QUANTILES))) if known else np.zeros(0)
    if len(places) < 2:
        return None
    rows = []
    for row in (*trained, *new):
        at = np.interp(row, places, np.arange(len(places)))  # Those outside are taken for the nearest.
        below = np.minimum(at.astype(int), len(places) - 2)
        rows.append({int(n) + side: abs(1 - side - (a - n)) for a, n in zip(at, below, strict=True) for side in (0, 1)})
    return _Block.of(rows, len(places))


def _numbers(trained: list[list[float]], new: list[list[float]], name: str) -> _Block | None:
    """Numbers as they are, each at mean 0 and variance 1; a missing row has the means."""
    lengths = {len(row) for row in (*trained, *new) if row}
    if len(lengths) > 1:
        raise FeaturesError(
            f"the field {name} has rows of {min(lengths)} and of {max(lengths)} numbers: expected the same for every item, "
            "such as an embedding's."
        )
    known = np.array([row for row in trained if row])
    if not known.size:
        return None
    mean, deviation = known.mean(0), known.std(0)
    said = np.flatnonzero(deviation > 1e-12 * np.abs(mean))
    if not len(said):
        return None
    mean, deviation = mean[said], deviation[said]
    rows = [dict(enumerate((np.array(row)[said] - mean) / deviation)) if row else {} for row in (*trained, *new)]
    return _Block.of(rows, len(said))


def _scale(block: _Block, items: int, weights: np.ndarray) -> float:
    """By what the block is multiplied so that the trained items' variance is 1; 0 if they are all alike."""
    of_trained = block.rows < items
    rows, columns, values = block.rows[of_trained], block.columns[of_trained], block.values[of_trained]
    shares = weights / weights.sum()
    mean = np.bincount(columns, shares[rows] * values, block.width)
    square = float((shares[rows] * values**2).sum())
    variance = square - float((mean**2).sum())
    return float(variance**-0.5) if variance > 1e-9 * max(square, 1e-300) else 0.0


def _matrices(blocks: list[_Block], items: int, new: int) -> tuple[Tensor, Tensor]:
    begins = np.cumsum([0, *(block.width for block in blocks)])
    rows = np.concatenate([block.rows for block in blocks])
    columns = np.concatenate([block.columns + begin for block, begin in zip(blocks, begins, strict=False)])
    values = np.concatenate([block.values for block in blocks])
    places, shape = torch.from_numpy(np.stack([rows, columns])), (items + new, int(begins[-1]))
    matrix = torch.sparse_coo_tensor(places, torch.from_numpy(values), shape, check_invariants=True).coalesce()
    numbers = torch.arange(items + new)
    return matrix.index_select(0, numbers[:items]).coalesce(), matrix.index_select(0, numbers[items:]).coalesce()
