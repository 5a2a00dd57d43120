"""Collecting the results of batches for RecBole's evaluator, from top-k lists or from whole rows of scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.evaluator import Collector
from recbole.evaluator.collector import DataStruct

from recbole_multvae.evaluation.ranking import Ranking, only_ranked

#: The collected values that have a row for each user.
ROWS_OF_USERS = ("rec.items", "rec.topk", "rec.meanrank")
#: Those that have a row for each record, in a labeled evaluation.
ROWS_OF_RECORDS = ("rec.score", "data.label")


def select_users(collected: DataStruct, users: np.ndarray) -> DataStruct:
    """The collected results of some users, by their rows, int64."""
    rows, selected = torch.from_numpy(users), DataStruct()
    for name, value in collected._data_dict.items():
        selected.set(name, value[rows] if name in ROWS_OF_USERS else value)
    return selected


class RankingCollector(Collector):
    """RecBole's collector, which also takes a :class:`.ranking.Ranking` in place of a matrix of scores."""

    def eval_batch_collect(self, scores: Any, interaction: Any, positive_u: Any, positive_i: Any) -> None:
        """Collect the results of a batch.

        Args:
            scores: the top-k lists of the batch, or the scores of all items, [B, I].
            interaction: the users of the batch.
            positive_u: the row of each positive, int64 [number of positives].
            positive_i: its item id; no pair occurs twice.
        """
        if not isinstance(scores, Ranking):
            super().eval_batch_collect(scores, interaction, positive_u, positive_i)
            self._end_lists(scores)
            return
        items, n_items = scores
        if self.register.need("rec.items"):
            self.data_struct.update_tensor("rec.items", items)
        if self.register.need("rec.topk"):
            rows = torch.arange(len(items), device=items.device).unsqueeze(1)
            positives = (positive_u * n_items + positive_i).to(items.device)
            hits = torch.isin(rows * n_items + items, positives).long()
            counts = torch.bincount(positive_u, minlength=len(items)).to(items.device)
            self.data_struct.update_tensor("rec.topk", torch.cat((hits, counts.unsqueeze(1)), dim=1))

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
