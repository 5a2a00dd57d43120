"""The values of a table as text for the cells of an atomic file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recbole_multvae.errors import DataError
from recbole_multvae.importing.arrow import pa, pc
from recbole_multvae.importing.source import Chunk, in_words

#: Characters that no cell can hold: in an atomic file a line is a row, and tabs separate values. NUL ends a text for some
#: readers.
_FORBIDDEN = "[\t\n\r\\x00]"
_PADDING = "[PAD]"


def as_text(array: pa.Array) -> pa.Array | None:
    """A column as text, with null for a missing value; None for a column of lists, objects or bytes.

    Whole numbers get no decimal point: 12.0 in a column of floats becomes 12.
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        return as_text(array.dictionary_decode())
    if pa.types.is_nested(kind):
        return None
    if pa.types.is_floating(kind):
        return _float_text(array)
    if pa.types.is_decimal(kind):
        return pc.replace_substring_regex(array.cast(pa.string()), r"\.0+$", "")
    try:
        return array.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # Bytes that are not text, and types that have no text form.
        return None


def _float_text(array: pa.Array) -> pa.Array:
    array = array.cast(pa.float32()) if pa.types.is_float16(array.type) else array
    array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    wide = array.cast(pa.float64())
    whole = pc.and_(pc.equal(wide, pc.round(wide)), pc.less(pc.abs(wide), 2.0**53))
    numbers = pc.if_else(whole, wide, 0.0).cast(pa.int64())
    return pc.if_else(whole, numbers.cast(pa.string()), array.cast(pa.string()))


def text_bytes(array: pa.Array) -> memoryview:
    """All the text of an array of strings in one piece, without a copy."""
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return memoryview(b"")
    bounds = np.frombuffer(offsets, np.int32)[[array.offset, array.offset + len(array)]]
    return memoryview(data)[bounds[0] : bounds[1]]


def _holds(array: pa.Array, *characters: bytes) -> bool:
    """Whether any value of an array holds one of some texts. Few do, and this is faster than a test of every value."""
    data = bytes(text_bytes(array))
    return any(character in data for character in characters)


def ids(chunk: Chunk, column: str, role: str) -> pa.Array:
    """A column of ids, as text.

    Args:
        chunk: the rows.
        column: the column of the ids.
        role: user or item, for an error.

    Raises:
        DataError: an id is missing, is RecBole's name for padding, or holds a tab or a line end.
    """
    text = as_text(chunk.columns[column])
    if text is None:
        raise DataError(
            f"{chunk.place(0)} has a list, an object or bytes in the column {column}: expected the id of the {role}."
        )
    empty = pc.or_kleene(pc.is_null(text), pc.equal(text, ""))
    chunk.refuse(empty, lambda _: f"has no {role} (column {column}): fill it in, or remove the row.")
    if _holds(text, _PADDING.encode()):
        chunk.refuse(
            pc.equal(text, _PADDING),
            lambda _: f"has the {role} {_PADDING} (column {column}), RecBole's name for padding: give it another name.",
        )
    if _holds(text, b"\t", b"\n", b"\r", b"\0"):
        chunk.refuse(
            pc.match_substring_regex(text, _FORBIDDEN),
            lambda row: f"has the {role} {in_words(text[row])} (column {column}): an id cannot hold a tab or a line end.",
        )
    return text


def one_line(text: pa.Array) -> tuple[pa.Array, int]:
    """Text with a space for every run of tabs, line ends and NULs, and "" for null; and the number of changed values."""
    text = pc.fill_null(text, "")
    changed = pc.sum(pc.match_substring_regex(text, _FORBIDDEN)).as_py() or 0
    return (pc.replace_substring_regex(text, f"{_FORBIDDEN}+", " ") if changed else text), changed


def quoted(text: pa.Array) -> pa.Array:
    """Text for an atomic file: a text that begins with a quote is put in quotes, so that readers do not remove its own."""
    if not _holds(text, b'"'):
        return text
    inside = pc.binary_join_element_wise('"', pc.replace_substring(text, '"', '""'), '"', "")
    return pc.if_else(pc.starts_with(text, '"'), inside, text)


def lines(columns: list[pa.Array]) -> memoryview:
    """The lines of an atomic file, with tabs between the columns."""
    rows = pc.binary_join_element_wise(*columns, "\t")
    return text_bytes(pc.binary_join_element_wise(rows, "", "\n"))


def first_failing(array: pa.Array, convert: Callable[[pa.Array], object]) -> int:
    """The first row at which a conversion of an array fails, found by bisection."""
    low, high = 0, len(array)  # array[:low] converts, array[:high] does not.
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(array[low:middle])
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low
