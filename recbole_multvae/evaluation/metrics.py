"""Metrics that RecBole does not have, for ``metrics: [...]`` of any model.

The paper (Liang et al., WWW 2018, section 4.2) has two. Its NDCG@R is RecBole's ``NDCG``: both divide by the best that is
possible with min(R, |I_u|) items. Its Recall@R is not RecBole's ``Recall``: it is ``CappedRecall`` here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from recbole.evaluator.base_metric import TopkMetric


class CappedRecall(TopkMetric):
    """The paper's Recall@R: the items found among the R best, over min(R, |I_u|), the mean over users.

    ``|I_u|`` is the number of items to be found for user u. RecBole's ``Recall`` divides by ``|I_u|`` itself, so that a user
    with more than R items to be found cannot reach 1. The two are equal for users with R items or fewer.
    """

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """The values at each k of ``topk``, by names such as ``cappedrecall@20``."""
        return self.topk_result("cappedrecall", self.metric_info(*self.used_info(dataobject)))

    def metric_info(self, pos_index: np.ndarray, pos_len: np.ndarray) -> np.ndarray:
        """The recall of every user at 1, 2, ..., float [users, k].

        Args:
            pos_index: whether the item at each place of the ranking is one to be found, bool [users, k].
            pos_len: how many are to be found, at least 1, int [users].
        """
        places = np.arange(1, pos_index.shape[1] + 1)
        return pos_index.cumsum(axis=1) / np.minimum(places, pos_len[:, None])


METRICS = (CappedRecall,)
