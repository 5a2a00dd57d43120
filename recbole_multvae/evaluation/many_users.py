"""Evaluation of RecBole's models, many users at once.

RecBole 1.2.1 ranks ``eval_batch_size // n_items`` users in a batch, which is one for its default and any real catalogue, and
its collector reads whole rows of scores (``recbole/trainer/trainer.py``, ``recbole/evaluator/collector.py``). Here a batch
has as many users as fit in ``eval_memory``, and the collector gets their top-k lists. The scores still come from the model's
``full_sort_predict``, and the metrics from RecBole's evaluator.
"""

from __future__ import annotations

from typing import Any

from recbole.model.abstract_recommender import AbstractRecommender
from recbole.trainer import Trainer
from recbole.utils import ModelType
from typing_extensions import override

from recbole_multvae.data.loaders import BatchedFullSortEvalDataLoader, reads_top_k_only
from recbole_multvae.evaluation import ranking


def scores_users(model_class: Any) -> bool:
    """Whether a model of RecBole's is a general recommender that scores all items for a user at once.

    NeuMF, NNCF and ConvNCF do not: they score one pair of a user and an item after the other.
    """
    general = getattr(model_class, "type", None) in (ModelType.GENERAL, ModelType.TRADITIONAL)
    return general and model_class.full_sort_predict is not AbstractRecommender.full_sort_predict


class RanksManyUsers(Trainer):
    """Overrides for any trainer of RecBole: put this class before it among the bases.

    They act on loaders of many users; with any other loader the evaluation is RecBole's.
    """

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        self._k = 0

    @override
    def evaluate(self, eval_data: Any, *args: Any, **kwargs: Any) -> Any:
        top_k_only = reads_top_k_only(self.config) and isinstance(eval_data, BatchedFullSortEvalDataLoader)
        self._k = max(self.config["topk"]) if top_k_only else 0
        return super().evaluate(eval_data, *args, **kwargs)

    def _full_sort_batch_eval(self, batch: Any) -> Any:
        interaction, scores, *positives = super()._full_sort_batch_eval(batch)
        if self._k:
            items = ranking.only_ranked(ranking.top_k(scores, self._k), scores)
            scores = ranking.Ranking(items, self.tot_item_num)
        return interaction, scores, *positives
