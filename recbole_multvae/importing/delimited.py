"""CSV, TSV and other text with separators. A line is a row, unless a quoted value holds a line end.

Arrow reads plain text fast, but it accepts any misplaced quote. Text with a quote that is not where CSV allows it, and text
that Arrow refuses, is read by Python's csv module in strict mode, which says what is wrong.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from recbole_multvae.errors import ConfigurationError, DataError
from recbole_multvae.importing.arrow import arrow_csv, pa, pc
from recbole_multvae.importing.files import BLOCK, texts
from recbole_multvae.importing.separators import STAND_IN, guess_separator, quoting
from recbole_multvae.importing.source import Chunk, in_words

#: The header and the separator are looked for in this many characters, and in this many lines of them.
_SAMPLE, _SAMPLE_LINES = 1 << 20, 50


@dataclass(frozen=True)
class Layout:
    """How a text file is written: separator (None: guess), encoding, whether it has a header and quotes."""

    separator: str | None = None
    encoding: str = "utf-8"
    header: bool = True
    quotes: bool = True


class Delimited:
    """A text file with a separator between values: a ``Source``.

    Args:
        path: the file.
        layout: how it is written.

    Raises:
        DataError: the file has only one column, or no rows.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self._layout = path, layout
        sample = next(texts(path, layout.encoding, _SAMPLE), "")
        lines = list(islice(io.StringIO(sample, newline=""), _SAMPLE_LINES))
        if not any(line.strip() for line in lines):
            raise DataError(f"{path} is empty: expected rows, and a line with the names of the columns before them.")
        separator = layout.separator or guess_separator(lines[:-1] or lines, layout.quotes)
        if separator is None:
            raise DataError(f"{path} has only one column: name the separator of its columns with --separator, such as ';'.")
        self._long = separator if len(separator) > 1 else ""
        self._separator = STAND_IN if self._long else separator
        self._skipped, first = self._first_row(sample)
        self.names = first if layout.header else [str(number) for number in range(1, len(first) + 1)]

    def _first_row(self, sample: str) -> tuple[int, list[str]]:
        """The number of lines of the header, 0 without one, and the values of the first row."""
        reader = self._reader(io.StringIO(self._prepared(sample), newline=""))
        try:
            first: list[str] = [self._restored(name).strip() for name in next(filter(None, reader))]
        except csv.Error as error:
            raise self._not_csv(1, error) from None
        skipped = reader.line_num if self._layout.header else 0
        if len(first) == 1:
            raise DataError(
                f"{self.path} has only one column, {in_words(*first)}: name the separator of its columns with --separator, "
                "such as ';'."
            )
        with suppress(csv.Error):  # chunks() will raise it with its line.
            if skipped and not any(reader):
                raise DataError(f"{self.path} has a header and no rows.")
        return skipped, first

    def chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        """Read some columns.

        Raises:
            DataError: a row has another number of values than the header, or a quote is not where CSV allows it.
        """
        rest, line = "", self._skipped + 1
        for block in chain(_without_lines(texts(self.path, self._layout.encoding, BLOCK), self._skipped), [""]):
            text = rest + block
            data = self._prepared(text).encode()
            end = self._end(data) if block else len(data)
            if self._is_plain(data[:end]) and (end or not block):
                yield from self._quickly(data[:end], line, names)
                line += data.count(b"\n", 0, end)
                rest = self._restored(data[end:].decode())
            else:
                chunk, used = self._slowly(text, line, names, last=not block)
                yield from chunk
                line += used
                rest = "".join(_lines(text)[used:])

    def _prepared(self, text: str) -> str:
        if not self._long:
            return text
        if STAND_IN in text:
            raise ConfigurationError(
                f"{self.path} holds the character U+001F, which cannot be read with a separator of several characters, "
                f"{self._long!r}: replace it first."
            )
        return text.replace(self._long, STAND_IN)

    def _restored(self, text: str) -> str:
        return text.replace(STAND_IN, self._long) if self._long else text

    def _end(self, data: bytes) -> int:
        """The end of the last complete row."""
        if not self._layout.quotes or b'"' not in data:
            return data.rfind(b"\n") + 1
        characters = np.frombuffer(data, np.uint8)
        quotes, ends = np.flatnonzero(characters == ord('"')), np.flatnonzero(characters == ord("\n"))
        outside = ends[np.searchsorted(quotes, ends) % 2 == 0]
        return int(outside[-1]) + 1 if len(outside) else 0

    def _is_plain(self, data: bytes) -> bool:
        """Whether every quote opens a value, closes one, or is doubled inside one."""
        if not self._layout.quotes or b'"' not in data:
            return True
        characters = np.frombuffer(data, np.uint8)
        quotes = np.flatnonzero(characters == ord('"'))
        around = np.frombuffer(f'{self._separator}\n\r"'.encode(), np.uint8)
        before, after = quotes[0::2] - 1, quotes[1::2] + 1
        ends_well = np.isin(characters[after[after < len(data)]], around).all()
        return len(quotes) % 2 == 0 and bool(ends_well and np.isin(characters[before[before >= 0]], around).all())

    def _quickly(self, text: bytes, line: int, names: Sequence[str]) -> Iterator[Chunk]:
        """The rows of plain text, if there are any."""
        if not text.strip():
            return
        # The file's byte order mark is gone already. One that is left belongs to a token, and Arrow would remove it.
        data = b"\n" + text if text.startswith(codecs.BOM_UTF8) else text
        numbers = [str(number) for number in range(len(self.names))]  # Names may be empty, or occur twice.
        columns = [numbers[self.names.index(name)] for name in names]
        quotes = self._layout.quotes and b'"' in data
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(data),
                arrow_csv.ReadOptions(column_names=numbers, block_size=len(data) + 1),
                arrow_csv.ParseOptions(
                    delimiter=self._separator, quote_char='"' if quotes else False, newlines_in_values=quotes
                ),
                arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(numbers, pa.string()), include_columns=columns, strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid:
            yield from self._slowly(self._restored(text.decode()), line, names, last=True)[0]
            return
        arrays = [self._restored_array(table.column(number).combine_chunks()) for number in columns]
        yield Chunk(dict(zip(names, arrays, strict=True)), lambda row: self._place(self._line_of(text, line, row)))

    def _restored_array(self, array: pa.Array) -> pa.Array:
        return pc.replace_substring(array, STAND_IN, self._long) if self._long else array

    def _line_of(self, text: bytes, line: int, row: int) -> int:
        return self._rows(_lines(self._restored(text.decode())), line, last=True)[0][row][0]

    def _place(self, line: int) -> str:
        return f"Line {line} of {self.path}"

    def _slowly(self, text: str, line: int, names: Sequence[str], last: bool) -> tuple[list[Chunk], int]:
        """The rows of any text as one chunk, or none; and the number of lines that they take."""
        rows, used = self._rows(_lines(text), line, last)
        if not rows:
            return [], used
        columns = list(zip(*(row for _, row in rows), strict=True))
        arrays = [self._restored_array(pa.array(columns[self.names.index(name)], pa.string())) for name in names]
        numbers = [number for number, _ in rows]
        return [Chunk(dict(zip(names, arrays, strict=True)), lambda row: self._place(numbers[row]))], used

    def _rows(self, lines: Sequence[str], line: int, last: bool) -> tuple[list[tuple[int, list[str]]], int]:
        """The rows of some lines as Python's csv module reads them.

        Args:
            lines: with their ends.
            line: the number of the first one.
            last: whether the text ends here; otherwise an incomplete row is left out.

        Returns:
            Each row with the number of its first line; and the number of lines of all rows.
        """
        whole = lines if last or not lines or lines[-1].endswith("\n") else lines[:-1]
        reader = self._reader(map(self._prepared, whole))
        rows: list[tuple[int, list[str]]] = []
        used = 0
        try:
            for row in reader:
                if row:
                    self._check_width(row, line + used)
                    rows.append((line + used, row))
                used = reader.line_num
        except csv.Error as error:
            if last or "unexpected end of data" not in str(error):
                raise self._not_csv(line + used, error) from None
        return rows, used

    def _check_width(self, row: Sequence[str], line: int) -> None:
        if len(row) != len(self.names):
            raise DataError(
                f"{self._place(line)} has {len(row)} values, and the first row has {len(self.names)}: a value that holds "
                f"{self._long or self._separator!r} must be in quotes."
            )

    def _reader(self, lines: Iterable[str]) -> Any:
        return csv.reader(lines, delimiter=self._separator, quoting=quoting(self._layout.quotes), strict=True)

    def _not_csv(self, line: int, error: csv.Error) -> DataError:
        return DataError(
            f"The row that begins in line {line} of {self.path} has a quote that is not closed, or goes on after it is "
            f"closed ({error}): write the value in quotes with those inside doubled, or, where no value is in quotes, add "
            "--no-quotes."
        )


def _without_lines(blocks: Iterator[str], count: int) -> Iterator[str]:
    """A text without its first lines."""
    start = ""
    for block in blocks:
        start += block
        if len(_lines(start)) > count:
            break
    yield "".join(_lines(start)[count:])
    yield from blocks


def _lines(text: str) -> list[str]:
    """The lines of a text, with their ends."""
    return list(io.StringIO(text, newline=""))
