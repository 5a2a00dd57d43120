"""Reading a data set, with one sentence for every ordinary mistake in RecBole's atomic files.

An atomic file is a table of text. Its first line, the header, names the columns with their types, as in ``user_id:token``.
RecBole does not check the header: a mistake in it ends in a traceback, or in columns that are read as others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import recbole.data.utils
from recbole.utils import FeatureType, ModelType

from recbole_multvae.data.atomic_table import AtomicFile
from recbole_multvae.data.columns_in_keys import check_columns_in_keys
from recbole_multvae.data.without_effect import check_effect, load_needed_columns
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
        interactions = _interaction_files(config)
        check_headers(config, interactions)
        check_effect(config, interactions)
        load_needed_columns(config, interactions)
        return recbole.data.utils.create_dataset(config)
    except MultVAEError:
        raise
    except (ValueError, OSError) as error:
        if downloads and any(Path(config["data_path"]).glob("*.inter")):
            # After a download, RecBole waits for the other processes, and fails if there are none.
            return read_dataset(config)
        reason = " ".join(str(error).split())
        if isinstance(error, UnicodeError):
            reason += "; name the encoding of its files, for example encoding=ISO-8859-1."
        raise DataError(f"Cannot read the data set {config['dataset']} in {config['data_path']}: {reason}") from error


def _interaction_files(config: Any) -> list[AtomicFile]:
    """The files of interactions that RecBole will read. RecBole says which one is missing."""
    parts = [f".{part}" for part in config["benchmark_filename"] or []] or [""]
    paths = [Path(config["data_path"], f"{config['dataset']}{part}.inter") for part in parts]
    return [AtomicFile.from_config(path, config) for path in paths if path.is_file()]


def check_headers(config: Any, interactions: list[AtomicFile]) -> None:
    """Look for mistakes in the headers of the files that RecBole will read.

    Args:
        config: RecBole's ``Config``.
        interactions: the files of interactions.

    Raises:
        ConfigurationError: a key names a column that does not exist, or a value that is not of its type.
        DataError: a header is not one of an atomic file, it lacks the user or the item column, or a column is in two files.
    """
    ids = [field for field in (config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]) if field]
    for file in interactions:
        _check_ids(file, ids, config)
    files = {"inter": interactions}
    kinds = ["user", "item", *(config["additional_feat_suffix"] or ())]
    kinds += ["kg", "link"] if config["MODEL_TYPE"] == ModelType.KNOWLEDGE else []
    for kind in kinds:
        path = Path(config["data_path"], f"{config['dataset']}.{kind}")
        files[kind] = [AtomicFile.from_config(path, config)] if path.is_file() and _loads(config, kind) else []
    _check_unique({kind: files[kind] for kind in ("inter", "user", "item")}, ids, config)
    if interactions:  # Otherwise the data set is missing, or not downloaded yet.
        check_columns_in_keys(config, files)


def _check_unique(files: dict[str, list[AtomicFile]], ids: list[str], config: Any) -> None:
    """Refuse a column that is in two files: RecBole would read, and filter by, only the last one."""
    first: dict[str, AtomicFile] = {}
    for kind, group in files.items():
        names = {name for file in group for name in file.columns if name not in ids and _loads(config, kind, name)}
        if twice := min(names & first.keys(), default=None):
            raise DataError(
                f"{first[twice].path} and {group[0].path} both have the column {twice}: rename one of them, or leave it out "
                "with load_col."
            )
        first |= {name: group[0] for name in names}


def _loads(config: Any, kind: str, name: str | None = None) -> bool:
    """Whether a column of a kind of file is loaded; without a name, whether any column is."""
    load = "*" if config["load_col"] is None else config["load_col"].get(kind, [])
    unload = (config["unload_col"] or {}).get(kind, [])
    return load != [] if name is None else (load == "*" or name in load) and name not in unload


def _check_ids(file: AtomicFile, ids: list[str], config: Any) -> None:
    for field in ids:
        if file.columns.get(field) != FeatureType.TOKEN:
            header = " ".join(f"{name}:{kind.value}" for name, kind in file.columns.items())
            raise DataError(
                f"{file.path} lacks the column {field}:token, it has {header}: rename the column, or name it with "
                "USER_ID_FIELD and ITEM_ID_FIELD."
            )
        if not _loads(config, "inter", field):
            raise DataError(f"load_col and unload_col leave the column {field} of {file.path} out: a data set needs it.")
