"""Histories to try a file on: random ones, and those of a RecBole file of interactions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np

from multvae_export.errors import HistoriesError

#: A field in quotes. A quote inside is doubled.
QUOTED = r'"((?:[^"]|"")*)"'
#: Mean and standard deviation of the logarithm of a random history's length: 47 items on average.
LOG_MEAN, LOG_SPREAD = 3.41, 1.0
#: Of more users than these, so many are drawn to try a file on.
MOST = 10_000

User = TypeVar("User")


def random_histories(n_items: int, count: int, longest: int | None = None) -> list[np.ndarray]:
    """Histories of distinct items, drawn uniformly; the same ones at every call.

    Args:
        n_items: C, the catalogue with the padding item.
        count: how many histories.
        longest: the length of the longest; by default, and at most, half the catalogue.

    Returns:
        RecBole item ids, int64 [length] each.
    """
    rng = np.random.default_rng(0)
    half = max(1, (n_items - 1) // 2)
    lengths = np.clip(rng.lognormal(LOG_MEAN, LOG_SPREAD, count), 1, min(longest or half, half)).astype(int)
    return [rng.choice(n_items - 1, length, replace=False) + 1 for length in lengths]


def padded(histories: Sequence[np.ndarray]) -> np.ndarray:
    """Histories as the rows of an array, int64 [B, L], with 0 for padding."""
    rows = np.zeros((len(histories), max(map(len, histories), default=0)), np.int64)
    for row, history in zip(rows, histories, strict=True):
        row[: len(history)] = history
    return rows


@dataclass(frozen=True)
class Layout:
    """The layout of a file of interactions, as RecBole's configuration names it.

    Attributes:
        user, item: the names of the two columns, without their type.
        separator: one or more characters between the fields of a line.
        encoding: of the text.
        time: the name of the column of times; None where they are not read.
        between: one or more characters between the values of a field with several.
    """

    user: str = "user_id"
    item: str = "item_id"
    separator: str = "\t"
    encoding: str = "utf-8"
    time: str | None = None
    between: str = " "

    @classmethod
    def of(cls, config: dict[str, Any]) -> Layout:
        """The layout in a checkpoint's configuration, with RecBole's default for a key that is missing, empty or no text."""
        keys = {
            "user": "USER_ID_FIELD",
            "item": "ITEM_ID_FIELD",
            "separator": "field_separator",
            "between": "seq_separator",
            "encoding": "encoding",
        }
        values = {name: config.get(key) for name, key in keys.items()}
        return cls(**{name: value for name, value in values.items() if isinstance(value, str) and value})


def read_inter(path: str | Path, tokens: Sequence[str], layout: Layout) -> list[np.ndarray]:
    """The histories in RecBole's atomic file of interactions, one for each user, in order of the file.

    Items that the model does not know are left out.

    Args:
        path: an ``.inter`` file, see :func:`read_rows`.
        tokens: the model's item tokens by id, the padding item's first.
        layout: its columns, separator and encoding.

    Returns:
        The ids of each user's known items, distinct and sorted, int64 [length] each. Users without any are left out.

    Raises:
        HistoriesError: as :func:`read_rows`.
    """
    ids = {token: n for n, token in enumerate(tokens) if n}
    users: dict[str, set[int]] = {}
    for user, item, _ in read_rows(path, layout):
        if item in ids:
            users.setdefault(user, set()).add(ids[item])
    return [np.array(sorted(items)) for items in users.values()]


def drawn(users: Sequence[User], rng: np.random.Generator) -> list[User]:
    """Users by id, or their histories, in their order; of more than 10,000 users 10,000 are drawn uniformly."""
    return [users[n] for n in np.sort(rng.permutation(len(users))[:MOST])]


def read_rows(path: str | Path, layout: Layout) -> Iterator[tuple[str, str, float | None]]:
    """The user, the item and the time of each row of RecBole's atomic file of interactions, in order of the file.

    A line is a row. It ends with a line feed, or with a carriage return and a line feed. Blank lines are skipped. Quotes
    around a field are removed, as in CSV; any other quote is a character of its token. The time is None where the layout
    names no column of times, or the file does not have it.

    Raises:
        HistoriesError: the file cannot be read or lacks a column, or a line has another number of fields than the header, an
            empty user or item, a time that is no number, or a carriage return or NUL inside.
    """
    with opened(path, layout) as file:
        yield from _rows(file, path, layout)


@contextmanager
def opened(path: str | Path, layout: Layout) -> Iterator[TextIO]:
    """One of RecBole's atomic files, whose lines end with a line feed.

    Raises:
        HistoriesError: the file cannot be read, or a text in it is not what the layout says.
    """
    try:
        with Path(path).open(encoding=layout.encoding, newline="\n") as file:
            yield file
    except OSError as error:
        raise HistoriesError(f"cannot read {path}: {error}") from error
    except (LookupError, ValueError, TypeError) as error:
        raise HistoriesError(
            f"{path} is not written with encoding={layout.encoding} and field_separator={layout.separator!r}: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _rows(file: Iterable[str], path: str | Path, layout: Layout) -> Iterator[tuple[str, str, float | None]]:
    header, lines = read_fields(file, path, layout.separator)
    columns = [f"{name}:token" for name in (layout.user, layout.item)]
    if missing := [name for name in columns if name not in header]:
        first_line = layout.separator.join(header)[:80]
        raise HistoriesError(f"{path} has no column {missing[0]}: expected a RecBole .inter file, found {first_line!r}.")
    user_at, item_at = map(header.index, columns)
    time_at = header.index(f"{layout.time}:float") if f"{layout.time}:float" in header else None
    for number, fields in lines:
        user, item = fields[user_at], fields[item_at]
        if not user or not item:
            raise HistoriesError(
                f"line {number} of {path} has nothing for {columns[bool(user)]}: expected a token in every row."
            )
        yield user, item, None if time_at is None else _time(fields[time_at], f"line {number} of {path}", header[time_at])


def read_fields(file: Iterable[str], path: str | Path, separator: str) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The columns of one of RecBole's atomic files, as name and type, and the number and the fields of each line after them.

    Raises:
        HistoriesError: a line has another number of fields than the first, or a carriage return or NUL inside.
    """
    lines = _lines(file, path)
    header = split_row(next(lines, "").removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}"), separator)

    def rows() -> Iterator[tuple[int, list[str]]]:
        for number, line in enumerate(lines, 2):
            fields = line.split(separator) if '"' not in line else split_row(line, separator, len(header))
            if len(fields) == len(header) and (line.strip(" ") or len(header) > 1):
                yield number, fields
            elif len(fields) > 1 or line.strip(" "):
                raise HistoriesError(f"line {number} of {path} has {len(fields)} fields, expected {len(header)}.")

    return header, rows()


def _time(text: str, place: str, column: str) -> float:
    try:
        time = float(text)
    except ValueError:
        time = math.nan
    if not math.isfinite(time):
        raise HistoriesError(f"{place} has {text[:80]!r} for {column}: expected a number in every row.")
    return time


def _lines(file: Iterable[str], path: str | Path) -> Iterator[str]:
    """The lines without their ends. A file without line feeds may have carriage returns in their place."""
    for number, text in enumerate(file, 1):
        line = text.rstrip("\n")
        if "\r" in line and text.endswith("\r\n"):
            line = line[:-1]
        if "\r" not in line and "\0" not in line:
            yield line
        elif number == 1 and not text.endswith("\n") and "\r" in text:
            yield from _lines((f"{line}\n" for line in text.split("\r")), path)
        else:
            character = "a carriage return" if "\r" in line else "the character NUL"
            raise HistoriesError(f"line {number} of {path} has {character} inside: take it out of the file.")


def split_row(line: str, separator: str, width: int | None = None) -> list[str]:
    """The fields of a line, without quotes around them.

    A field in quotes may hold the separator, unless the line then has another number of fields than ``width``.
    """
    field = re.compile(rf"(?:{QUOTED}|.*?)(?={re.escape(separator)}|\Z)", re.DOTALL)
    fields, place = [], 0
    while place <= len(line) and (match := field.match(line, place)):
        fields.append(_without_quotes(match[0]))
        place = match.end() + len(separator)
    return fields if len(fields) == width else [_without_quotes(field) for field in line.split(separator)]


def _without_quotes(field: str) -> str:
    quoted = re.fullmatch(QUOTED, field)
    return field if quoted is None else quoted[1].replace('""', '"')
