"""Which character, or which two, separate the columns of a text file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Literal

from recbole_multvae.errors import ConfigurationError

#: One character that stands for a separator of several: what reads a table quickly takes only one.
STAND_IN = "\x1f"
_USUAL = ("\t", ",", ";", "|", "::")
_WORDS = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}


def read_separator(text: str) -> str:
    """A separator from the command line, where a tab may be written as backslash and t, or as ``tab``.

    Raises:
        ConfigurationError: it is empty, or a line end or a quote is in it.
    """
    separator = _WORDS.get(text, text)
    if not separator or set(separator) & set('\n\r"' + STAND_IN):
        raise ConfigurationError(
            f"--separator={text!r} is not allowed: expected a character such as , or ; or \\t, or '::'."
        )
    return separator


def quoting(quotes: bool) -> Literal[0, 3]:
    """How Python's csv module is to read quotes: as CSV has them, or as characters like any other."""
    return csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE


def widths(lines: Sequence[str], separator: str, quotes: bool) -> list[int]:
    """The number of values of each row in some lines, without empty rows."""
    if len(separator) > 1:
        lines, separator = [line.replace(separator, STAND_IN) for line in lines], STAND_IN
    try:
        return [len(row) for row in csv.reader(lines, delimiter=separator, quoting=quoting(quotes)) if row]
    except csv.Error:
        return []


def guess_separator(lines: Sequence[str], quotes: bool) -> str | None:
    """The separator with which the first rows have the same number of values, the largest one; None for one column only.

    Where no separator makes the rows equal, the first row decides: what is wrong with another row is said when it is read.
    """
    found = {separator: found for separator in _USUAL if (found := widths(lines, separator, quotes))}
    even = {separator: rows[0] for separator, rows in found.items() if rows[0] > 1 and len(set(rows)) == 1}
    first = {separator: rows[0] for separator, rows in found.items() if rows[0] > 1}
    best = even or first
    return max(best, key=lambda separator: best[separator]) if best else None
