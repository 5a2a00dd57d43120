r"""SparseEDLAE: EDLAE in which every item is predicted from at most k others, so that it fits every catalogue.

EDLAE (:mod:`.edlae`) has a weight for each pair of items. Here an item j is predicted from its k nearest neighbours N only:
the items whose columns of clicks have the largest cosine with its own, above 0. This is the selection of features of SLIM
(Ning and Karypis, "SLIM: Sparse Linear Methods for Top-N Recommender Systems", ICDM 2011, section 4.3). The squared errors
of users are weighted (:func:`.linear.weigh_users`). With the Gram matrix G = X^T W X the objective of EDLAE has, for each j
on its own, the minimum

.. math:: B_{Nj} = (G_{NN} + \Lambda_{NN})^{-1} G_{Nj}, \quad
    \Lambda = \tfrac{p}{1 - p} \mathrm{dMat}(\mathrm{diag}(G)) + \lambda I

and the scores of a click vector x are x B. With k of all items and a = 0 this is EDLAE, except that items without a common
user have no weight for each other; with p = 0 too, EASE.

``I`` items without the padding item, ``U`` users, ``K`` neighbours, ``N`` entries of B. Nothing is I x I, nor does the whole
Gram matrix have to be in memory: items are worked on in blocks whose arrays fit ``train_memory``. Beside them there are the
clicks, 24 bytes each, and 28 bytes for each of the I x K entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from scipy.sparse import csc_matrix, csr_matrix
from torch import Tensor, nn

from recbole_multvae.clicks import Clicks, entries_of_rows
from recbole_multvae.config.settings import RecommenderSettings, Size, setting
from recbole_multvae.data.cold_items import ColdItems
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.models.linear import LinearRecommender, weigh_users

#: Bytes that a product of sparse matrices takes for an entry: column and value, once more while it is sorted, and its rank.
ENTRY_BYTES = 32
#: Bytes of a pair of neighbours while a system of equations is put together: row, column, value, matrix and its factor.
PAIR_BYTES = 32
#: Entries that are added to the scores at once; each takes 50 bytes meanwhile.
SCORED_ENTRIES = 2**22


class SparseEDLAESettings(RecommenderSettings):
    """The settings of :class:`SparseEDLAE`."""

    neighbours: Size | Literal["auto"] = setting(
        "auto",
        "a positive integer, or auto",
        "k, the most items that an item is predicted from; auto: chosen from the number of items",
    )
    user_exponent: float = setting(
        0.5,
        "a number, 0 or more",
        "a: the error of a user with n clicks is weighted by n^-a; 0: all alike",
        ge=0,
    )
    dropout_prob: float = setting(
        0.5, "a number from 0 up to, but not including, 1", "p, the probability of dropping a click of the input", ge=0, lt=1
    )
    reg_weight: Annotated[float, Field(gt=0)] | Literal["auto"] = setting(
        "auto",
        "a number above 0, or auto",
        "lambda, the L2 penalty beside that of the dropout; auto: chosen from the number of items",
    )
    train_memory: int = setting(
        1024, "a positive integer (MiB)", "memory of a block of items in training; less of it makes more blocks", gt=0
    )


class SparseEDLAE(LinearRecommender):
    """Item similarities that are the rows of a sparse matrix B.

    Attributes:
        offsets: where the entries of each item's row begin and end, int64 [I + 1].
        columns: the items that the entries raise, int32 [N].
        weights: the entries, float32 [N].
    """

    settings_class = SparseEDLAESettings
    no_cold_items = None
    offsets: Tensor
    columns: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self._check_memory()
        self.register_buffer("offsets", torch.zeros(self.n_items, dtype=torch.int64))
        self.register_buffer("columns", torch.zeros(0, dtype=torch.int32))
        self.weights = nn.Parameter(torch.zeros(0), requires_grad=False)

    def _check_memory(self) -> None:
        number = min(self.settings.neighbours, self.n_items - 2)
        needed = 2 * PAIR_BYTES * number**2 / 2**20
        if needed > self.settings.train_memory:
            raise ConfigurationError(
                f"neighbours={self.settings.neighbours} needs {needed:,.0f} MiB for the equations of one item, and "
                f"train_memory is {self.settings.train_memory} MiB: take fewer neighbours, or raise train_memory."
            )

    def fit(self, clicks: csr_matrix) -> None:  # noqa: D102
        settings = self.settings
        gram = WeightedGram(clicks, settings.user_exponent, settings.train_memory * 2**19)
        self.set_similarity(closed_form(gram, settings.neighbours, settings.dropout_prob, settings.reg_weight))

    def set_similarity(self, similarity: csr_matrix) -> None:
        """Take the entries of B, [I, I]."""
        self.offsets = torch.from_numpy(similarity.indptr.astype(np.int64)).to(self.device)
        self.columns = torch.from_numpy(similarity.indices.astype(np.int32, copy=False)).to(self.device)
        self.weights.data = torch.from_numpy(similarity.data).to(self.device)

    def add_cold_items(self, cold: ColdItems) -> None:  # noqa: D102
        parts = (part.cpu().numpy() for part in (self.weights, self.columns, self.offsets))
        own = csr_matrix(tuple(parts), (self.n_trained, self.n_trained)).tocoo()
        places, weights = torch.from_numpy(np.stack([own.row, own.col])), torch.from_numpy(own.data)
        added = cold.pairs(torch.sparse_coo_tensor(places, weights, own.shape, check_invariants=True))
        entries = torch.cat([weights, added.values()]).numpy(), torch.cat([places, added.indices()], dim=1).numpy()
        self.set_similarity(csr_matrix(entries, added.shape))

    def forward(self, clicks: Clicks) -> Tensor:
        """The scores x B, [B, I]."""
        scores = torch.empty(len(clicks), self.n_items - 1, device=self.device)
        self.score_into(clicks, scores)
        return scores

    @torch.no_grad()
    def score_into(self, clicks: Clicks, scores: Tensor) -> None:
        """Write the scores into [B, I]: the entries of the clicked items' rows are added up, and nothing else is read."""
        entries = nn.functional.pad(self.offsets.diff()[clicks.columns].cumsum(0), (1, 0))[clicks.offsets]
        first = 0
        for users in (entries[:-1] // SCORED_ENTRIES).unique_consecutive(return_counts=True)[1].tolist():
            self._score_at_once(clicks.between(first, first + users), scores[first : first + users])
            first += users

    def _score_at_once(self, clicks: Clicks, scores: Tensor) -> None:
        entries, ends = entries_of_rows(self.offsets, clicks.columns)
        rows = clicks.rows.repeat_interleave(ends.diff(), output_size=len(entries))
        scores.zero_().index_put_((rows, self.columns[entries].long()), self.weights[entries], accumulate=True)

    def spec(self) -> dict[str, Any]:
        """The description of the model: ``similarity`` names the three parts of B, without the padding item."""
        return {
            "model": type(self).__name__,
            "architecture": "linear",
            "n_items": self.n_items,
            "similarity": {"offsets": "offsets", "columns": "columns", "weights": "weights"},
        }

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Torch's hook: the number of entries depends on the data, so take that of the checkpoint."""
        for name in ("columns", "weights"):
            ours, saved = getattr(self, name), state_dict.get(prefix + name)
            if saved is not None and saved.dim() == 1:
                ours.data = ours.data.new_zeros(len(saved))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class WeightedGram:
    """Parts of the Gram matrix G = X^T W X of the module's equation, each from the clicks of its own items.

    Args:
        clicks: X, ones, float32 [U, I].
        exponent: a.
        memory: bytes that a part may take, and the equations that are solved with it take as much again.

    Attributes:
        diagonal: that of G, float32 [I].
        cost: for each item, an upper bound of the entries of its row, int64 [I].
    """

    def __init__(self, clicks: csr_matrix, exponent: float, memory: int) -> None:
        lengths = np.diff(clicks.indptr)
        self.users = weigh_users(clicks, exponent)
        self.items = self.users.T.tocsr()
        self.memory = memory
        self.n_items = clicks.shape[1]
        self.diagonal = np.asarray(self.items.multiply(self.items).sum(axis=1), np.float32).ravel()
        self.cost = np.minimum(clicks.T @ lengths.astype(np.float64), self.n_items).astype(np.int64)

    def rows(self) -> Iterator[tuple[int, csr_matrix]]:
        """G in blocks of rows: the first item of each block, and its rows [items of the block, I] with sorted columns."""
        blocks = np.cumsum(self.cost) // max(1, self.memory // ENTRY_BYTES)
        starts = np.flatnonzero(np.diff(blocks, prepend=-1)).tolist()
        for start, end in zip(starts, [*starts[1:], self.n_items], strict=True):
            block = self.items[start:end] @ self.users
            block.sort_indices()
            yield start, block

    def fits(self, items: np.ndarray) -> bool:
        """Whether :meth:`among` of these items fits the memory, by an upper bound."""
        return min(self._bytes(self.items[items])) <= self.memory

    def among(self, items: np.ndarray) -> csr_matrix | np.ndarray:
        """G of some items, [M, M], whole or sparse, whichever takes less memory. ``items`` are sorted, int64 [M]."""
        part = self.items[items]
        whole, sparse = self._bytes(part)
        if sparse < whole:
            gram = (part @ part.T).tocsr()
            gram.sort_indices()
            return gram
        gram, transposed = np.empty((len(items), len(items)), np.float32), part.T.tocsr()
        step = max(1, self.memory // (8 * ENTRY_BYTES * max(1, len(items))))
        for start in range(0, len(items), step):
            (part[start : start + step] @ transposed).toarray(out=gram[start : start + step])
        return gram

    @staticmethod
    def _bytes(part: csr_matrix) -> tuple[float, float]:
        """Upper bounds of the bytes of G of some items, whole and sparse, from the clicks of these items, [M, U]."""
        counts = np.bincount(part.indices).astype(np.float64)
        return 4.0 * part.shape[0] ** 2, ENTRY_BYTES * float(counts @ counts)


def closed_form(gram: WeightedGram, neighbours: int, dropout: float, l2: float) -> csr_matrix:
    """The similarities B of the module's equation.

    Args:
        gram: G.
        neighbours: k; may be more than there are.
        dropout: p.
        l2: lambda, above 0.

    Returns:
        float32 [I, I], at most k entries in a column, none on the diagonal.
    """
    nearest = nearest_neighbours(gram, neighbours)
    penalty = (gram.diagonal * (dropout / (1 - dropout)) + l2).astype(np.float32)
    weights = np.zeros(nearest.shape, np.float32)
    by_popularity = np.argsort(-gram.diagonal, kind="stable")  # Similar items have similar neighbours: small parts of G.
    for items, among, part in _blocks(gram, by_popularity, nearest):
        places = np.where(nearest[items] < 0, -1, np.searchsorted(among, nearest[items]))
        weights[items] = _solve(part, places, np.searchsorted(among, items), penalty[among], gram.memory)
    real = weights != 0
    ends = np.append(0, real.sum(axis=1).cumsum())
    return csc_matrix((weights[real], nearest[real], ends), (gram.n_items, gram.n_items)).tocsr()


def nearest_neighbours(gram: WeightedGram, neighbours: int) -> np.ndarray:
    """The ``neighbours`` items with the largest cosine for each item; between ties, the lowest item.

    Returns:
        int32 [I, K], sorted in each row; -1, behind them, where an item shares its users with fewer items.
    """
    nearest = np.full((gram.n_items, min(neighbours, max(gram.n_items - 1, 1))), -1, np.int32)
    norms = np.sqrt(np.maximum(gram.diagonal, 1e-30))
    for start, block in gram.rows():
        cosines = block.data / norms[block.indices]
        for row, (first, end) in enumerate(zip(block.indptr, block.indptr[1:], strict=False)):
            others = block.indices[first:end] != start + row
            best = _largest(cosines[first:end][others], nearest.shape[1])
            nearest[start + row, : len(best)] = block.indices[first:end][others][best]
    return nearest


def _largest(values: np.ndarray, number: int) -> np.ndarray:
    """The sorted positions of the largest values; of those that are equal to the last one, the first."""
    if len(values) <= number:
        return np.arange(len(values))
    least = np.partition(values, -number)[-number]
    above, equal = np.flatnonzero(values > least), np.flatnonzero(values == least)
    return np.sort(np.concatenate([above, equal[: number - len(above)]]))


def _blocks(
    gram: WeightedGram, items: np.ndarray, nearest: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, csr_matrix | np.ndarray]]:
    """Some items in blocks, each with the items that its equations name, sorted, and G of these.

    A block is halved until G of these fits the memory; a small catalogue is one block.
    """
    named = np.union1d(items, nearest[items])
    named = named[named >= 0]
    if len(items) == 1 or gram.fits(named):
        yield items, named, gram.among(named)
    else:
        for half in np.array_split(items, 2):
            yield from _blocks(gram, half, nearest)


def _solve(
    gram: csr_matrix | np.ndarray, places: np.ndarray, targets: np.ndarray, penalty: np.ndarray, memory: int
) -> np.ndarray:
    """Solve the equations of some items.

    Args:
        gram: G of the items of a block, [M, M].
        places: the neighbours of each item in it, int64 [n, K]; -1: none.
        targets: the item itself, int64 [n].
        penalty: the diagonal of Lambda, float32 [M].
        memory: bytes that the equations may take at a time.

    Returns:
        The weights of the neighbours, float32 [n, K]; 0 where there is none.
    """
    number = places.shape[1]
    step = max(1, memory // (number**2 * PAIR_BYTES))
    weights = [
        _solve_at_once(gram, places[start : start + step], targets[start : start + step], penalty)
        for start in range(0, len(places), step)
    ]
    return np.concatenate(weights)


def _solve_at_once(
    gram: csr_matrix | np.ndarray, places: np.ndarray, targets: np.ndarray, penalty: np.ndarray
) -> np.ndarray:
    number, missing = places.shape[1], places < 0
    places = np.maximum(places, 0)
    low, high = np.tril_indices(number)
    pairs = np.asarray(gram[places[:, low].ravel(), places[:, high].ravel()], np.float32).reshape(len(places), -1)
    pairs[missing[:, low] | missing[:, high]] = 0
    matrix = np.zeros((len(places), number, number), np.float32)
    matrix[:, low, high] = matrix[:, high, low] = pairs
    matrix[:, range(number), range(number)] += np.where(missing, 1, penalty[places])
    right = np.asarray(gram[places.ravel(), np.repeat(targets, number)], np.float32).reshape(places.shape)
    right[missing] = 0
    factor = torch.linalg.cholesky(torch.from_numpy(matrix))
    return torch.cholesky_solve(torch.from_numpy(right).unsqueeze(2), factor).squeeze(2).numpy()
