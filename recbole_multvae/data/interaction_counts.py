"""Log lines that say how many interactions each step of the preparation leaves out, and how many each part has."""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from typing import Any

import pandas as pd

#: RecBole's methods that filter interactions, and the keys that each reads.
FILTERS = {
    "_remove_duplication": ("rm_dup_inter",),
    "_filter_by_field_value": ("val_interval",),
    "_filter_inter_by_user_or_item": ("filter_inter_by_user_or_item",),
    "_filter_by_inter_num": ("user_inter_num_interval", "item_inter_num_interval"),
}
#: The interval of numbers of interactions that leaves nothing out.
_ALL = "[0,inf)"


def amount(count: int, noun: str) -> str:
    """A number with its noun: ``1 row``, ``2,000 rows``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def log_left_out(keys: tuple[str, ...], step: Callable[[], None], dataset: Any) -> None:
    """Run a step of RecBole's filtering, and log how many interactions it leaves out.

    Args:
        keys: those that the step reads.
        step: filters the data set.
        dataset: RecBole's.
    """
    before = len(dataset.inter_feat)
    step()
    after = len(dataset.inter_feat)
    if after < before:
        values = " and ".join(f"{key}={dataset.config[key]!r}" for key in keys if dataset.config[key] not in (None, _ALL))
        getLogger().info(f"{values} leaves out {before - after:,} of {before:,} interactions: {after:,} are left.")


def log_repeated(dataset: Any) -> None:
    """Log how many interactions repeat the user and the item of an earlier one. Users and items must have their ids."""
    feat, user, item = dataset.inter_feat, dataset.uid_field, dataset.iid_field
    if user is None or user not in feat or item not in feat:
        return
    pairs = feat[user].to_numpy() * dataset.item_num + feat[item].to_numpy()
    if repeated := int(pd.Series(pairs).duplicated().sum()):
        getLogger().info(
            f"{repeated:,} of {len(feat):,} interactions repeat a user and an item: rm_dup_inter=first keeps one."
        )


def log_parts(parts: list[Any]) -> None:
    """Log how many interactions each part of the split has."""
    train, valid, test = (f"{len(part):,}" for part in parts)
    getLogger().info(f"The split has {train} interactions for training, {valid} for validation and {test} for the test.")
