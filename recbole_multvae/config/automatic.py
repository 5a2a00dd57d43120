"""The values of keys that are left at ``auto``. The rules below compute them from the size of the training data.

The paper's sizes are for 116,000 users and more: its batch of 500 gives 233 updates per epoch there, but 2 on ml-100k. The
rules were chosen by validation on ml-100k, ml-1m and gowalla together (benchmarks/JOURNAL.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from logging import getLogger
from typing import Any, NamedTuple

AUTO = "auto"
#: Updates per epoch, and the smallest and the largest batch.
UPDATES_PER_EPOCH, LEAST_BATCH, MOST_BATCH = 24, 50, 500
#: Adam's learning rate grows with the batch, within these bounds. Other learners get RecBole's default.
RATE_PER_USER, LEAST_RATE, MOST_RATE, OTHER_RATE = 8e-6, 0.002, 0.003, 0.001
#: Updates from one validation to the next (``stopping_step: 10`` waits for ten times as many), and the smallest number of
#: validations in a training of few ``epochs``.
UPDATES_PER_VALIDATION, LEAST_VALIDATIONS = 100, 10
#: With fewer clicks per item, a hidden layer overfits: the item's row of the first layer is learnt from its clicks.
CLICKS_FOR_DEPTH = 100
#: Neighbours of an item, while all of them take no more entries than MOST_ENTRIES, but LEAST_NEIGHBOURS in any case.
MOST_NEIGHBOURS, LEAST_NEIGHBOURS, MOST_ENTRIES = 200, 20, 4_000_000
#: The L2 penalty of a local ridge falls with the number of items, within these bounds: of more items, each has fewer clicks.
PENALTY_TIMES_ITEMS, LEAST_PENALTY, MOST_PENALTY = 2_000_000, 20, 300


class Size(NamedTuple):
    """How large the training data are."""

    users: int
    items: int
    clicks: int


def _hidden_sizes(keys: Mapping[str, Any], size: Size) -> tuple[list[int], str]:
    clicks = size.clicks / size.items
    return [600] if clicks >= CLICKS_FOR_DEPTH else [], f"{clicks:.0f} clicks an item; [600] from {CLICKS_FOR_DEPTH} on"


def _batch_size(keys: Mapping[str, Any], size: Size) -> tuple[int, str]:
    batch = min(max(size.users // UPDATES_PER_EPOCH, LEAST_BATCH), MOST_BATCH)
    return batch, f"users / {UPDATES_PER_EPOCH}, from {LEAST_BATCH} to {MOST_BATCH}"


def _learning_rate(keys: Mapping[str, Any], size: Size) -> tuple[float, str]:
    if keys["learner"].lower() not in ("adam", "sparse_adam"):
        return OTHER_RATE, f"learner={keys['learner']}"
    rate = min(max(keys["train_batch_size"] * RATE_PER_USER, LEAST_RATE), MOST_RATE)
    return round(rate, 6), f"train_batch_size * {RATE_PER_USER:g}, from {LEAST_RATE:g} to {MOST_RATE:g}"


def _eval_step(keys: Mapping[str, Any], size: Size) -> tuple[int, str]:
    updates = math.ceil(size.users / keys["train_batch_size"])
    epochs = max(1, min(round(UPDATES_PER_VALIDATION / updates), keys["epochs"] // LEAST_VALIDATIONS))
    return epochs, f"about {UPDATES_PER_VALIDATION} updates, and {LEAST_VALIDATIONS} validations in epochs={keys['epochs']}"


def _neighbours(keys: Mapping[str, Any], size: Size) -> tuple[int, str]:
    number = min(max(MOST_ENTRIES // size.items, LEAST_NEIGHBOURS), MOST_NEIGHBOURS)
    return number, f"{MOST_ENTRIES:,} entries / items, from {LEAST_NEIGHBOURS} to {MOST_NEIGHBOURS}"


def _reg_weight(keys: Mapping[str, Any], size: Size) -> tuple[float, str]:
    penalty = min(max(PENALTY_TIMES_ITEMS / size.items, LEAST_PENALTY), MOST_PENALTY)
    return float(round(penalty)), f"{PENALTY_TIMES_ITEMS:,} / items, from {LEAST_PENALTY} to {MOST_PENALTY}"


#: The rules by key, in order: a rule may read the values that earlier rules chose.
RULES: dict[str, Callable[[Mapping[str, Any], Size], tuple[Any, str]]] = {
    "mlp_hidden_size": _hidden_sizes,
    "train_batch_size": _batch_size,
    "learning_rate": _learning_rate,
    "eval_step": _eval_step,
    "neighbours": _neighbours,
    "reg_weight": _reg_weight,
}


def resolve_auto(config: Any, train: Any) -> None:
    """Replace every ``auto`` of a configuration by a value, and log the values with their reasons.

    Args:
        config: RecBole's ``Config``; changed in place, so that the checkpoint holds the values.
        train: RecBole's data set for training.
    """
    keys = [key for key in RULES if config[key] == AUTO]
    if not keys:
        return
    users = train.inter_feat[train.uid_field].unique()
    cold = getattr(train, "cold_items", None)  # They are unseen in training.
    size = Size(len(users), train.item_num - 1 - (cold.count if cold else 0), train.inter_num)
    chosen = ""
    for key in keys:
        config[key], why = RULES[key](config.final_config_dict, size)
        chosen += f"\n    {key}: {config[key]}  ({why})"
    getLogger().info(
        f"Left at auto, and chosen for {size.users} users, {size.items} items and {size.clicks} clicks of training:{chosen}"
    )
