"""The table of an atomic file, read so that nothing is lost or guessed.

RecBole reads its files as CSV with pandas (``recbole/data/dataset/dataset.py:_load_feat``): a quote at the start of a token
swallows the lines up to the next quote, ``NA`` and ``null`` become missing values, lines with another number of fields are
cut or filled, and a separator of several characters is a regular expression. Here

* a line is a row, and every row has as many fields as the header has columns;
* a field in a pair of quotes loses them, as in CSV; any other quote is a character of its token;
* a token is the text in the file; only an empty one is missing;
* a number is what Python's ``float`` makes of its text.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from recbole.utils import FeatureType

from recbole_multvae.data.rows import split_header, split_row
from recbole_multvae.errors import DataError

#: The marks that programs write at the beginning of a file, and the encoding that removes them.
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
#: One of these characters replaces a separator that pandas cannot read as one byte. No text has them all.
_STAND_INS = "\x1f\x1e\x1d\x1c\x07\x06\x05\x04\x03\x02\x01"
#: Texts that stand for a missing number. They are those of pandas, so that RecBole's files read as before.
MISSING = frozenset({
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null",
})  # fmt: skip
#: RecBole's token of padding, with the id 0. RecBole would give another id to a user or an item of this name.
PADDING = "[PAD]"
#: Different whole numbers from here on may be the same float64.
EXACT = 2**53
_CHUNK = 2**26


@dataclass(frozen=True)
class AtomicFile:
    """An atomic file.

    Attributes:
        path: of the file.
        separator: the text between two fields, taken literally.
        encoding: of the text; None is UTF-8.
    """

    path: Path
    separator: str = "\t"
    encoding: str | None = None

    @classmethod
    def from_config(cls, path: str | Path, config: Any) -> AtomicFile:
        """The file with the separator and the encoding of RecBole's ``Config``."""
        # RecBole spells the path of its ml-100k with "..".
        return cls(Path(os.path.normpath(path)), config["field_separator"], config["encoding"])

    @cached_property
    def columns(self) -> dict[str, FeatureType]:
        """The types of the columns by name, from the header.

        Raises:
            DataError: the file is empty, or its first line is not a header of an atomic file.
            OSError, UnicodeError: it cannot be read.
        """
        columns: dict[str, FeatureType] = {}
        for column in split_header(self._header(), self.separator):
            name, _, kind = column.partition(":")
            if kind not in {known.value for known in FeatureType}:
                raise DataError(
                    f"The header of {self.path} has the column {column!r}: expected a name and a type, such as "
                    f"user_id:token, and {self.separator!r} (field_separator) between columns."
                )
            if name in columns:
                raise DataError(f"The header of {self.path} names the column {name} twice: name every column once.")
            columns[name] = FeatureType(kind)
        return columns

    def _header(self) -> str:
        with self.path.open("rb") as file:
            start = file.read(3)
        for mark, removing in _BYTE_ORDER_MARKS.items():
            encoding = codecs.lookup(self.encoding or "utf-8").name
            if start.startswith(mark) and encoding not in (removing, "utf-16", "utf-32"):
                raise DataError(
                    f"{self.path} begins with a byte order mark, which RecBole takes for text: set encoding={removing}."
                )
        with self.path.open(encoding=self.encoding or "utf-8") as file:
            header, row = file.readline().rstrip("\n"), file.readline()
        if not header:
            raise DataError(f"{self.path} is empty: expected a header, such as user_id:token and item_id:token, and rows.")
        if not row:
            raise DataError(f"{self.path} has a header and no rows.")
        return header

    def read(self, names: Sequence[str], as_text: bool = False) -> Table:
        """Read some columns.

        Args:
            names: of the columns.
            as_text: read numbers as text too.

        Raises:
            DataError: a row has another number of fields than the header, a text is not the number that it should be, or a
                line holds a character that no text has; the message names the line.
            UnicodeError: the file is not in this encoding.
        """
        return _Reading(self).table(names, as_text)


@dataclass(frozen=True)
class Table:
    """Columns of an atomic file.

    Attributes:
        file: that they were read from.
        frame: the rows: texts as str, numbers as float64.
        lines: the line of each row in the file; None if these are 2, 3, 4 ...
        blank: the number of blank lines.
        clean: whether no field is empty and none holds :data:`PADDING`.
    """

    file: AtomicFile
    frame: pd.DataFrame
    lines: np.ndarray | None
    blank: int
    clean: bool

    def line(self, row: int) -> int:
        """The line of a row in the file; the header's is 1."""
        return row + 2 if self.lines is None else int(self.lines[row])

    def first(self, wrong: Any) -> str | None:
        """The first line that is wrong, bool [rows], in words; None if none is."""
        return f"Line {self.line(int(np.argmax(wrong)))} of {self.file.path}" if np.any(wrong) else None


class _Reading:
    """One reading of a file. Its content is in memory once."""

    def __init__(self, file: AtomicFile) -> None:
        self.file, self.width = file, len(file.columns)
        # With the header, as pandas would take a byte order mark from the first token.
        self.body = self._lines_of(self._as_utf8(file.path.read_bytes()))
        self.mark = self._set_marks()
        self.lines: np.ndarray | None = None
        self.blank = 0
        self._check_rows()

    def _as_utf8(self, content: bytes) -> bytes:
        encoding = codecs.lookup(self.file.encoding or "utf-8").name
        return content if encoding == "utf-8" else content.decode(encoding).encode()

    def _lines_of(self, content: bytes) -> bytes:
        """The content with a line feed at the end of every line.

        Raises:
            DataError: a line has NUL or a carriage return inside.
        """
        if b"\r" in content:
            content = content.replace(b"\r\n", b"\n")
            content = content if b"\n" in content else content.replace(b"\r", b"\n")
        for byte, name in ((b"\r", "a carriage return"), (b"\0", "the character NUL")):
            if (place := content.find(byte)) >= 0:
                line = content.count(b"\n", 0, place) + 1
                raise DataError(
                    f"Line {line} of {self.file.path} has {name} inside, so that it cannot be told where the row ends: take "
                    "it out of the file."
                )
        return content if content.endswith(b"\n") else content + b"\n"

    def _set_marks(self) -> bytes:
        """Let one byte separate the fields of the body, and return it."""
        separator, quoted = self.file.separator.encode(), b'"' in self.body
        if len(separator) == 1 and not quoted:
            return separator
        free = [byte for byte in map(str.encode, _STAND_INS) if byte not in self.body]
        if not free:
            raise DataError(f"{self.file.path} holds control characters of all kinds: it is not a text file.")
        self.body = self._in_pairs(separator, free[0]) if quoted else self.body.replace(separator, free[0])
        return free[0]

    def _in_pairs(self, separator: bytes, mark: bytes) -> bytes:
        """The body with marks between fields, and without the pairs of quotes around fields."""
        parts, end = [], 0
        for line in re.finditer(rb'(?m)^[^\n"]*"[^\n]*$', self.body):
            text = line[0].decode()
            fields = split_row(text, self.file.separator, self.width) or text.split(self.file.separator)
            parts += [self.body[end : line.start()].replace(separator, mark), mark.join(map(str.encode, fields))]
            end = line.end()
        return b"".join([*parts, self.body[end:].replace(separator, mark)])

    def _check_rows(self) -> None:
        """Compare the number of fields of every line with the header, and remove blank lines."""
        if self._is_regular():
            return
        kept, numbers = [], []
        for number, line in enumerate(self.body.split(b"\n")[:-1], 1):
            if self.mark not in line and not line.strip(b" "):
                continue
            if (width := line.count(self.mark) + 1) != self.width:
                raise DataError(
                    f"Line {number} of {self.file.path} has {width} value{'s' * (width > 1)}, and its header names "
                    f"{self.width} columns: write every value, and {self.file.separator!r} (field_separator) between "
                    "values only."
                )
            kept.append(line)
            numbers.append(number)
        self.blank = self.body.count(b"\n") - len(kept)
        self.body, self.lines = b"\n".join([*kept, b""]), np.array(numbers[1:])
        if len(kept) < 2:
            raise DataError(f"{self.file.path} has a header and no rows.")

    def _is_regular(self) -> bool:
        """Whether every line has as many fields as the header, seen in the bytes without a loop over lines."""
        if self.width == 1 and re.search(rb"(?m)^ *$", self.body[:-1]):
            return False
        content, mark = np.frombuffer(self.body, np.uint8), ord(self.mark)
        pieces = (content[n : n + _CHUNK] for n in range(0, len(content), _CHUNK))
        ends = np.concatenate([piece[(piece == mark) | (piece == ord("\n"))] for piece in pieces])
        if len(ends) % self.width:
            return False
        rows = ends.reshape(-1, self.width)
        return bool((rows[:, -1] == ord("\n")).all() and (rows[:, :-1] == mark).all())

    def _is_clean(self) -> bool:
        ends = (self.mark, b"\n") if self.width > 1 else (b"\n",)
        empty = (before + after for before in ends for after in ends)  # Much faster than a test of every token.
        return not any(part in self.body for part in (*empty, PADDING.encode()))

    def table(self, names: Sequence[str], as_text: bool) -> Table:
        """See :meth:`AtomicFile.read`."""
        places = {name: place for place, name in enumerate(self.file.columns) if name in names}
        numbers = {name for name in places if self.file.columns[name] is FeatureType.FLOAT and not as_text}
        try:
            frame = self._parse(places, numbers)
        except (ValueError, OverflowError) as error:
            if isinstance(error, UnicodeError) or not numbers:
                raise
            frame = self._parse(places, set())  # Python reads more numbers than pandas does, such as 1_000.
        table = Table(self.file, frame, self.lines, self.blank, self._is_clean())
        for name in numbers:
            if frame[name].dtype == object:
                frame[name] = _numbers(table, name)
        return table

    def _parse(self, places: Mapping[str, int], numbers: set[str]) -> pd.DataFrame:
        table = pd.read_csv(
            io.BytesIO(self.body), sep=self.mark.decode(), header=0, names=list(range(self.width)),
            usecols=list(places.values()), dtype={places[name]: np.float64 if name in numbers else str for name in places},
            keep_default_na=False, na_values={places[name]: list(MISSING) for name in numbers}, quoting=csv.QUOTE_NONE,
            skip_blank_lines=False, engine="c", encoding="utf-8", float_precision="round_trip",
        )  # fmt: skip
        table.columns = list(places)
        return table


def _numbers(table: Table, name: str) -> np.ndarray:
    """The numbers of a column of texts, float64; NaN for a missing one.

    Raises:
        DataError: a text is not a number.
    """
    codes, texts = pd.factorize(table.frame[name])
    values = [_number(text) for text in texts]
    wrong = np.array([value is None for value in values])[codes]
    if line := table.first(wrong):
        text = texts[codes[np.argmax(wrong)]]
        raise DataError(f"{line} has {text!r} as {name}: expected a number, as the column's type is float.")
    return np.array(values, dtype=np.float64)[codes]


def _number(text: str) -> float | None:
    try:
        return np.nan if text.strip() in MISSING else float(text)
    except ValueError:
        return None
