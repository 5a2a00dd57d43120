"""RecBole's ``FISM`` (Kabbur et al., KDD 2013), whose training predicts a click from the user's other clicks.

RecBole 1.2.1 keeps the click itself in the history that predicts it (recbole/model/general_recommender/fism.py:125),
which its own docstring and the paper exclude. Its loss takes logits and gets probabilities (line 137), so that it
cannot fall below .5. A user without clicks has the score NaN with ``alpha`` above 0.
"""

from __future__ import annotations

from typing import Any

import torch
from recbole.model.general_recommender.fism import FISM
from torch import Tensor


def init(original: Any, model: Any, config: Any, dataset: Any) -> None:
    """``__init__``: an empty history is one of the padding item, whose vector is zero."""
    original(model, config, dataset)
    model.history_lens = model.history_lens.clamp(min=1)
    with torch.no_grad():
        model.item_src_embedding.weight[0] = 0


def inter_forward(original: Any, model: Any, user: Tensor, item: Tensor) -> Tensor:
    """``inter_forward``: the logits of pairs of a user and an item, [number of pairs]."""
    history, mask = other_clicks(model, user, item)
    sums = torch.einsum("blk,bl->bk", model.item_src_embedding(history), mask)
    scale = mask.sum(dim=1).clamp(min=1) ** -model.alpha
    products = (sums * model.item_dst_embedding(item)).sum(dim=1)
    scores: Tensor = scale * products + model.user_bias[user] + model.item_bias[item]
    return scores


def other_clicks(model: Any, user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
    """The histories of users, padded with 0, and 1 for each click but that on ``item``; [number of pairs, length]."""
    history = model.history_item_matrix[user]
    return history, model.mask_mat[user] * (history != item.unsqueeze(1))


OWNER, REPLACED = FISM, {"__init__": init, "inter_forward": inter_forward}
