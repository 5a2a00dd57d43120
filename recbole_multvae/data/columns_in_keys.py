"""The columns that configuration keys name, compared with those of the files.

If RecBole cannot read an interval of ``val_interval``, it warns and then drops a single row, whatever its value.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from recbole.utils import FeatureType

from recbole_multvae.config.keys import did_you_mean
from recbole_multvae.config.run_settings import CLICKS, POPULARITY
from recbole_multvae.config.values import is_interval
from recbole_multvae.data.atomic_table import AtomicFile
from recbole_multvae.data.normalization import normalizing_key
from recbole_multvae.errors import ConfigurationError


def check_columns_in_keys(config: Any, files: dict[str, list[AtomicFile]]) -> None:
    """Look for columns that do not exist, and for values that do not fit the type of their column.

    Args:
        config: RecBole's ``Config``.
        files: the files that RecBole will read, by their suffix; those of interactions, ``inter``, must be there.

    Raises:
        ConfigurationError: names the key.
    """
    columns = _columns(file for group in files.values() for file in group)
    if not config["benchmark_filename"]:
        for column, allowed in (config["val_interval"] or {}).items():
            _check_exists("val_interval", column, columns)
            _check_interval(column, allowed, columns[column])
    for key in ("alias_of_user_id", "alias_of_item_id"):
        for column in config[key] or []:
            _check_exists(key, column, columns)
    for key, other in (("propensity", POPULARITY), ("diversity_of", CLICKS)):
        if (column := config[key]) != other and column in columns:  # If it is not, the metric says so.
            _check_as_in_the_file(config, key, column, columns[column])
    for key in ("load_col", "unload_col"):
        names = (config.external_config_dict.get(key) or {}).get("inter")
        for column in names if isinstance(names, list) else []:
            _check_exists(key, column, _columns(files["inter"]), str(files["inter"][0].path))


def _columns(files: Iterable[AtomicFile]) -> dict[str, FeatureType]:
    return {name: kind for file in files for name, kind in file.columns.items()}


def _check_exists(key: str, column: str, columns: dict[str, FeatureType], place: str = "the data set") -> None:
    if column not in columns:
        hint = did_you_mean(str(column), columns, f": expected some of {', '.join(columns)}.")
        raise ConfigurationError(f"{key} names {column!r}, which is no column of {place}{hint}")


def _check_as_in_the_file(config: Any, key: str, column: str, kind: FeatureType) -> None:
    """Refuse a column whose numbers RecBole changes."""
    if "float" in kind.value and (name := normalizing_key(config, column)):
        raise ConfigurationError(
            f"{key} reads the numbers of the column {column} as they are in the file, and {name}={config[name]!r} changes "
            f"them: set {name}=None."
        )


def _check_interval(column: str, allowed: Any, kind: FeatureType) -> None:
    numbers = kind in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ)
    if not (is_interval(allowed) if numbers else _is_list_of_texts(allowed)):
        expected = "an interval of numbers, such as '[4,inf)'" if numbers else "a list of its tokens, such as ['a', 'b']"
        raise ConfigurationError(
            f"val_interval={{{column!r}: {allowed!r}}} is not allowed, as the column is of type {kind.value}: "
            f"expected {expected}."
        )


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(token, str) for token in value)
