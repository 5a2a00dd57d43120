"""Reading a data set, with a sentence for every ordinary mistake in RecBole's atomic files.

An atomic file is a table of text. Its first line, the header, names the columns with their types, as in ``user_id:token``.
RecBole trusts the header: what is wrong in it ends in a traceback, or in columns that are read as others.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any

from pandas.errors import ParserError
from recbole.data import create_dataset
from recbole.utils import FeatureType

from recbole_multvae.errors import DataError, MultVAEError

#: The marks that programs write at the beginning of a file, and the encoding that removes them.
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_dataset(config: Any) -> Any:
    """Read the data set of a configuration.

    Args:
        config: RecBole's ``Config``.

    Returns:
        RecBole's data set, filtered, and not yet split.

    Raises:
        DataError: a file is missing or is not an atomic file, a column is missing, or RecBole cannot read the rest.
    """
    downloads = config["single_spec"] and not Path(config["data_path"]).exists()
    try:
        check_headers(config)
        return create_dataset(config)
    except MultVAEError:
        raise
    except (ValueError, OSError) as error:
        if downloads and any(Path(config["data_path"]).glob("*.inter")):
            # After a download, RecBole waits for the other processes, and fails where there are none.
            return read_dataset(config)
        reason = " ".join(str(error).split()) + _advice(error)
        raise DataError(f"Cannot read the data set {config['dataset']} in {config['data_path']}: {reason}") from error


def _advice(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "; name the encoding of its files, for example encoding=ISO-8859-1."
    if isinstance(error, ParserError) and re.search("end of data|inside string|expected after", str(error)):
        return '; look for a quote (") that is not closed.'
    return ""


def check_headers(config: Any) -> None:
    """Look for mistakes in the headers of the files that RecBole will read. A missing file is left to RecBole.

    Raises:
        DataError: a header is not one of an atomic file, or lacks the user or the item column.
    """
    folder, name, selected = Path(config["data_path"]), config["dataset"], config["load_col"]
    parts = [f".{part}" for part in config["benchmark_filename"] or []] or [""]
    needed = [field for field in (config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]) if field]
    for path in (folder / f"{name}{part}.inter" for part in parts):
        if path.is_file():
            _check_columns(path, _columns(path, config), needed, config)
    for kind in ("user", "item"):
        path = folder / f"{name}.{kind}"
        if path.is_file() and (selected is None or kind in selected):
            _columns(path, config)


def _columns(path: Path, config: Any) -> dict[str, FeatureType]:
    """The types of the columns by name, from the header of an atomic file."""
    encoding, separator = config["encoding"], config["field_separator"]
    header, first_row = _first_lines(path, encoding)
    columns: dict[str, FeatureType] = {}
    for column in header.split(separator):
        name, _, kind = column.partition(":")
        if kind not in {known.value for known in FeatureType}:
            raise DataError(
                f"The header of {path} has the column {column!r}: expected a name and a type, such as user_id:token, and "
                f"{separator!r} (field_separator) between columns."
            )
        if name in columns:
            raise DataError(f"The header of {path} names the column {name} twice: name every column once.")
        columns[name] = FeatureType(kind)
    values = first_row.split(separator)
    if len(values) > len(columns) and '"' not in first_row:  # RecBole's parser would take the first values for an index.
        raise DataError(f"Line 2 of {path} has {len(values)} values, and its header names {len(columns)} columns.")
    return columns


def _first_lines(path: Path, encoding: str | None) -> tuple[str, str]:
    with path.open("rb") as file:
        start = file.read(3)
    for mark, removing in _BYTE_ORDER_MARKS.items():
        if start.startswith(mark) and (encoding or "utf-8").lower().replace("_", "-") not in (removing, "utf-16"):
            raise DataError(f"{path} begins with a byte order mark, which RecBole takes for text: set encoding={removing}.")
    with path.open(encoding=encoding) as file:
        header, row = file.readline().rstrip("\n"), file.readline().rstrip("\n")
    if not header:
        raise DataError(f"{path} is empty: expected a header, such as user_id:token and item_id:token, and rows.")
    if not row:
        raise DataError(f"{path} has a header and no rows.")
    return header, row


def _check_columns(path: Path, columns: dict[str, FeatureType], needed: list[str], config: Any) -> None:
    selected, left_out = config["load_col"], config["unload_col"] or {}
    for field in needed:
        if columns.get(field) != FeatureType.TOKEN:
            header = " ".join(f"{name}:{kind.value}" for name, kind in columns.items())
            raise DataError(
                f"{path} lacks the column {field}:token, it has {header}: rename the column, or name it with USER_ID_FIELD "
                "and ITEM_ID_FIELD."
            )
        wanted = selected is None or selected.get("inter") == "*" or field in selected.get("inter", [])
        if not wanted or field in left_out.get("inter", []):
            raise DataError(f"load_col and unload_col leave the column {field} of {path} out: a data set needs it.")
