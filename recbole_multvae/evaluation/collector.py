"""What RecBole's evaluator is given of a batch, from top-k lists in place of whole rows of scores."""

from __future__ import annotations

from typing import Any

import torch
from recbole.evaluator import Collector

from recbole_multvae.evaluation.ranking import Ranking, only_ranked

#: What RecBole's evaluator is given of a user in a row of its own.
ROWS_OF_USERS = ("rec.items", "rec.topk", "rec.meanrank")
#: The same of a record, in a labeled evaluation.
ROWS_OF_RECORDS = ("rec.score", "data.label")


class RankingCollector(Collector):
    """RecBole's collector, which also takes a :class:`.ranking.Ranking` in place of a matrix of scores."""

    def eval_batch_collect(self, scores: Any, interaction: Any, positive_u: Any, positive_i: Any) -> None:
        """Collect a batch. See RecBole's ``Collector.eval_batch_collect``.

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
        """End the lists of the last batch where the items to rank end: see :func:`.ranking.only_ranked`."""
        if self.register.need("rec.items"):
            items = self.data_struct.get("rec.items")[-len(scores) :]
            items.copy_(only_ranked(items, scores))

    def get_data_struct(self) -> Any:
        """What was collected. RecBole asks each entry for its ``.cpu()``, which the number of items does not have."""
        held = self.data_struct._data_dict
        numbers = {name: held.pop(name) for name in list(held) if not isinstance(held[name], torch.Tensor)}
        struct = super().get_data_struct()
        held.update(numbers)
        struct._data_dict.update(numbers)
        return struct
