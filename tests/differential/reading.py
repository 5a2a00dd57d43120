"""A transcription of what an atomic file says: it reads the bytes itself, without RecBole, pandas or this package.

What RecBole's own reading makes of it is here too, fault by fault, so that a difference from RecBole counts as known only
where the named faults give exactly RecBole's answer.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

KINDS = {"token", "token_seq", "float", "float_seq"}
MARKS = {b"\xef\xbb\xbf": {"utf-8-sig"}, b"\xff\xfe": {"utf-16"}, b"\xfe\xff": {"utf-16"}}
#: What pandas takes for missing where it is not told otherwise.
MISSING = {
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null",
}  # fmt: skip

#: A value of a row: a number, which may be NaN, a token, or None for a missing token.
Value = float | str | None
Row = dict[str, Value]


class SentenceError(Exception):
    """The right answer is no result but a sentence. The argument is the kind of mistake."""


class FailsError(Exception):
    """RecBole's own reading ends in an error here."""


@dataclass(frozen=True)
class Reading:
    """How files are read: ``faults`` are those of RecBole that are copied, and none of them is what is right."""

    separator: str = "\t"
    encoding: str = "utf-8"
    faults: frozenset[str] = frozenset()

    def table(self, content: bytes, identities: list[str], wanted: set[str] | None, left_out: set[str]) -> list[Row]:
        """The rows of a file, with the columns to load.

        Args:
            content: of the file.
            identities: the columns that every row needs: a user, an item, or both.
            wanted: the names of the columns to load; None for all.
            left_out: those not to load.
        """
        header, *lines = self.lines(content)
        names, kinds = self.columns(header)
        if any(kinds.get(name) != "token" for name in identities):
            raise SentenceError("a column is missing")
        kept = [name for name in names if (wanted is None or name in wanted) and name not in left_out]
        if not set(identities) <= set(kept):
            raise SentenceError("a column is not loaded")
        found = [dict(zip(names, fields, strict=True)) for fields in self._fields(content, lines, len(names))]
        if not found:
            raise SentenceError("no rows")
        rows = [{name: self._value(row[name], kinds[name]) for name in kept} for row in found]
        self._check_identities(rows, identities)
        return rows

    def lines(self, content: bytes) -> list[str]:
        """The lines that hold something."""
        for mark, encodings in MARKS.items():
            if content.startswith(mark) and self.encoding not in encodings:
                raise SentenceError("byte order mark")
        try:
            text = content.decode(self.encoding)
        except UnicodeDecodeError:
            raise SentenceError("encoding") from None
        text = text.replace("\r\n", "\n")
        text = text if "\n" in text else text.replace("\r", "\n")
        if "\r" in text or "\0" in text:
            raise SentenceError("a character that no line holds")
        lines = text.split("\n")
        if not lines[0]:
            raise SentenceError("empty file")
        return [lines[0], *(line for line in lines[1:] if line.strip(" ") or self.separator in line)]

    def columns(self, header: str) -> tuple[list[str], dict[str, str]]:
        columns = [column.partition(":") for column in header.split(self.separator)]
        names, kinds = [name for name, _, _ in columns], {name: kind for name, _, kind in columns}
        if not set(kinds.values()) <= KINDS:
            raise SentenceError("an unknown type")
        if len(kinds) < len(names):
            raise SentenceError("a column twice")
        return names, kinds

    def _fields(self, content: bytes, lines: list[str], width: int) -> Iterator[list[str | None]]:
        if "csv" in self.faults:
            yield from self._fields_of_recbole(content, width)
            return
        for line in lines:
            yield self.fields_of(line, width)

    def fields_of(self, line: str, width: int) -> list[str | None]:
        """The fields of a line; where fields in quotes that hold separators are too few, separators cut everywhere."""
        literal: list[str | None] = [split(field, "\n")[0] for field in line.split(self.separator)]
        for fields in (split(line, self.separator), literal):
            if len(fields) == width:
                return fields
        raise SentenceError("another number of fields")

    def _fields_of_recbole(self, content: bytes, width: int) -> Iterator[list[str | None]]:
        """pandas' parser in Python: CSV over line ends, or a regular expression; rows are cut and filled."""
        file = io.StringIO(content.decode(self.encoding), newline="")
        try:
            if len(self.separator) == 1:
                rows = list(csv.reader(file, delimiter=self.separator, strict=True))
            else:
                rows = [re.split(self.separator, line.strip()) for line in file]
        except (csv.Error, re.error) as error:
            raise FailsError("rows") from error
        rows = [row for row in rows if len(row) > 1 or (row and row[0].strip())]
        if len(rows[0]) != width or (len(rows) > 1 and len(rows[1]) > width):
            raise FailsError("header")
        for row in rows[1:]:
            yield [*row, *[None] * width][:width]

    def _value(self, text: str | None, kind: str) -> Value:
        if kind == "token":
            missing = text is None or text == "" or ("na" in self.faults and text in MISSING)
            return None if missing else text
        if kind == "float":
            return number(text or "", whole="float32" not in self.faults)
        return text

    def _check_identities(self, rows: list[Row], names: list[str]) -> None:
        for name in names:
            tokens = {row[name] for row in rows}
            if not self.faults and None in tokens:
                raise SentenceError("an empty token")
            if not self.faults and "[PAD]" in tokens:
                raise SentenceError("the token [PAD]")


def split(line: str, separator: str) -> list[str | None]:
    """The fields of a line: a quoted one may hold the separator, and a quote that has no pair is a character."""
    quoted = re.compile(rf'"((?:[^"]|"")*)"(?={re.escape(separator)}|$)')
    fields: list[str | None] = []
    place = 0
    while True:
        if match := quoted.match(line, place):
            fields.append(match[1].replace('""', '"'))
            end = match.end()
        else:
            found = line.find(separator, place)
            end = len(line) if found < 0 else found
            fields.append(line[place:end])
        if end == len(line):
            return fields
        place = end + len(separator)


def number(text: str, whole: bool = False) -> float:
    """The number that a text is; NaN is a missing one. With ``whole``, a whole number that float64 rounds stays exact."""
    if text in MISSING:
        return math.nan
    if whole and re.fullmatch(r"[+-]?\d{16,}", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        raise SentenceError("no number") from None
