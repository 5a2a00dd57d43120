"""The columns that keys of the configuration name, compared with those of the files.

Where RecBole cannot read an interval of ``val_interval``, it warns, and then drops a single row, whatever its value.
"""

from __future__ import annotations

from typing import Any

from recbole.utils import FeatureType

from recbole_multvae.config.keys import did_you_mean
from recbole_multvae.config.values import is_interval
from recbole_multvae.errors import ConfigurationError


def check_named_columns(config: Any, columns: dict[str, FeatureType]) -> None:
    """Look for columns that are not there, and for values that are not of their type.

    Args:
        config: RecBole's ``Config``.
        columns: the types of the columns of all files that may be read, by name.

    Raises:
        ConfigurationError: names the key.
    """
    for column, allowed in ({} if config["benchmark_filename"] else config["val_interval"] or {}).items():
        _check_there("val_interval", column, columns)
        numbers = columns[column] in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ)
        if not (is_interval(allowed) if numbers else _is_list_of_texts(allowed)):
            expected = "an interval of numbers, such as '[4,inf)'" if numbers else "a list of its tokens, such as ['a', 'b']"
            raise ConfigurationError(
                f"val_interval={{{column!r}: {allowed!r}}} is not allowed, as the column is of type "
                f"{columns[column].value}: expected {expected}."
            )
    for key in ("alias_of_user_id", "alias_of_item_id"):
        for column in config[key] or []:
            _check_there(key, column, columns)


def _check_there(key: str, column: str, columns: dict[str, FeatureType]) -> None:
    if column not in columns:
        hint = did_you_mean(str(column), columns, f": expected some of {', '.join(columns)}.")
        raise ConfigurationError(f"{key} names {column!r}, which is no column of the data set{hint}")


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(token, str) for token in value)
