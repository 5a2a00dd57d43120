"""What a user sets, or has in a file, that would change nothing: refused with the key that does it.

RecBole reads ``threshold`` and a column of labels for models that learn from labels, and for evaluation in the mode
``labeled``; everything else takes every row for a click. With ``benchmark_filename`` it filters nothing. Histories in a
column of lists are for sequential models.
"""

from __future__ import annotations

import inspect
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole.utils import FeatureType, InputType, ModelType

from recbole_multvae.configuration import did_you_mean
from recbole_multvae.data.loading import file_of
from recbole_multvae.errors import ConfigurationError, DataError

#: RecBole's filters, which it leaves out where files are split already.
FILTERS = (
    "val_interval", "rm_dup_inter", "user_inter_num_interval", "item_inter_num_interval", "filter_inter_by_user_or_item",
)  # fmt: skip


def interaction_files(config: Any) -> list[Path]:
    """The files of interactions that RecBole will read, whether they are there or not."""
    parts = [f".{part}" for part in config["benchmark_filename"] or []] or [""]
    return [Path(config["data_path"], f"{config['dataset']}{part}.inter") for part in parts]


def check_unread(config: Any) -> None:
    """Look for what would have no effect.

    Raises:
        ConfigurationError: a key.
        DataError: a column.
    """
    files = [file_of(path, config) for path in interaction_files(config) if path.is_file()]
    _check_loaded(config, files)
    _check_filters(config)
    if config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
        _check_lists(config, files)
    if not _reads_labels(config):
        _check_threshold(config)
        _check_labels(config, files)


def _given(config: Any, key: str) -> Any:
    return config.external_config_dict.get(key)


def _check_loaded(config: Any, files: list[Any]) -> None:
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
    for key in FILTERS:
        if (value := _given(config, key)) is not None and value not in ("[0,inf)", True):
            raise ConfigurationError(
                f"{key}={value!r} has no effect with benchmark_filename, whose files RecBole takes as they are: filter the "
                "files themselves, or leave it out."
            )


def _check_lists(config: Any, files: list[Any]) -> None:
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


def _reads_labels(config: Any) -> bool:
    """Whether labels decide what is learnt, or what is tested."""
    if config["MODEL_TYPE"] in (ModelType.CONTEXT, ModelType.DECISIONTREE):
        return True
    if "labeled" in config["eval_args"]["mode"].values():
        return True
    # Negatives that RecBole draws bring labels of their own.
    own_labels = (config["train_neg_sample_args"] or {}).get("distribution") == "none"
    return own_labels and config["MODEL_INPUT_TYPE"] == InputType.POINTWISE and _has_labels(config.model_class)


def _has_labels(model_class: Any) -> bool:
    """Whether the model's own code asks for the column of labels."""
    return "LABEL_FIELD" in inspect.getsource(model_class)


def _check_threshold(config: Any) -> None:
    if (threshold := _given(config, "threshold")) is None:
        return
    column, least = next(iter(threshold.items()), ("rating", 4))
    raise ConfigurationError(
        f"threshold={threshold!r} has no effect on {config['model']}, which takes every row for a click: keep the rows of "
        f"{least} and more with val_interval={{{column!r}: '[{least},inf)'}}."
    )


def _check_labels(config: Any, files: list[Any]) -> None:
    """A column of labels that says of some rows that they are no clicks."""
    label = config["LABEL_FIELD"]
    for file in files:
        kept = label in (config["val_interval"] or {}) or _left_out(config, label)
        if kept or file.columns.get(label) is not FeatureType.FLOAT:
            continue
        labels = file.read([label]).frame[label]
        if (labels <= 0).any():
            raise DataError(
                f"{file.path} has the column {label}, which is 0 in {int((labels <= 0).sum()):,} of {len(labels):,} rows, "
                f"and {config['model']} takes every row for a click: keep those of 1 with "
                f"val_interval={{{label!r}: '[1,inf)'}}, or take all with load_col=None and unload_col={{'inter': "
                f"[{label!r}]}}."
            )


def load_what_is_read(config: Any) -> None:
    """Load the columns that a filter or the order of time reads, where the user did not say what to load."""
    if _given(config, "load_col") is not None or config["load_col"] is None or config["benchmark_filename"]:
        return
    files = [file_of(path, config) for path in interaction_files(config) if path.is_file()]
    loaded = config["load_col"].get("inter")
    if not isinstance(loaded, list) or not files:
        return
    wanted = list(config["val_interval"] or {})
    if config["eval_args"]["order"] == "TO" or config["rm_dup_inter"]:
        wanted.append(config["TIME_FIELD"])
    if more := [name for name in wanted if name in files[0].columns and name not in loaded]:
        config["load_col"] = {**config["load_col"], "inter": [*loaded, *more]}
        getLogger().info(f"load_col also has {', '.join(more)}, which other keys read.")
