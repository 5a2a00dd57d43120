"""RecBole's ``GCMC``, which ranks by the probability of a click.

RecBole 1.2.1 ranks by the logit of the class "click" alone (recbole/model/general_recommender/gcmc.py:220, 229). The
loss knows only the difference of the two logits: with some seeds this logit falls where the difference rises, and the
ranking is reversed. The difference is the logit of the probability by which the paper predicts (van den Berg et al.,
2017).
"""

from __future__ import annotations

from typing import Any

from recbole.model.general_recommender.gcmc import GCMC
from torch import Tensor


def predict(original: Any, model: Any, interaction: Any) -> Tensor:
    """``predict``: the scores of pairs of a user and an item."""
    return _scores(model, interaction[model.USER_ID], interaction[model.ITEM_ID])


def full_sort_predict(original: Any, model: Any, interaction: Any) -> Tensor:
    """``full_sort_predict``: the scores of all items for each user."""
    return _scores(model, interaction[model.USER_ID], None)


def _scores(model: Any, users: Tensor, items: Tensor | None) -> Tensor:
    logits: Tensor = model(model.user_features, model.item_features, users, items)
    return logits[:, 1] - logits[:, 0]


OWNER, REPLACED = GCMC, {"predict": predict, "full_sort_predict": full_sort_predict}
