"""RecBole's ``AsymKNN`` (Aiolli, RecSys 2013), whose keys ``q`` and ``beta`` do what the paper says.

RecBole 1.2.1 takes the whole score to the power q (recbole/model/general_recommender/asymknn.py:218), which changes no
ranking: in the paper, each weight w is w^q. With ``knn_method: item`` it multiplies by the columns of w and divides by
the norms of its rows (line 211): with ``beta`` below 1, items that are in no list of neighbours come first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from recbole.model.general_recommender.asymknn import AsymKNN
from scipy.sparse import csr_matrix


def init(original: Any, model: Any, config: Any, dataset: Any) -> None:
    """``__init__``, and then the paper's scores, where RecBole's differ."""
    original(model, config, dataset)
    if model.q == 1 and (model.method == "user" or model.beta == 1):
        return
    clicks, weights = model.interaction_matrix, model.w.power(model.q)
    scores = weights @ clicks if model.method == "user" else clicks @ weights
    users = _norms(weights if model.method == "user" else clicks, axis=1) ** (2 * model.beta)
    items = _norms(clicks if model.method == "user" else weights, axis=0) ** (2 * (1 - model.beta))
    model.pred_mat = csr_matrix(scores.multiply(1 / (np.outer(users, items) + 1e-6))).tolil()


def _norms(matrix: csr_matrix, axis: int) -> np.ndarray:
    norms: np.ndarray = np.sqrt(np.asarray(matrix.power(2).sum(axis=axis)).ravel())
    return norms


OWNER, REPLACED = AsymKNN, {"__init__": init}
