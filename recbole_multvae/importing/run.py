"""One import from its options to the written data set."""

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
    """The options of one import.

    Attributes:
        file: the table of interactions.
        name: of the data set.
        data_path: the folder of all data sets.
        columns: the columns of the interactions by role: user, item, rating, time; None or missing: guess.
        items: the table of items; None: there is none.
        item_id: its column of ids; None: guess.
        lists: the columns of items that hold lists as text, with the separators of their entries.
        format: csv, tsv, jsonl or parquet, of both tables; None: by name or contents.
        separator: between the columns of text files, of both tables; None: guess.
        encoding: of text files.
        header: whether the first row names the columns.
        quotes: whether values of text files may be in quotes.
        overwrite: whether the data set may exist already.
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


def open_source(path: Path, options: Import, whole: bool = False) -> Source:
    """Open a table.

    Args:
        path: the file.
        options: how it is written.
        whole: look for columns in all rows, for formats in which rows may have different ones.

    Raises:
        DataError: the file cannot be read as a table.
    """
    kind = format_of(path, options.format)
    if kind == "parquet":
        return ParquetFile(path)
    if kind == "jsonl":
        return JsonLines(path, options.encoding, whole)
    separator = read_separator(options.separator) if options.separator is not None else "\t" if kind == "tsv" else None
    return Delimited(path, Layout(separator, options.encoding, options.header, options.quotes))


def run_import(options: Import, print_line: Callable[[str], None]) -> None:
    """Write a data set's files, all of them or none.

    Args:
        options: see their type.
        print_line: called with every line of the report.

    Raises:
        DataError: a file cannot be read, or holds a value that no atomic file can hold.
        ConfigurationError: the options do not go together.
    """
    check_name(options.name)
    with _no_garbage_collection():
        _run(options, print_line)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Switch Python's search for cycles of objects off: there are none, and with millions of rows it takes half the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _run(options: Import, print_line: Callable[[str], None]) -> None:
    source = open_source(options.file, options)
    roles, guessed = resolve(options.file, source.names, options.columns)
    if guessed:
        print_line(guesses(roles, guessed))
    item_source, item = _open_items(options, roles)
    inter, items = f"{options.name}.inter", f"{options.name}.item"
    names = [inter, items] if item_source else [inter]
    with new_files(options.data_path, options.name, names, options.overwrite) as folder:
        written = write_interactions(source, roles, folder / inter)
        written_items = write_items(item_source, item, options.lists, folder / items) if item_source else None
        if written_items:
            _check_overlap(options, roles, item, written, written_items)
    target = options.data_path / options.name
    for line in about_interactions(target / inter, written):
        print_line(line)
    for line in about_items(target / items, written_items, written) if written_items else ():
        print_line(line)
    for line in next_commands(options.name, options.data_path, written):
        print_line(line)


def _open_items(options: Import, roles: Roles) -> tuple[Source | None, str]:
    if options.items is None:
        return None, ""
    source = open_source(options.items, options, whole=True)
    return source, item_column(options.items, source.names, options.item_id, roles.item)


def _check_overlap(options: Import, roles: Roles, item: str, written: Written, items: WrittenItems) -> None:
    if not pc.any(pc.is_in(items.ids, value_set=written.items)).as_py():
        raise DataError(
            f"No item of {options.items} (column {item}, such as {items.ids[0].as_py()!r}) is in {options.file} (column "
            f"{roles.item}, such as {written.items[0].as_py()!r}): name the columns with --item-id and --item."
        )
