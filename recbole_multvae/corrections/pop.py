"""RecBole's ``Pop``, whose popularity of an item is the number of its training clicks.

RecBole 1.2.1 raises the counts of a batch's items by one each (recbole/model/general_recommender/pop.py:47): an item that a
batch holds many times counts once, so that popular items all have the number of batches. Drawn negatives count too.
"""

from __future__ import annotations

from typing import Any

import torch
from recbole.model.general_recommender.pop import Pop


def init(original: Any, model: Any, config: Any, dataset: Any) -> None:
    """``__init__``, which also keeps where a batch says what is a click and what a negative."""
    original(model, config, dataset)
    model.LABEL = config["LABEL_FIELD"]


def count_clicks(original: Any, model: Any, interaction: Any) -> Any:
    """``calculate_loss``: count the clicks of a batch. RecBole's own then counts nothing more, and finds the maximum."""
    items = interaction[model.ITEM_ID]
    if model.LABEL in interaction:
        items = items[interaction[model.LABEL] > 0]
    model.item_cnt += torch.bincount(items, minlength=model.n_items).unsqueeze(1)
    return original(model, interaction[:0])


OWNER, REPLACED = Pop, {"__init__": init, "calculate_loss": count_clicks}
