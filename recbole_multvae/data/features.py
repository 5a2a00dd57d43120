"""The features of users, items and interactions, read with :mod:`.atomic_table` in place of ``Dataset._load_feat``."""

from __future__ import annotations

from logging import getLogger
from typing import Any

import numpy as np
import pandas as pd
from recbole.utils import FeatureSource, FeatureType

from recbole_multvae.data.atomic_table import EXACT, PADDING, AtomicFile, Table
from recbole_multvae.data.interaction_counts import amount
from recbole_multvae.errors import DataError


def load_features(dataset: Any, path: str, source: Any) -> pd.DataFrame | None:
    """Read an atomic file. See RecBole's ``Dataset._load_feat``.

    Args:
        dataset: RecBole's; the properties of the fields are set in it.
        path: of the file.
        source: RecBole's ``FeatureSource``, or the suffix of the file.

    Returns:
        The columns that ``load_col`` and ``unload_col`` leave; None if they leave none.

    Raises:
        DataError: a row, a number or a user's or item's token is wrong; the message names the line.
    """
    load, unload = dataset._get_load_and_unload_col(source)
    if load == set():
        return None
    file = AtomicFile.from_config(path, dataset.config)
    names = [name for name in file.columns if (load is None or name in load) and name not in (unload or ())]
    if not names:
        getLogger().warning(f"load_col and unload_col leave no column of {file.path}.")
        return None
    if source != "link":
        _set_properties(dataset, file, names, source)
    table = file.read(names)
    frame = table.frame
    if not table.clean:
        _check_tokens(table, [field for field in (dataset.uid_field, dataset.iid_field) if field in frame])
    for name in names:
        _convert(dataset, table, name)
    if source == FeatureSource.INTERACTION and dataset.time_field in frame:
        frame[dataset.time_field] = _exact_times(table, dataset.time_field)
    _log_rows(table, source)
    _log_repeated(table, {FeatureSource.USER: dataset.uid_field, FeatureSource.ITEM: dataset.iid_field}.get(source))
    return frame


def _set_properties(dataset: Any, file: AtomicFile, names: list[str], source: Any) -> None:
    for name in names:
        kind = file.columns[name]
        dataset.field2source[name], dataset.field2type[name] = source, kind
        if not kind.value.endswith("seq"):
            dataset.field2seqlen[name] = 1
        if "float" in kind.value:
            dataset.field2bucketnum[name] = 2


def _check_tokens(table: Table, fields: list[str]) -> None:
    for field in fields:
        if line := table.first(table.frame[field] == ""):
            raise DataError(f"{line} has no {field}: name every user and every item, or take the line out of the file.")
        if line := table.first(table.frame[field] == PADDING):
            raise DataError(f"{line} has the {field} {PADDING!r}, which is RecBole's name for padding: rename it.")


def _convert(dataset: Any, table: Table, name: str) -> None:
    """Convert a column as RecBole does: sequences are cut into parts, and an empty token is a missing one."""
    frame, kind = table.frame, table.file.columns[name]
    if kind is FeatureType.TOKEN:
        frame[name] = frame[name] if table.clean else frame[name].where(frame[name] != "", np.nan)
    elif kind is FeatureType.FLOAT:
        filters = () if dataset.config["benchmark_filename"] else dataset.config["val_interval"] or ()
        if missing := int(frame[name].isna().sum()):
            getLogger().warning(
                f"{table.file.path} lacks {amount(missing, 'value')} of {name}: "
                + ("val_interval leaves them out." if name in filters else "RecBole takes the mean of the others.")
            )
    else:
        frame[name] = _sequences(dataset, table, name)


def _sequences(dataset: Any, table: Table, name: str) -> list[np.ndarray]:
    parts = [[part for part in text.split(dataset.config["seq_separator"]) if part] for text in table.frame[name]]
    longest = max(map(len, parts))
    limit = (dataset.config["seq_len"] or {}).get(name, longest)
    dataset.field2seqlen[name] = min(limit, longest)
    if table.file.columns[name] is FeatureType.TOKEN_SEQ:
        return [np.array(part[:limit]) for part in parts]
    return [_floats(table, name, row, part)[:limit] for row, part in enumerate(parts)]


def _floats(table: Table, name: str, row: int, part: list[str]) -> np.ndarray:
    try:
        return np.array([float(text) for text in part])
    except ValueError:
        raise DataError(
            f"Line {table.line(row)} of {table.file.path} has {' '.join(part)!r} as {name}: expected numbers, as the "
            "column's type is float_seq."
        ) from None


def _exact_times(table: Table, name: str) -> Any:
    """The times as in the file: int64 for whole numbers that float64 cannot tell apart, such as nanoseconds."""
    times = table.frame[name]
    if table.file.columns[name] is not FeatureType.FLOAT or not (times.abs() >= EXACT).any():
        return times
    try:
        return table.file.read([name], as_text=True).frame[name].map(int).astype(np.int64)
    except (ValueError, OverflowError):
        return times


def _log_rows(table: Table, source: Any) -> None:
    rows = len(table.frame)
    counted = amount(rows, "interaction" if source == FeatureSource.INTERACTION else "row")
    blank = f", {amount(table.blank, 'blank line')}" if table.blank else ""
    getLogger().info(f"{table.file.path}: {rows + table.blank + 1:,} lines are a header{blank} and {counted}.")


def _log_repeated(table: Table, field: str | None) -> None:
    if field in table.frame and (repeated := int(table.frame[field].duplicated().sum())):
        left_out = f"{amount(repeated, 'row')} of {table.file.path} {'is' if repeated == 1 else 'are'} left out"
        getLogger().warning(f"{left_out}: an earlier one has its {field}.")
