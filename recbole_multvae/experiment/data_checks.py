"""What a configuration asks for, compared with the data set and with the parts that its split makes."""

from __future__ import annotations

from logging import getLogger
from typing import Any

import numpy as np
from recbole.config import Config
from recbole.utils import EvaluatorType, ModelType

from recbole_multvae.data.csr import distinct_clicks, ones
from recbole_multvae.errors import ConfigurationError, DataError


def check_data(data: Any, config: Config) -> None:
    """Compare with the whole data set.

    Raises:
        ConfigurationError: a key asks for more items than there are, or for times that are not loaded.
        DataError: there is too little to train and test.
    """
    name, time = config["dataset"], config["TIME_FIELD"]
    if len(data.inter_feat) < 2:
        raise DataError(f"The data set {name} has one interaction only: training and testing need two or more.")
    _check_topk(data, config)
    if config["eval_args"]["order"] == "TO" and not config["benchmark_filename"] and time not in data.inter_feat:
        raise ConfigurationError(
            f"eval_args order 'TO' sorts by the column {time}, which is not loaded: name the column of times with "
            "TIME_FIELD, and load it with load_col."
        )


def check_parts(parts: list[Any], config: Config) -> None:
    """Compare with the data sets for training, validation and test.

    Raises:
        ConfigurationError: a protocol leaves fewer items than ``topk``.
        DataError: nobody of the test is known, or somebody has every item that may be drawn.
    """
    train, _, test = parts
    _check_topk(train, config)
    if train.uid_field is None or config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
        return
    _check_popular(parts, config)
    if len(test) and not hasattr(test, "fold_in"):
        _check_users(train, test, config)
        _check_repeated(train, test)


def _check_topk(data: Any, config: Config) -> None:
    n_items = data.item_num - 1
    if config["eval_type"] == EvaluatorType.RANKING and max(config["topk"]) > n_items:
        raise ConfigurationError(
            f"topk={config['topk']!r} asks for more items than the {n_items} that the data set {config['dataset']} has: "
            "lower it, and valid_metric with it."
        )


def _check_popular(parts: list[Any], config: Config) -> None:
    """RecBole draws items by popularity until the user lacks one: for ever, where the user has all that were clicked."""
    modes = [mode for mode in config["eval_args"]["mode"].values() if mode.startswith("pop")]
    trained = (config["train_neg_sample_args"] or {}).get("distribution") == "popularity"
    if not (modes or trained):
        return
    clicks = [distinct_clicks(part) for part in parts]
    whole = ones(clicks[0] + clicks[1] + clicks[2])
    known = np.unique(whole.indices).size
    drawn = {f"eval_args mode={mode!r}": whole for mode in modes} | ({"train_neg_sample_args": clicks[0]} if trained else {})
    for key, used in drawn.items():
        if np.diff(used.indptr).max() >= known:
            raise DataError(
                f"{key} draws items that a user lacks by their popularity, and a user of {config['dataset']} has all "
                f"{known} items that anybody has: leave such users out with user_inter_num_interval='[1,{known - 1}]'."
            )


def _check_users(train: Any, test: Any, config: Config) -> None:
    tested = np.unique(test.inter_feat[train.uid_field].numpy())
    unknown = len(np.setdiff1d(tested, train.inter_feat[train.uid_field].numpy()))
    if unknown == len(tested):
        raise DataError(
            f"None of the {unknown} users of the test has an interaction in training, and nothing is known of them: look at "
            f"the split of the data set {config['dataset']}, or hold users out with eval_args split SG."
        )
    if unknown:
        getLogger().warning(f"{unknown:,} of {len(tested):,} users of the test have no interaction in training.")


def _check_repeated(train: Any, test: Any) -> None:
    fields = train.uid_field, train.iid_field
    users_and_items = [[part.inter_feat[field].numpy() for field in fields] for part in (train, test)]
    known, asked = (users * train.item_num + items for users, items in users_and_items)
    if repeated := int(np.isin(asked, known).sum()):
        getLogger().warning(
            f"{repeated:,} of {len(test):,} interactions of the test repeat a user and an item of training, and may be "
            "found again: rm_dup_inter=first keeps one of each."
        )
