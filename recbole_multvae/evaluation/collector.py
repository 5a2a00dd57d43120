"""Collecting the results of batches for RecBole's evaluator, from top-k lists or from whole rows of scores.

``B`` users in the batch, ``k`` positions of the longest list, ``I`` items with RecBole's padding item.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.evaluator import Collector
from recbole.evaluator.collector import DataStruct

from recbole_multvae.data.csr import distinct_clicks
from recbole_multvae.evaluation.item_vectors import item_vectors
from recbole_multvae.evaluation.propensities import InversePropensities
from recbole_multvae.evaluation.ranking import Ranking, only_ranked

#: The collected values that have a row for each user.
ROWS_OF_USERS = ("rec.items", "rec.topk", "rec.meanrank", "rec.weights")
#: Those that have a row for each record, in a labeled evaluation.
ROWS_OF_RECORDS = ("rec.score", "data.label")
#: Weights of the hits, 0 at other positions, and the sum of the weights of all relevant items; float64 [B, k + 1].
WEIGHTS = "rec.weights"
#: A vector for each item, of length 1 or 0, whose products are the items' similarities; CSR [I, ...].
VECTORS = "data.vectors"
#: The share of training's users who clicked each item, at least that of one user; float64 [I].
SHARES = "data.shares"


def select_users(collected: DataStruct, users: np.ndarray) -> DataStruct:
    """The collected results of some users, by their rows, int64."""
    rows, selected = torch.from_numpy(users), DataStruct()
    for name, value in collected._data_dict.items():
        selected.set(name, value[rows] if name in ROWS_OF_USERS else value)
    return selected


class RankingCollector(Collector):
    """RecBole's collector, which also takes a :class:`.ranking.Ranking` in place of a matrix of scores.

    It collects what the metrics of this package need besides: :data:`WEIGHTS`, :data:`VECTORS` and :data:`SHARES`.
    """

    def data_collect(self, train_data: Any) -> None:
        """Collect what metrics need from training.

        Raises:
            ConfigurationError: a key names a column that is not there.
            DataError: a column has values that are not allowed.
        """
        super().data_collect(train_data)
        if self.register.need(WEIGHTS):
            self.weights = InversePropensities(self.config, train_data.dataset)
        if self.register.need(VECTORS):
            self.data_struct.set(VECTORS, item_vectors(self.config, train_data.dataset))
        if self.register.need(SHARES):
            users = np.maximum(distinct_clicks(train_data.dataset).getnnz(axis=0), 1)
            self.data_struct.set(SHARES, torch.from_numpy(users / (train_data.dataset.user_num - 1)))

    def begin(self, eval_data: Any) -> None:
        """Prepare for the batches of a loader."""
        if self.register.need(WEIGHTS):
            self.weights.of_part(eval_data)

    def eval_batch_collect(self, scores: Any, interaction: Any, positive_u: Any, positive_i: Any) -> None:
        """Collect the results of a batch.

        Args:
            scores: the top-k lists of the batch, or the scores of all items, [B, I].
            interaction: the users of the batch.
            positive_u: the row of each positive, int64 [number of positives].
            positive_i: its item id; no pair occurs twice.
        """
        if isinstance(scores, Ranking):
            self._collect_ranking(scores, positive_u, positive_i)
        else:
            super().eval_batch_collect(scores, interaction, positive_u, positive_i)
            self._end_lists(scores)
        if self.register.need(WEIGHTS):
            pairs = np.unique(
                [positive_u.cpu().numpy(), positive_i.cpu().numpy()], axis=1
            )  # With sampled items some repeat.
            self._collect_weights(interaction[self.config["USER_ID_FIELD"]].cpu().numpy(), *pairs)

    def _collect_ranking(self, ranking: Ranking, positive_u: Any, positive_i: Any) -> None:
        items, n_items = ranking
        if self.register.need("rec.items"):
            self.data_struct.update_tensor("rec.items", items)
        if self.register.need("rec.topk"):
            rows = torch.arange(len(items), device=items.device).unsqueeze(1)
            positives = (positive_u * n_items + positive_i).to(items.device)
            hits = torch.isin(rows * n_items + items, positives).long()
            counts = torch.bincount(positive_u, minlength=len(items)).to(items.device)
            self.data_struct.update_tensor("rec.topk", torch.cat((hits, counts.unsqueeze(1)), dim=1))

    def _collect_weights(self, users: np.ndarray, positive_u: np.ndarray, positive_i: np.ndarray) -> None:
        sums = np.bincount(positive_u, self.weights(users, positive_u, positive_i))  # Every user has a positive.
        items, topk = (self.data_struct.get(name)[-len(sums) :].cpu().numpy() for name in ("rec.items", "rec.topk"))
        rows, places = np.nonzero(topk[:, :-1])
        hits = np.zeros(items.shape)
        hits[rows, places] = self.weights(users, rows, items[rows, places])
        self.data_struct.update_tensor(WEIGHTS, torch.from_numpy(np.column_stack((hits, sums))))

    def _end_lists(self, scores: Any) -> None:
        """Remove masked items from the lists of the last batch: see :func:`.ranking.only_ranked`."""
        if self.register.need("rec.items"):
            items = self.data_struct.get("rec.items")[-len(scores) :]
            items.copy_(only_ranked(items, scores))

    def get_data_struct(self) -> Any:
        """The collected results. RecBole calls ``.cpu()`` on every value, which the number of items does not have."""
        values = self.data_struct._data_dict
        numbers = {name: values.pop(name) for name in list(values) if not isinstance(values[name], torch.Tensor)}
        struct = super().get_data_struct()
        values.update(numbers)
        struct._data_dict.update(numbers)
        return struct
