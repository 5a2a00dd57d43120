"""Columns of numbers. Their text is written as in the file, without spaces around it."""

from __future__ import annotations

from recbole_multvae.errors import DataError
from recbole_multvae.importing.arrow import pa, pc
from recbole_multvae.importing.cells import as_text, first_failing
from recbole_multvae.importing.source import Chunk, in_words


def present_text(chunk: Chunk, column: str, role: str) -> pa.Array:
    """A column as text without spaces around it.

    Args:
        chunk: the rows.
        column: the name of the column.
        role: rating or time. It is also the flag that names the column, for an error.

    Raises:
        DataError: a value is missing, or the column holds lists, objects or bytes.
    """
    text = as_text(chunk.columns[column])
    if text is None:
        raise DataError(f"{chunk.place(0)} has a list, an object or bytes in the column {column}: expected a {role}.")
    text = pc.utf8_trim_whitespace(text)
    empty = pc.or_kleene(pc.is_null(text), pc.equal(text, ""))
    chunk.refuse(
        empty,
        lambda _: (
            f"has no {role} (column {column}): fill it in, remove the row, or leave the column out with --{role} none."
        ),
    )
    return text


def numbers(chunk: Chunk, text: pa.Array, column: str, role: str) -> pa.Array:
    """The numbers that a column of text holds, float64.

    Raises:
        DataError: a value is not a finite number.
    """

    def message(row: int) -> str:
        expected = "a number" if role == "rating" else "a number, as in the first row"
        value = f"has the {role} {in_words(text[row])} (column {column})"
        return f"{value}: expected {expected}; --{role} none leaves the column out."

    try:
        values = text.cast(pa.float64())
    except pa.ArrowInvalid:
        row = first_failing(text, lambda part: part.cast(pa.float64()))
        raise DataError(f"{chunk.place(row)} {message(row)}") from None
    chunk.refuse(pc.invert(pc.is_finite(values)), message)
    return values
