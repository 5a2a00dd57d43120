"""The order of each user's clicks in time, for a model that learns to predict later clicks from earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recbole_multvae.errors import ConfigurationError, DataError


def reads_order(config: Mapping[str, Any]) -> bool:
    """Whether the model of a configuration learns from the order of clicks: the key ``target``."""
    return config["target"] not in (None, "all")


def click_order(dataset: Any) -> np.ndarray:
    """The place of each distinct click among those of its user, from 0, by the time of the first click on the item.

    Clicks with equal times are in the order of the rows.

    Args:
        dataset: the data set of training, with exact times.

    Returns:
        int32 [N], in the order of the entries of a CSR matrix [n_users, n_items] with sorted columns.

    Raises:
        ConfigurationError: the column of times is not loaded.
    """
    config, time = dataset.config, dataset.time_field
    if time not in dataset.inter_feat:
        raise ConfigurationError(
            f"target={config['target']!r} learns from the order of the clicks, and the column {time} is not loaded: name "
            "the column of times with TIME_FIELD, and load it with load_col."
        )
    users, items, times = (dataset.inter_feat[name].numpy() for name in (dataset.uid_field, dataset.iid_field, time))
    by_time = np.lexsort((times if times.ndim == 1 else times[:, 0], users))
    pairs = (users * dataset.item_num + items)[by_time]
    distinct, first = np.unique(pairs, return_index=True)
    kept = np.sort(first)  # The first clicks on an item, user after user in order of time.
    starts = np.searchsorted(users[by_time][kept], distinct // dataset.item_num)
    places: np.ndarray = np.searchsorted(kept, first) - starts
    return places.astype(np.int32)


def order_of(dataset: Any) -> np.ndarray:
    """The result of :func:`click_order` that the split left in a data set of training.

    Raises:
        DataError: another way of splitting made this data set, and its times are rounded.
    """
    order: np.ndarray | None = getattr(dataset, "click_order", None)
    if order is None:
        raise DataError(
            f"target={dataset.config['target']!r} learns from the exact order of the clicks, which only RecBole's "
            "data_preparation keeps: split the data with it."
        )
    return order
