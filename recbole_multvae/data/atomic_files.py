"""Reading a data set, with a sentence for every ordinary mistake in RecBole's atomic files.

An atomic file is a table of text. Its first line, the header, names the columns with their types, as in ``user_id:token``.
RecBole trusts the header: what is wrong in it ends in a traceback, or in columns that are read as others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import recbole.data.utils
from recbole.utils import FeatureType

from recbole_multvae.data.atomic_table import AtomicFile
from recbole_multvae.data.loading import file_of
from recbole_multvae.data.unread import check_unread, interaction_files, load_what_is_read
from recbole_multvae.errors import DataError, MultVAEError


def read_dataset(config: Any) -> Any:
    """Read the data set of a configuration.

    Args:
        config: RecBole's ``Config``.

    Returns:
        RecBole's data set, filtered, and not yet split.

    Raises:
        ConfigurationError: a key would have no effect on these data.
        DataError: a file is missing or is not an atomic file, a column is missing, or RecBole cannot read the rest.
    """
    downloads = config["single_spec"] and not Path(config["data_path"]).exists()
    try:
        check_headers(config)
        check_unread(config)
        load_what_is_read(config)
        return recbole.data.utils.create_dataset(config)
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
    return ""


def check_headers(config: Any) -> None:
    """Look for mistakes in the headers of the files that RecBole will read. A missing file is left to RecBole.

    Raises:
        DataError: a header is not one of an atomic file, or lacks the user or the item column.
    """
    needed = [field for field in (config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]) if field]
    for path in interaction_files(config):
        if path.is_file():
            _check_columns(file_of(path, config), needed, config)
    for kind in ("user", "item"):
        path = Path(config["data_path"], f"{config['dataset']}.{kind}")
        if path.is_file() and (config["load_col"] is None or kind in config["load_col"]):
            _ = file_of(path, config).columns


def _check_columns(file: AtomicFile, needed: list[str], config: Any) -> None:
    selected, left_out = config["load_col"], config["unload_col"] or {}
    for field in needed:
        if file.columns.get(field) != FeatureType.TOKEN:
            header = " ".join(f"{name}:{kind.value}" for name, kind in file.columns.items())
            raise DataError(
                f"{file.path} lacks the column {field}:token, it has {header}: rename the column, or name it with "
                "USER_ID_FIELD and ITEM_ID_FIELD."
            )
        wanted = selected is None or selected.get("inter") == "*" or field in selected.get("inter", [])
        if not wanted or field in left_out.get("inter", []):
            raise DataError(f"load_col and unload_col leave the column {field} of {file.path} out: a data set needs it.")
