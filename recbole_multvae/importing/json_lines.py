"""JSON lines: every line is an object. Numbers are kept as text, as in the file."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from recbole_multvae.errors import DataError
from recbole_multvae.importing.arrow import pa
from recbole_multvae.importing.files import BLOCK, texts
from recbole_multvae.importing.source import Chunk, in_words

#: Rows whose keys are the names of the columns, and the bytes that are read at once for them.
_SAMPLE_ROWS, _SAMPLE = 1000, 1 << 16
#: It separates lines that are parsed at once, so that two halves of objects do not become a whole one.
_MARK = secrets.token_hex(8)
_BETWEEN = f',"{_MARK}",'
_DECODE = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str).decode


class JsonLines:
    """A file with a JSON object a line: a ``Source``.

    Args:
        path: the file.
        encoding: its encoding.
        whole: read all rows at once, for the names of all columns; otherwise only the first rows name the columns.

    Raises:
        DataError: the first row is not a JSON object; with ``whole``, any row.
    """

    def __init__(self, path: Path, encoding: str, whole: bool = False) -> None:
        self.path, self._encoding, self._block = path, encoding, None if whole else BLOCK
        names: dict[str, None] = {}
        rows = chain.from_iterable(objects for _, objects in self._objects(self._block and _SAMPLE))
        for row in rows if whole else islice(rows, _SAMPLE_ROWS):
            names.update(dict.fromkeys(row))
        if not names:
            raise DataError(f"{path} has no rows: expected a JSON object in every line, such as {{'user': 1, 'item': 2}}.")
        self.names = list(names)

    def chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        """Read some columns. A column of lists is an Arrow array of lists; of objects, an array of structs.

        Raises:
            DataError: a line is not a JSON object.
        """
        for numbers, rows in self._objects(self._block):
            place = partial(self._place, numbers)
            yield Chunk({name: _column([row.get(name) for row in rows], place) for name in names}, place)

    def _place(self, numbers: Sequence[int], row: int) -> str:
        return f"Line {numbers[row]} of {self.path}"

    def _objects(self, size: int | None) -> Iterator[tuple[list[int], list[dict[str, Any]]]]:
        """The rows of a block, and the numbers of their lines."""
        rest, line = "", 1
        for block in chain(texts(self.path, self._encoding, size), [""]):
            lines = (rest + block).split("\n")
            rest = lines.pop() if block else ""
            numbers = [number for number, text in enumerate(lines, line) if text and not text.isspace()]
            rows = self._rows(numbers, [lines[number - line] for number in numbers])
            line += len(lines)
            if rows:
                yield numbers, rows

    def _rows(self, numbers: Sequence[int], lines: Sequence[str]) -> list[dict[str, Any]]:
        """The objects of some lines. They are parsed at once, which is twice as fast; one by one if that fails."""
        try:
            values = _DECODE(f"[{_BETWEEN.join(lines)}]")
        except (ValueError, RecursionError):
            values = []
        rows = values[::2]
        if len(rows) == len(lines) and {*map(type, rows)} == {dict} and set(values[1::2]) <= {_MARK}:
            return rows
        return [self._object(number, text) for number, text in zip(numbers, lines, strict=True)]

    def _object(self, number: int, text: str) -> dict[str, Any]:
        try:
            value = _DECODE(text)
        except (ValueError, RecursionError) as error:
            raise self._not_an_object(number, text, f"is not JSON ({error})") from None
        if not isinstance(value, dict):
            raise self._not_an_object(number, text, f"is the JSON {in_words(text.strip())}")
        return value

    def _not_an_object(self, number: int, text: str, reason: str) -> DataError:
        advice = "; jq -c '.[]' makes lines of an array" if number == 1 and text.lstrip().startswith("[") else ""
        expected = f'expected an object such as {{"user": 1, "item": 2}} in every line{advice}'
        return DataError(f"{self._place([number], 0)} {reason}: {expected}.")


def _column(values: list[Any], place: Any) -> pa.Array:
    kinds = {type(value) for value in values}
    if dict in kinds:
        return pa.StructArray.from_arrays([pa.nulls(len(values))], ["object"])
    if list in kinds:
        values = [value if isinstance(value, list) or value is None else [value] for value in values]
        texts = [value and [_text(entry) for entry in value if entry is not None] for value in values]
        return _array(texts, pa.list_(pa.string()), place)
    return _array([_text(value) for value in values] if bool in kinds else values, pa.string(), place)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _array(values: list[Any], kind: pa.DataType, place: Any) -> pa.Array:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError as error:
        row = next(row for row, value in enumerate(values) if str(error.object) in (value or ()))
        raise DataError(f"{place(row)} holds half a character, which no file can hold: {error.object!a}.") from None
