"""RecBole's atomic file of items: a token and some fields for each."""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from multvae_export.errors import FeaturesError
from multvae_export.histories import Layout, opened, read_fields

#: Texts that stand for a missing number, besides those that are NaN for Python's ``float``.
MISSING = frozenset({"", "NA", "N/A", "n/a", "null", "NULL", "None", "<NA>"})

_Lines = Iterator[tuple[int, list[str]]]
_Reader = Callable[[str], list[Any]]


@dataclass(frozen=True)
class ItemFile:
    """Items with their fields.

    Attributes:
        path: of the file.
        tokens: of the items, in order of the file. If an item comes twice, its first line counts.
        kinds: the types of the fields by name: token, token_seq, float or float_seq.
        values: for each field one value an item: words for token and token_seq, numbers for float and float_seq. Nothing is
            an empty list.
    """

    path: Path
    tokens: tuple[str, ...]
    kinds: dict[str, str]
    values: dict[str, list[list[Any]]]

    @classmethod
    def read(cls, path: str | Path, layout: Layout, names: Sequence[str] | None = None) -> ItemFile:
        """Read a file.

        Args:
            path: an ``.item`` file.
            layout: its column of items, its separators and its encoding.
            names: of the fields to read; None reads all.

        Raises:
            FeaturesError: it lacks a column, has no item, or a value is no number where the type says so.
            HistoriesError: it cannot be read, or a line is damaged.
        """
        with opened(path := Path(path), layout) as file:
            header, lines = read_fields(file, path, layout.separator)
            columns = [column.partition(":")[::2] for column in header]
            if (layout.item, "token") not in columns:
                raise FeaturesError(
                    f"{path} has no column {layout.item}:token: expected a RecBole .item file, found "
                    f"{layout.separator.join(header)[:80]!r}."
                )
            chosen = _chosen(path, dict(columns), layout.item, names)
            readers = {name: (columns.index((name, kind)), _reader(kind, layout)) for name, kind in chosen.items()}
            return cls._of(path, lines, columns.index((layout.item, "token")), readers, chosen)

    def only(self, tokens: Sequence[str]) -> ItemFile:
        """The same file with some of its items alone, in this order."""
        rows = {token: row for row, token in enumerate(self.tokens)}
        values = {name: [column[rows[token]] for token in tokens] for name, column in self.values.items()}
        return replace(self, tokens=tuple(tokens), values=values)

    @classmethod
    def _of(
        cls, path: Path, lines: _Lines, item_at: int, readers: dict[str, tuple[int, _Reader]], kinds: dict[str, str]
    ) -> ItemFile:
        rows: dict[str, list[list[Any]]] = {}
        for number, fields in lines:
            if not (token := fields[item_at]):
                raise FeaturesError(f"line {number} of {path} has no item: name an item in every row.")
            place = f"line {number} of {path}"
            if token not in rows:
                rows[token] = [_read(read, fields[at], name, place) for name, (at, read) in readers.items()]
        if not rows:
            raise FeaturesError(f"{path} has a header and no item: expected a line for each item.")
        values = zip(*rows.values(), strict=True)
        return cls(path, tuple(rows), kinds, {name: list(column) for name, column in zip(kinds, values, strict=True)})


def _chosen(path: Path, kinds: dict[str, str], item: str, names: Sequence[str] | None) -> dict[str, str]:
    """The types of the fields that are to be read."""
    fields = {name: kind for name, kind in kinds.items() if name != item and kind in _READERS}
    if missing := [name for name in names or () if name not in fields]:
        raise FeaturesError(f"{path} has no field {missing[0]}: expected one of {', '.join(fields) or 'none'}.")
    if not fields:
        raise FeaturesError(f"{path} has no fields besides {item}: add some, such as genre:token_seq or price:float.")
    return fields if names is None else {name: fields[name] for name in names}


def _word(text: str, between: str) -> list[str]:
    return [text] if text else []


def _words(text: str, between: str) -> list[str]:
    """Words in small letters, without punctuation at their ends."""
    parts = (part.strip(string.punctuation) or part for part in text.casefold().split(between))
    return [part for part in parts if part]


def _number(text: str, between: str) -> list[float]:
    return [] if text.strip() in MISSING else _finite([float(text)])


def _numbers(text: str, between: str) -> list[float]:
    return _finite([float(part) for part in text.split(between) if part])


def _finite(numbers: list[float]) -> list[float]:
    if any(map(math.isinf, numbers)):
        raise ValueError
    return [] if any(map(math.isnan, numbers)) else numbers


_READERS: dict[str, Callable[..., list[Any]]] = {
    "token": _word,
    "token_seq": _words,
    "float": _number,
    "float_seq": _numbers,
}


def _reader(kind: str, layout: Layout) -> _Reader:
    return partial(_READERS[kind], between=layout.between)


def _read(read: _Reader, text: str, name: str, place: str) -> list[Any]:
    try:
        return read(text)
    except ValueError:
        raise FeaturesError(f"{place} has {text[:80]!r} as {name}: expected finite numbers, as its type says.") from None
