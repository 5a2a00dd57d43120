"""Checks of a configuration against the data set, and against the parts that its split makes."""

from __future__ import annotations

from logging import getLogger
from typing import Any

import numpy as np
from recbole.config import Config
from recbole.utils import EvaluatorType, ModelType

from recbole_multvae.data.csr import distinct_clicks, ones
from recbole_multvae.data.memory import check_memory
from recbole_multvae.errors import ConfigurationError, DataError

#: Bytes for each pair of items that RecBole's models take at their peak, in float64 from NumPy's inverse (measured). Models
#: of this package say theirs themselves.
BYTES_OF_A_PAIR = {"EASE": 36, "ADMMSLIM": 44}


def check_data(data: Any, config: Config) -> None:
    """Check a configuration against the whole data set.

    Raises:
        ConfigurationError: a key needs more items than there are, or times that are not loaded.
        DataError: there are too few interactions to train and test.
    """
    name, time = config["dataset"], config["TIME_FIELD"]
    if len(data.inter_feat) < 2:
        raise DataError(f"The data set {name} has one interaction only: training and testing need two or more.")
    _check_topk(data, config)
    if config["eval_args"]["order"] == "TO" and not config["benchmark_filename"] and time not in data.inter_feat:
        otherwise = ", or take order RO with clicks that the checkpoint does not know" if config["warm_start"] else ""
        raise ConfigurationError(
            f"eval_args order 'TO' sorts by the column {time}, which is not loaded: name the column of times with "
            f"TIME_FIELD, and load it with load_col{otherwise}."
        )


def check_parts(parts: list[Any], config: Config) -> None:
    """Check a configuration against the data sets for training, validation and test.

    Raises:
        ConfigurationError: a protocol leaves fewer items than ``topk``.
        DataError: no user of the test is in training, or a user has every item that may be drawn as a negative.
        TrainingError: a model of RecBole needs more memory than is available.
    """
    train, _, test = parts
    _check_topk(train, config)
    if config["model"] in BYTES_OF_A_PAIR:
        check_memory(config["model"], train.item_num - 1, BYTES_OF_A_PAIR[config["model"]] * train.item_num**2)
    if train.uid_field is None or config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
        return
    check_popular(parts, config)
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


def check_popular(parts: list[Any], config: Config) -> None:
    """Refuse users to whom no item is new, where items are drawn by popularity until one is: RecBole would never end.

    Raises:
        DataError: a user has every item that anybody has.
    """
    modes = [mode for mode in config["eval_args"]["mode"].values() if mode.startswith("pop")]
    in_training = (config["train_neg_sample_args"] or {}).get("distribution") == "popularity"
    if not (modes or in_training):
        return
    clicks = [distinct_clicks(part) for part in parts]
    whole = ones(clicks[0] + clicks[1] + clicks[2])
    n_clicked = np.unique(whole.indices).size
    used = {f"eval_args mode={mode!r}": whole for mode in modes}
    used |= {"train_neg_sample_args": clicks[0]} if in_training else {}
    for key, user_items in used.items():
        if np.diff(user_items.indptr).max() >= n_clicked:
            raise DataError(
                f"{key} draws items that a user lacks by their popularity, and a user of {config['dataset']} has all "
                f"{n_clicked} items that anybody has: leave such users out with "
                f"user_inter_num_interval='[1,{n_clicked - 1}]'."
            )


def _check_users(train: Any, test: Any, config: Config) -> None:
    tested = np.unique(test.inter_feat[train.uid_field].numpy())
    unknown = len(np.setdiff1d(tested, train.inter_feat[train.uid_field].numpy()))
    if unknown == len(tested):
        raise DataError(
            f"None of the {unknown} users of the test has an interaction in training, so that nothing can be recommended to "
            f"them: change the split of the data set {config['dataset']}, or hold users out with eval_args split SG."
        )
    if unknown:
        getLogger().warning(f"{unknown:,} of {len(tested):,} users of the test have no interaction in training.")


def _check_repeated(train: Any, test: Any) -> None:
    fields = train.uid_field, train.iid_field
    users_and_items = [[part.inter_feat[field].numpy() for field in fields] for part in (train, test)]
    train_pairs, test_pairs = (users * train.item_num + items for users, items in users_and_items)
    if repeated := int(np.isin(test_pairs, train_pairs).sum()):
        getLogger().warning(
            f"{repeated:,} of {len(test):,} interactions of the test repeat a user and an item of training, and may be "
            "found again: rm_dup_inter=first keeps one of each."
        )
