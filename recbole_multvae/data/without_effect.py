"""Keys and columns that would have no effect are refused. The error names the key that has the effect.

RecBole reads ``threshold`` and a column of labels only for models that learn from labels, and for evaluation in the mode
``labeled``. All other models take every row for a click. With ``benchmark_filename`` RecBole filters nothing. Only
sequential models read histories in a column of lists.
"""

from __future__ import annotations

import inspect
from itertools import chain
from logging import getLogger
from typing import Any

from recbole.utils import FeatureType, InputType, ModelType

from recbole_multvae.data.atomic_table import AtomicFile
from recbole_multvae.data.exact_times import orders_by_time
from recbole_multvae.data.interaction_counts import FILTERS
from recbole_multvae.errors import ConfigurationError, DataError


def check_effect(config: Any, files: list[AtomicFile]) -> None:
    """Look for keys and columns without effect.

    Args:
        config: RecBole's ``Config``.
        files: those of interactions.

    Raises:
        ConfigurationError: a key has no effect.
        DataError: a column has no effect.
    """
    _check_filters(config)
    _check_negatives(config)
    if config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
        _check_lists(config, files)
    if not _learns_from_labels(config):
        error = _threshold_error(config) or next(filter(None, (_labels_error(config, file) for file in files)), None)
        if error and "labeled" in config["eval_args"]["mode"].values():
            getLogger().warning(f"The labels count in the evaluation only: {config['model']} takes every row for a click.")
        elif error:
            raise error


def _user_value(config: Any, key: str) -> Any:
    """The value that the user set; None if it is a default."""
    return config.external_config_dict.get(key)


def _check_filters(config: Any) -> None:
    if not config["benchmark_filename"]:
        return
    if ignored := {"split", "order"} & (_user_value(config, "eval_args") or {}).keys():
        getLogger().warning(f"eval_args {' and '.join(sorted(ignored))} have no effect with benchmark_filename.")
    for key in chain.from_iterable(FILTERS.values()):
        if (value := _user_value(config, key)) is not None and value not in ("[0,inf)", True):
            raise ConfigurationError(
                f"{key}={value!r} has no effect with benchmark_filename, whose files RecBole takes as they are: filter the "
                "files themselves, or leave it out."
            )


def _check_negatives(config: Any) -> None:
    distribution = (_user_value(config, "train_neg_sample_args") or {}).get("distribution", "none")
    if distribution != "none" and hasattr(config.model_class, "settings_class"):
        getLogger().warning(
            f"train_neg_sample_args has no effect on {config['model']}, which learns from all items of a user at once."
        )


def _check_lists(config: Any, files: list[AtomicFile]) -> None:
    name = f"{config['ITEM_ID_FIELD']}{config['LIST_SUFFIX']}"
    for file in files:
        if name in file.columns and not _left_out(config, name):
            raise DataError(
                f"{file.path} has histories in the column {name}, which only RecBole's sequential models read, and "
                f"{config['model']} reads a click a line: write every click as a line, or leave the column out with "
                f"unload_col={{'inter': [{name!r}]}} and load_col=None."
            )


def _left_out(config: Any, name: str) -> bool:
    unload = (_user_value(config, "unload_col") or {}).get("inter", [])
    load = (_user_value(config, "load_col") or {}).get("inter")
    return name in unload or (isinstance(load, list) and name not in load)


def _learns_from_labels(config: Any) -> bool:
    if config["MODEL_TYPE"] in (ModelType.CONTEXT, ModelType.DECISIONTREE):
        return True
    # If RecBole draws negatives, it labels them itself.
    labels_of_file = (config["train_neg_sample_args"] or {}).get("distribution") == "none"
    return labels_of_file and config["MODEL_INPUT_TYPE"] == InputType.POINTWISE and _reads_labels(config.model_class)


def _reads_labels(model_class: Any) -> bool:
    """Whether the model's own code asks for the column of labels."""
    return "LABEL_FIELD" in inspect.getsource(model_class)


def _threshold_error(config: Any) -> ConfigurationError | None:
    if (threshold := _user_value(config, "threshold")) is None:
        return None
    column, least = next(iter(threshold.items()), ("rating", 4))
    return ConfigurationError(
        f"threshold={threshold!r} has no effect on {config['model']}, which takes every row for a click: keep the rows of "
        f"{least} and more with val_interval={{{column!r}: '[{least},inf)'}}."
    )


def _labels_error(config: Any, file: AtomicFile) -> DataError | None:
    """The error of a column of labels in which some rows are not clicks."""
    label = config["LABEL_FIELD"]
    if label not in file.columns or label in (config["val_interval"] or {}) or _left_out(config, label):
        return None
    labels = file.read([label]).frame[label]
    negative = labels <= 0 if file.columns[label] is FeatureType.FLOAT else labels == "0"
    if not negative.any():
        return None
    return DataError(
        f"{file.path} has the column {label}, which is 0 in {int(negative.sum()):,} of {len(labels):,} rows, and "
        f"{config['model']} takes every row for a click: keep those of 1 with val_interval={{{label!r}: '[1,inf)'}}, or "
        f"take all with load_col=None and unload_col={{'inter': [{label!r}]}}."
    )


def load_needed_columns(config: Any, files: list[AtomicFile]) -> None:
    """Add to ``load_col`` the columns that a filter or the order of time reads, unless the user set ``load_col``."""
    if _user_value(config, "load_col") is not None or config["load_col"] is None:
        return
    loaded = config["load_col"].get("inter")
    if not isinstance(loaded, list) or not files:
        return
    needed = [] if config["benchmark_filename"] else list(config["val_interval"] or {})
    if orders_by_time(config):
        needed.append(config["TIME_FIELD"])
    if more := [name for name in needed if name in files[0].columns and name not in loaded]:
        config["load_col"] = {**config["load_col"], "inter": [*loaded, *more]}
        getLogger().info(f"load_col also has {', '.join(more)}, which other keys read.")
