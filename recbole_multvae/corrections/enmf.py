"""RecBole's ``ENMF``, for which padding is no click.

RecBole 1.2.1 pads histories with item 0, and its initialisation gives this item, and user 0, a random vector that is
never trained (recbole/model/general_recommender/enmf.py:53): every place of padding counts as a click on it. In the
authors' code padding has no part in the loss (Chen et al., TOIS 2020).
"""

from __future__ import annotations

from typing import Any

import torch
from recbole.model.general_recommender.enmf import ENMF


def init(original: Any, model: Any, config: Any, dataset: Any) -> None:
    """``__init__``: the vectors of padding are zero, and have no gradients."""
    original(model, config, dataset)
    with torch.no_grad():
        model.item_embedding.weight[0] = 0
        model.user_embedding.weight[0] = 0


OWNER, REPLACED = ENMF, {"__init__": init}
