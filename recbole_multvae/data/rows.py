"""The fields of a line of an atomic file."""

from __future__ import annotations

import re
from functools import cache

_QUOTED = r'"((?:[^"]|"")*)"'


def split_row(line: str, separator: str, width: int) -> list[str] | None:
    """The fields of a line; None where their number is not ``width``.

    A field in quotes loses them, and two quotes within are one, as in CSV. It may hold the separator, unless the line has
    another number of fields then. Any other quote is a character like others.

    Args:
        line: without its end.
        separator: what stands between two fields, literally.
        width: how many columns the header has.
    """
    for fields in (_over_separators(line, separator), [_without_quotes(field) for field in line.split(separator)]):
        if len(fields) == width:
            return fields
    return None


def _over_separators(line: str, separator: str) -> list[str]:
    """The fields where what is in quotes may hold the separator."""
    fields, place = [], 0
    while place <= len(line):
        found = _next_field(separator).match(line, place)
        assert found is not None
        fields.append(found["plain"] if found[1] is None else found[1].replace('""', '"'))
        place = found.end() + len(separator)
    return fields


@cache
def _next_field(separator: str) -> re.Pattern[str]:
    end = rf"(?={re.escape(separator)}|\Z)"
    return re.compile(rf"{_QUOTED}{end}|(?P<plain>.*?){end}", re.DOTALL)


def _without_quotes(field: str) -> str:
    quoted = re.fullmatch(_QUOTED, field)
    return field if quoted is None else quoted[1].replace('""', '"')
