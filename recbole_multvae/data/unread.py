"""What a user sets, or has in a file, that would change nothing: refused with the key that does it.

RecBole reads ``threshold`` and a column of labels for models that learn from labels, and for evaluation in the mode
``labeled``; everything else takes every row for a click. With ``benchmark_filename`` it filters nothing. Histories in a
column of lists are for sequential models.
"""

from __future__ import annotations

import inspect
from itertools import chain
from logging import getLogger
from typing import Any

from recbole.utils import FeatureType, InputType, ModelType

from recbole_multvae.config.keys import did_you_mean
from recbole_multvae.data.accounting import FILTERS
from recbole_multvae.data.atomic_table import AtomicFile
from recbole_multvae.errors import ConfigurationError, DataError


def check_unread(config: Any, files: list[AtomicFile]) -> None:
    """Look for what would have no effect.

    Args:
        config: RecBole's ``Config``.
        files: those of interactions.

    Raises:
        ConfigurationError: a key.
        DataError: a column.
    """
    _check_loaded(config, files)
    _check_filters(config)
    _check_negatives(config)
    if config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
        _check_lists(config, files)
    if not _learns_from_labels(config):
        refusal = _threshold(config) or next(filter(None, (_labels(config, file) for file in files)), None)
        if refusal and "labeled" in config["eval_args"]["mode"].values():
            getLogger().warning(f"The labels count in the evaluation only: {config['model']} takes every row for a click.")
        elif refusal:
            raise refusal


def _given(config: Any, key: str) -> Any:
    return config.external_config_dict.get(key)


def _check_loaded(config: Any, files: list[AtomicFile]) -> None:
    """The columns that the user names are there."""
    for key in ("load_col", "unload_col"):
        named = (_given(config, key) or {}).get("inter")
        columns = {name: None for file in files for name in file.columns}
        for name in named if isinstance(named, list) and files else []:
            if name not in columns:
                hint = did_you_mean(str(name), columns, f": expected some of {', '.join(columns)}.")
                raise ConfigurationError(f"{key} names {name!r}, which is no column of {files[0].path}{hint}")


def _check_filters(config: Any) -> None:
    if not config["benchmark_filename"]:
        return
    if unread := {"split", "order"} & (_given(config, "eval_args") or {}).keys():
        getLogger().warning(f"eval_args {' and '.join(sorted(unread))} have no effect with benchmark_filename.")
    for key in chain.from_iterable(FILTERS.values()):
        if (value := _given(config, key)) is not None and value not in ("[0,inf)", True):
            raise ConfigurationError(
                f"{key}={value!r} has no effect with benchmark_filename, whose files RecBole takes as they are: filter the "
                "files themselves, or leave it out."
            )


def _check_negatives(config: Any) -> None:
    drawn = (_given(config, "train_neg_sample_args") or {}).get("distribution", "none")
    if drawn != "none" and hasattr(config.model_class, "settings_class"):
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
    unload = (_given(config, "unload_col") or {}).get("inter", [])
    load = (_given(config, "load_col") or {}).get("inter")
    return name in unload or (isinstance(load, list) and name not in load)


def _learns_from_labels(config: Any) -> bool:
    if config["MODEL_TYPE"] in (ModelType.CONTEXT, ModelType.DECISIONTREE):
        return True
    # Negatives that RecBole draws bring labels of their own.
    own_labels = (config["train_neg_sample_args"] or {}).get("distribution") == "none"
    return own_labels and config["MODEL_INPUT_TYPE"] == InputType.POINTWISE and _has_labels(config.model_class)


def _has_labels(model_class: Any) -> bool:
    """Whether the model's own code asks for the column of labels."""
    return "LABEL_FIELD" in inspect.getsource(model_class)


def _threshold(config: Any) -> ConfigurationError | None:
    if (threshold := _given(config, "threshold")) is None:
        return None
    column, least = next(iter(threshold.items()), ("rating", 4))
    return ConfigurationError(
        f"threshold={threshold!r} has no effect on {config['model']}, which takes every row for a click: keep the rows of "
        f"{least} and more with val_interval={{{column!r}: '[{least},inf)'}}."
    )


def _labels(config: Any, file: AtomicFile) -> DataError | None:
    """A column of labels that says of some rows that they are no clicks."""
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


def load_what_is_read(config: Any, files: list[AtomicFile]) -> None:
    """Load the columns that a filter or the order of time reads, where the user did not say what to load."""
    if _given(config, "load_col") is not None or config["load_col"] is None or config["benchmark_filename"]:
        return
    loaded = config["load_col"].get("inter")
    if not isinstance(loaded, list) or not files:
        return
    wanted = list(config["val_interval"] or {})
    if config["eval_args"]["order"] == "TO" or config["rm_dup_inter"]:
        wanted.append(config["TIME_FIELD"])
    if more := [name for name in wanted if name in files[0].columns and name not in loaded]:
        config["load_col"] = {**config["load_col"], "inter": [*loaded, *more]}
        getLogger().info(f"load_col also has {', '.join(more)}, which other keys read.")
