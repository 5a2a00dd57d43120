"""The ``.item`` file: ids first, then titles, then the other columns with the types that fit their values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_multvae.errors import DataError
from recbole_multvae.importing.arrow import pa, pc
from recbole_multvae.importing.cells import as_text, ids, lines, one_line, quoted
from recbole_multvae.importing.columns import checked, guess_title
from recbole_multvae.importing.source import Chunk, Source

#: A number that a float holds exactly. 007 does not match: it may be a code.
_NUMBER = r"^-?(0|[1-9]\d{0,14})(\.\d{1,15})?([eE][+-]?\d{1,2})?$"
#: Names that a ``.inter`` file or RecBole uses.
_TAKEN = {"user_id", "item_id", "rating", "timestamp", "label", "item_length"}
#: Possible separators between the entries of a list, the likeliest first. The first is RecBole's default.
_SEPARATORS = (" ", "|", ";", ",", "\x1f")


@dataclass(frozen=True)
class WrittenItems:
    """The figures of a ``.item`` file.

    Attributes:
        ids: the items, an Arrow array of text.
        columns: the header without the item's column.
        repeated: the number of rows that are left out because their item has an earlier row.
        left_out: the columns that are left out: objects, bytes, and those without a value.
        changed: the number of values in which a tab or a line end became a space.
        separator: the text between the entries of lists; None without lists.
    """

    ids: pa.Array
    columns: list[str]
    repeated: int
    left_out: list[str]
    changed: int
    separator: str | None


def write_items(source: Source, item: str, list_columns: Mapping[str, str], path: Path) -> WrittenItems:
    """Write a ``.item`` file.

    Args:
        source: the table.
        item: its column of ids.
        list_columns: the separators of the columns that hold lists as text, by column.
        path: the file.

    Raises:
        DataError: an id is missing or cannot be written, or no other column can be written.
    """
    for name in list_columns:
        checked(source.path, source.names, name, "--list")
    names = [item, *(name for name in source.names if name != item and not name.startswith("__index_level_"))]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{source.path} has {names.count(twice)} columns {twice!r}: rename all but one.")
    tokens, columns = _read(source, item, names)
    first = _first_rows(tokens)
    lists = {
        name: _entries(column.take(first), list_columns.get(name))
        for name, column in columns.items()
        if name in list_columns or pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    }
    separator = _free_separator(lists.values()) if lists else None
    written = _Columns(separator)
    for name in _title_first(columns):
        written.add(name, lists.get(name), columns[name].take(first))
    if not written.header:
        raise DataError(f"{source.path} has no column beside {item!r} that can be written: leave out --items.")
    kept = tokens.take(first)
    with path.open("wb") as file:
        file.write("\t".join(["item_id:token", *written.header]).encode() + b"\n")
        file.write(lines([quoted(kept), *written.cells]))
    return WrittenItems(kept, written.header, len(tokens) - len(first), written.left_out, written.changed, separator)


def _read(source: Source, item: str, names: Sequence[str]) -> tuple[pa.Array, dict[str, pa.Array]]:
    """All rows: the ids, and the other columns unchanged."""
    chunks: list[Chunk] = list(source.chunks(names))
    if not chunks:
        raise DataError(f"{source.path} has no rows.")
    tokens = pa.concat_arrays([ids(chunk, item, "item") for chunk in chunks])
    return tokens, {name: _whole(source, name, [chunk.columns[name] for chunk in chunks]) for name in names[1:]}


def _whole(source: Source, name: str, parts: list[pa.Array]) -> pa.Array:
    try:
        return pa.concat_arrays([part.dictionary_decode() if pa.types.is_dictionary(part.type) else part for part in parts])
    except pa.ArrowInvalid:  # An array of strings has offsets of 32 bits.
        raise DataError(f"The column {name!r} of {source.path} holds more than 2 GiB of text: leave it out.") from None


def _first_rows(tokens: pa.Array) -> np.ndarray:
    """The first row of every item, int64."""
    _, first = np.unique(pc.dictionary_encode(tokens).indices.to_numpy(), return_index=True)
    return np.sort(first)


def _title_first(names: Mapping[str, pa.Array]) -> list[str]:
    title = guess_title(name for name in names if not pa.types.is_nested(names[name].type))
    return sorted(names, key=lambda name: name != title)


def _entries(column: pa.Array, separator: str | None) -> list[list[str]]:
    """The entries of each row, without spaces around them, and without empty ones."""
    if not pa.types.is_nested(column.type):
        text = as_text(column)
        rows = [(value or "").split(separator) for value in text.to_pylist()] if text is not None else []
    else:
        entries = as_text(column.flatten())
        if entries is None:
            return []
        texts, sizes = entries.to_pylist(), pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        ends = np.cumsum(sizes)
        rows = [texts[end - size : end] for size, end in zip(sizes.tolist(), ends.tolist(), strict=True)]
    return [[entry for text in row if (entry := re.sub(r"[\t\n\r\0]+", " ", text or "").strip())] for row in rows]


def _free_separator(lists: Iterable[list[list[str]]]) -> str:
    """A separator that no entry holds."""
    characters: set[str] = set()
    for rows in lists:
        for row in rows:
            characters.update(*row)
    free = next((mark for mark in _SEPARATORS if mark not in characters), None)
    if free is None:
        raise DataError("The lists hold spaces and each of | ; , and U+001F: replace one of them in the file first.")
    return free


class _Columns:
    """The columns that are written after the ids.

    Args:
        separator: the text between the entries of a list.
    """

    def __init__(self, separator: str | None) -> None:
        self._separator = separator or " "
        self.header: list[str] = []
        self.cells: list[pa.Array] = []
        self.left_out: list[str] = []
        self.changed = 0

    def add(self, name: str, entries: list[list[str]] | None, column: pa.Array) -> None:
        """Add a column as lists, numbers or text, by its values."""
        if entries is not None:
            text = pa.array([self._separator.join(row) for row in entries] or [""] * len(column), pa.string())
            kind = "token_seq"
        else:
            plain = as_text(column)
            text, changed = one_line(plain) if plain is not None else (pa.array([""] * len(column)), 0)
            self.changed += changed
            text, kind = (pc.utf8_trim_whitespace(text), "float") if _is_number(text) else (text, "token")
        if pc.all(pc.equal(text, "")).as_py():
            self.left_out.append(name)
            return
        self.header.append(f"{self._free(name)}:{kind}")
        self.cells.append(quoted(text))

    def _free(self, name: str) -> str:
        """A name that a header can hold, and that no other column has."""
        name = re.sub(r":(token|float)(_seq)?$", "", name).encode("utf-8", "replace").decode()
        name = re.sub(r"[\s:\"\0]+", "_", name) or "column"
        taken = _TAKEN | {column.rpartition(":")[0] for column in self.header}
        while name in taken:
            name = f"item_{name}"
        return name


def _is_number(text: pa.Array) -> bool:
    filled = text.filter(pc.not_equal(text, ""))
    return bool(len(filled)) and bool(pc.all(pc.match_substring_regex(pc.utf8_trim_whitespace(filled), _NUMBER)).as_py())
