"""RecBole's ``Random``, which draws a list for each user.

RecBole 1.2.1 draws one for all users of a batch (recbole/model/general_recommender/random.py:42), so that metrics
depend on how many users are ranked at once, and draws anew at each evaluation.
"""

from __future__ import annotations

from typing import Any

import torch
from recbole.model.general_recommender.random import Random
from torch import Tensor


def init(original: Any, model: Any, config: Any, dataset: Any) -> None:
    """``__init__``, which also keeps the seed."""
    original(model, config, dataset)
    model.seed = config["seed"]


def full_sort_predict(original: Any, model: Any, interaction: Any) -> Tensor:
    """``full_sort_predict``: the scores of all items for each user, which depend on the user and the seed alone."""
    users = interaction[model.USER_ID].tolist()
    generators = [torch.Generator().manual_seed(model.seed * model.n_users + user) for user in users]
    return torch.cat([torch.rand(model.n_items, generator=generator) for generator in generators])


OWNER, REPLACED = Random, {"__init__": init, "full_sort_predict": full_sort_predict}
