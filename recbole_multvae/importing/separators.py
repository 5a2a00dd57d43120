"""The separator of the columns of a text file: one character, or two such as ``::``."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Literal

from recbole_multvae.errors import ConfigurationError

#: One character that replaces a separator of several: the fast readers accept only one.
STAND_IN = "\x1f"
_USUAL = ("\t", ",", ";", "|", "::")
_WORDS = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}


def read_separator(text: str) -> str:
    """A separator from the command line. A tab may be written as backslash and t, or as ``tab``.

    Raises:
        ConfigurationError: it is empty, or holds a line end or a quote.
    """
    separator = _WORDS.get(text, text)
    if not separator or set(separator) & set('\n\r"' + STAND_IN):
        raise ConfigurationError(
            f"--separator={text!r} is not allowed: expected a character such as , or ; or \\t, or '::'."
        )
    return separator


def quoting(quotes: bool) -> Literal[0, 3]:
    """The mode of Python's csv module: quotes as in CSV, or as characters like any other."""
    return csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE


def widths(lines: Sequence[str], separator: str, quotes: bool) -> list[int]:
    """The number of values of each row in some lines; empty rows are left out."""
    if len(separator) > 1:
        lines, separator = [line.replace(separator, STAND_IN) for line in lines], STAND_IN
    try:
        return [len(row) for row in csv.reader(lines, delimiter=separator, quoting=quoting(quotes)) if row]
    except csv.Error:
        return []


def guess_separator(lines: Sequence[str], quotes: bool) -> str | None:
    """The separator that gives all first rows the same number of values, the largest number; None for a single column.

    If no separator does, the first row decides. An error in another row is raised when it is read.
    """
    widths_by_separator = {separator: rows for separator in _USUAL if (rows := widths(lines, separator, quotes))}
    first = {separator: rows[0] for separator, rows in widths_by_separator.items() if rows[0] > 1}
    even = {separator: width for separator, width in first.items() if len(set(widths_by_separator[separator])) == 1}
    candidates = even or first
    return max(candidates, key=lambda separator: candidates[separator]) if candidates else None
