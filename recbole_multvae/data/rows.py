"""The fields of a line of an atomic file, and of its header."""

from __future__ import annotations

import re
from functools import cache

_QUOTED = r'"((?:[^"]|"")*)"'


def split_header(line: str, separator: str) -> list[str]:
    """The columns of a header, such as ``user_id:token``, without quotes around them."""
    return [_without_quotes(column) for column in line.split(separator)]


def split_row(line: str, separator: str, width: int) -> list[str] | None:
    """The fields of a line; None if their number is not ``width``.

    As in CSV, a field in quotes loses them, and two quotes inside it become one. It may hold the separator, if the line has
    ``width`` fields then. Any other quote is a character like others.

    Args:
        line: without its end.
        separator: the text between two fields, taken literally.
        width: how many columns the header has.
    """
    for fields in (_over_separators(line, separator), [_without_quotes(field) for field in line.split(separator)]):
        if len(fields) == width:
            return fields
    return None


def _over_separators(line: str, separator: str) -> list[str]:
    """The fields, of which those in quotes may hold the separator."""
    fields, place = [], 0
    while place <= len(line):
        field = _next_field(separator).match(line, place)
        assert field is not None
        fields.append(field["plain"] if field[1] is None else field[1].replace('""', '"'))
        place = field.end() + len(separator)
    return fields


@cache
def _next_field(separator: str) -> re.Pattern[str]:
    end = rf"(?={re.escape(separator)}|\Z)"
    return re.compile(rf"{_QUOTED}{end}|(?P<plain>.*?){end}", re.DOTALL)


def _without_quotes(field: str) -> str:
    quoted = re.fullmatch(_QUOTED, field)
    return field if quoted is None else quoted[1].replace('""', '"')
