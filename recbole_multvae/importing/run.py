"""An import from beginning to end."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from recbole_multvae.errors import DataError
from recbole_multvae.importing.arrow import pc
from recbole_multvae.importing.columns import Roles, item_column, resolve
from recbole_multvae.importing.delimited import Delimited, Layout
from recbole_multvae.importing.files import format_of
from recbole_multvae.importing.folder import check_name, new_files
from recbole_multvae.importing.interactions import Written, write_interactions
from recbole_multvae.importing.items import WrittenItems, write_items
from recbole_multvae.importing.json_lines import JsonLines
from recbole_multvae.importing.parquet_file import ParquetFile
from recbole_multvae.importing.report import about_interactions, about_items, guesses, next_commands
from recbole_multvae.importing.separators import read_separator
from recbole_multvae.importing.source import Source


@dataclass(frozen=True)
class Import:
    """What is to be imported.

    Attributes:
        file: the table of interactions.
        name: of the data set.
        data_path: the folder of all data sets.
        columns: the columns of the interactions by role: user, item, rating, time; None or missing: guess.
        items: the table of items; None: none.
        item_id: its column of ids; None: guess.
        lists: the columns of items that hold lists as text, and what separates their entries.
        format: csv, tsv, jsonl or parquet, of both tables; None: by name or contents.
        separator: between the columns of text files, of both tables; None: guess.
        encoding: of text files.
        header: whether the first row names the columns.
        quotes: whether values of text files may be in quotes.
        overwrite: whether the data set may be there already.
    """

    file: Path
    name: str
    data_path: Path = Path("dataset")
    columns: Mapping[str, str | None] = field(default_factory=dict)
    items: Path | None = None
    item_id: str | None = None
    lists: Mapping[str, str] = field(default_factory=dict)
    format: str | None = None
    separator: str | None = None
    encoding: str = "utf-8"
    header: bool = True
    quotes: bool = True
    overwrite: bool = False


def open_source(path: Path, wanted: Import, whole: bool = False) -> Source:
    """Open a table.

    Args:
        path: the file.
        wanted: how it is written.
        whole: look for columns in all rows, where rows may have different ones.

    Raises:
        DataError: see the formats.
    """
    kind = format_of(path, wanted.format)
    if kind == "parquet":
        return ParquetFile(path)
    if kind == "jsonl":
        return JsonLines(path, wanted.encoding, whole)
    separator = read_separator(wanted.separator) if wanted.separator is not None else "\t" if kind == "tsv" else None
    return Delimited(path, Layout(separator, wanted.encoding, wanted.header, wanted.quotes))


def run_import(wanted: Import, say: Callable[[str], None]) -> None:
    """Write a data set's files, all of them or none.

    Args:
        wanted: what is to be imported.
        say: called with every line of the report.

    Raises:
        DataError: a file cannot be read, or holds what no atomic file can.
        ConfigurationError: the options do not go together.
    """
    check_name(wanted.name)
    with _no_cycles():
        _run(wanted, say)


@contextmanager
def _no_cycles() -> Iterator[None]:
    """Python does not look for cycles of objects: there are none, and among millions of rows it takes half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _run(wanted: Import, say: Callable[[str], None]) -> None:
    source = open_source(wanted.file, wanted)
    roles, guessed = resolve(wanted.file, source.names, wanted.columns)
    if guessed:
        say(guesses(roles, guessed))
    item_source, item = _open_items(wanted, roles)
    inter, items = f"{wanted.name}.inter", f"{wanted.name}.item"
    names = [inter, items] if item_source else [inter]
    with new_files(wanted.data_path, wanted.name, names, wanted.overwrite) as folder:
        written = write_interactions(source, roles, folder / inter)
        written_items = write_items(item_source, item, wanted.lists, folder / items) if item_source else None
        if written_items:
            _check_overlap(wanted, roles, item, written, written_items)
    target = wanted.data_path / wanted.name
    for line in about_interactions(target / inter, written):
        say(line)
    for line in about_items(target / items, written_items, written) if written_items else ():
        say(line)
    for line in next_commands(wanted.name, wanted.data_path, written):
        say(line)


def _open_items(wanted: Import, roles: Roles) -> tuple[Source | None, str]:
    if wanted.items is None:
        return None, ""
    source = open_source(wanted.items, wanted, whole=True)
    return source, item_column(wanted.items, source.names, wanted.item_id, roles.item)


def _check_overlap(wanted: Import, roles: Roles, item: str, written: Written, items: WrittenItems) -> None:
    if not pc.any(pc.is_in(items.ids, value_set=written.items)).as_py():
        raise DataError(
            f"No item of {wanted.items} (column {item}, such as {items.ids[0].as_py()!r}) is in {wanted.file} (column "
            f"{roles.item}, such as {written.items[0].as_py()!r}): name the columns with --item-id and --item."
        )
