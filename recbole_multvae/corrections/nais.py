"""RecBole's ``NAIS`` (He et al., TKDE 2018), whose training predicts a click from the user's other clicks.

RecBole 1.2.1 keeps the click itself in the history that predicts it (recbole/model/general_recommender/nais.py:249),
which the paper excludes: the model learns to look it up. A user without clicks has the score NaN.
"""

from __future__ import annotations

from typing import Any

import torch
from recbole.model.general_recommender.nais import NAIS
from torch import Tensor

from recbole_multvae.corrections.fism import init, other_clicks


def inter_forward(original: Any, model: Any, user: Tensor, item: Tensor) -> Tensor:
    """``inter_forward``: the logits of pairs of a user and an item, [number of pairs]."""
    history, mask = other_clicks(model, user, item)
    vectors, target = model.item_src_embedding(history), model.item_dst_embedding(item)
    similarity = torch.einsum("blk,bk->bl", vectors, target) * mask
    lengths = mask.sum(dim=1, keepdim=True)
    weighed = mask + (lengths == 0)  # The softmax divides by the sum of its weights, which must not be 0.
    logits = model.attention_mlp(vectors, target)
    scores: Tensor = model.mask_softmax(similarity, logits, model.bias[item], lengths.clamp(min=1), weighed)
    return scores


OWNER, REPLACED = NAIS, {"__init__": init, "inter_forward": inter_forward}
