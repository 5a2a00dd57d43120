"""Exact times until the data are split, for every model and every split by time.

RecBole makes times float32 before it sorts (``recbole/data/dataset/dataset.py:_dataframe_to_interaction``), and float32
cannot tell apart today's seconds that are less than two minutes from each other. Here the column stays exact until the data
are split. Interactions with equal times stay in the order of the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from logging import getLogger
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.utils import FeatureType

from recbole_multvae.data.click_order import reads_order
from recbole_multvae.data.interaction_counts import amount
from recbole_multvae.data.normalization import normalizing_key, times_in_file
from recbole_multvae.data.protocols import chosen
from recbole_multvae.errors import DataError


def orders_by_time(config: Any) -> bool:
    """Whether the split, the choice between repeated interactions, or the training depends on times."""
    if reads_order(config):
        return True
    return not config["benchmark_filename"] and (config["eval_args"]["order"] == "TO" or config["rm_dup_inter"] is not None)


def check_times(dataset: Any) -> None:
    """Refuse times that are missing or not numbers, if :func:`orders_by_time`.

    RecBole would take the mean of the others for a missing time, and the order of the file for times of another type.

    Raises:
        DataError: says how many times are missing, or their type.
    """
    feat, time = dataset.inter_feat, dataset.time_field
    if time not in feat or not orders_by_time(dataset.config):
        return
    if dataset.field2type[time] is not FeatureType.FLOAT:
        raise DataError(
            f"The column {time} of {dataset.dataset_name} is of type {dataset.field2type[time].value}, and the order of "
            f"time decides: make it numbers, {time}:float."
        )
    if key := _merges_times(dataset.config, time, feat[time]):
        raise DataError(
            f"{key} would make different times of {dataset.dataset_name} equal, and the order of time decides: leave the "
            f"column {time} out of it."
        )
    if missing := int(feat[time].isna().sum()):
        raise DataError(
            f"{dataset.dataset_name} lacks the {time} of {amount(missing, 'interaction')}, and the order of time decides: "
            "fill the column, or take eval_args order RO and no rm_dup_inter."
        )


def _merges_times(config: Any, time: str, times: pd.Series) -> str | None:
    """The key that would round the times before they are sorted; None if no key does."""
    if time in (config["discretization"] or {}):
        return "discretization"
    return normalizing_key(config, time) if times.dtype == np.int64 else None


def change_format(original: Any, dataset: Any) -> None:
    """RecBole's ``Dataset._change_feat_format``, after which the times are still exact: float64 or int64."""
    feat, time = dataset.inter_feat, dataset.time_field
    exact = _exact(feat[time]) if time in feat else None
    if exact is not None and exact.dtype == np.int64:
        feat[time] = exact.astype(np.float64)
    original(dataset)
    if exact is not None:
        dataset.inter_feat.interaction[time] = torch.from_numpy(exact)


def _exact(times: pd.Series) -> np.ndarray | None:
    """The numbers of the column, [N]; [N, 2] if it is among ``numerical_features``; None if it holds no numbers."""
    values = np.array(times.tolist()) if times.dtype == object else times.to_numpy(copy=True)
    return values if values.dtype in (np.float64, np.int64) else None


def to_float32(parts: Iterable[Any]) -> None:
    """Make the times of data sets float32, as RecBole's models expect them, after the split."""
    for part in parts:
        for interactions in filter(None, (part.inter_feat, getattr(part, "sequences", None))):
            columns = interactions.interaction
            for name in (part.time_field, f"{part.time_field}{part.config['LIST_SUFFIX']}"):
                if name in columns and part.field2type[name] in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ):
                    columns[name] = columns[name].float()


def remove_duplication(original: Any, dataset: Any) -> None:
    """RecBole's ``Dataset._remove_duplication`` with a stable sort: equal times stay in the order of the file."""
    keep, feat, time = dataset.config["rm_dup_inter"], dataset.inter_feat, dataset.time_field
    if keep is None or time not in feat:
        original(dataset)
        return
    dataset._check_field("uid_field", "iid_field")
    feat.sort_values(by=[time], kind="stable", inplace=True)
    feat.drop_duplicates(subset=[dataset.uid_field, dataset.iid_field], keep=keep, inplace=True)


def time_based_split(original: Any, dataset: Any, *args: Any, **kwargs: Any) -> list[Any]:
    """RecBole's ``Dataset.time_based_split``, after a sort by time: RecBole's is right for sorted rows only."""
    getLogger().info(
        "eval_args split TS takes the interactions in order of time, and cuts the test off at one time for all."
    )
    dataset.sort(by=dataset.time_field)
    columns, time = dataset.inter_feat.interaction, dataset.time_field
    if columns[time].dim() > 1:  # It is among numerical_features.
        return original(dataset, *args, **kwargs)
    # RecBole computes where to cut in float64, which holds the ranks of all times exactly, but not all times.
    values, ranks = torch.unique(columns[time], return_inverse=True)
    columns[time] = ranks.double()
    parts = original(dataset, *args, **kwargs)
    for part in (dataset, *parts):
        part.inter_feat.interaction[time] = values[part.inter_feat[time].long()]
    return parts


def order_by_time(config: Any) -> None:
    """Let a split at a time order by time: RecBole's default order, RO, would mix past and future."""
    args, protocol = config["eval_args"], chosen(config)
    at_a_time = protocol.by_time if protocol else "TS" in (args["split"] or {})
    if at_a_time and not config["benchmark_filename"]:
        args["order"] = "TO"


def first_clicks(dataset: Any) -> np.ndarray | None:
    """The time of the first click on each item, float64 [n_items]; NaN without clicks. None if times are not loaded.

    Args:
        dataset: the data set of training, with exact times.
    """
    if not {dataset.time_field, dataset.iid_field} <= set(dataset.inter_feat.columns):
        return None
    items, times = (dataset.inter_feat[name].numpy() for name in (dataset.iid_field, dataset.time_field))
    first = np.full(dataset.item_num, np.inf)
    np.minimum.at(first, items, (times if times.ndim == 1 else times[:, 0]).astype(np.float64))
    first[np.isinf(first)] = np.nan
    return times_in_file(dataset, first)
