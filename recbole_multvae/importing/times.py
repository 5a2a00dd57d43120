"""Times: numbers are kept, and ISO dates become seconds since 1970 in UTC."""

from __future__ import annotations

from recbole_multvae.errors import DataError
from recbole_multvae.importing.arrow import pa, pc
from recbole_multvae.importing.cells import first_failing
from recbole_multvae.importing.numbers import numbers, present_text
from recbole_multvae.importing.source import Chunk, in_words

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_DATE = r"^(\d{4}-\d\d-\d\d)"


class Times:
    """The column of times, chunk by chunk. The first value decides whether all must be numbers or dates.

    Args:
        column: the name of the column.
    """

    def __init__(self, column: str) -> None:
        self._column = column
        self.dates: bool | None = None

    def convert(self, chunk: Chunk) -> tuple[pa.Array, pa.Array]:
        """The text to write, and the times as float64: in the unit of the file, or in seconds for dates.

        Raises:
            DataError: a time is missing, or is not a number or a date as the first one is.
        """
        array = chunk.columns[self._column]
        if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
            array = array.cast(_ticks(array.type)).cast(pa.string())
            array = pc.replace_substring(array, "Z", "")
        chunk = Chunk({**chunk.columns, self._column: array}, chunk.place)
        text = present_text(chunk, self._column, "time")
        if self.dates is None:
            self.dates = not pc.match_substring_regex(text[:1], _NUMBER)[0].as_py()
        if not self.dates:
            return text, numbers(chunk, text, self._column, "time")
        ticks, unit = self._ticks_since_1970(chunk, text)
        return _seconds(ticks, unit), pc.divide(ticks.cast(pa.float64(), safe=False), float(unit))

    def _ticks_since_1970(self, chunk: Chunk, text: pa.Array) -> tuple[pa.Array, int]:
        """Whole numbers of microseconds or nanoseconds, and how many of these are a second."""
        for unit, parts in (("us", 10**6), ("ns", 10**9)):
            try:
                return _parse(text, unit).cast(pa.int64()), parts
            except pa.ArrowInvalid:
                continue
        row = max(first_failing(text, lambda part, unit=unit: _parse(part, unit)) for unit in ("us", "ns"))  # type: ignore[misc]
        raise DataError(
            f"{chunk.place(row)} has the time {in_words(text[row])} (column {self._column}): expected a number, or a date "
            "such as 2020-05-31 or 2020-05-31T12:30:00+02:00, and the same for all rows; --time none leaves the column out."
        )


def _ticks(kind: pa.DataType) -> pa.DataType:
    zone = getattr(kind, "tz", None)
    unit = "ns" if getattr(kind, "unit", "us") == "ns" else "us"
    return pa.timestamp(unit, "UTC") if zone else pa.timestamp(unit)


def _parse(text: pa.Array, unit: str) -> pa.Array:
    """Dates, and dates with times of day, as Arrow's timestamps. Without a zone they are in UTC."""
    text = pc.replace_substring_regex(pc.ascii_upper(text), r" ?(UTC|GMT)$", "Z")
    text = pc.replace_substring_regex(text, _DATE + "$", r"\1 00:00Z")
    text = pc.replace_substring_regex(text, r" ([+-]\d\d(:?\d\d)?)$", r"\1")
    zoned = pc.match_substring_regex(text, _DATE + r"[T ].*(Z|[+-]\d\d(:?\d\d)?)$")
    text = pc.binary_join_element_wise(text, pc.if_else(zoned, "", "Z"), "")
    return text.cast(pa.timestamp(unit, "UTC"))


def _seconds(ticks: pa.Array, unit: int) -> pa.Array:
    """Seconds as decimal numbers, exactly."""
    size = pc.abs(ticks)
    whole = pc.divide(size, unit)
    part = pc.subtract(size, pc.multiply(whole, unit))
    sign = pc.if_else(pc.less(ticks, 0), "-", "")
    if pc.max(part).as_py() == 0:
        return pc.binary_join_element_wise(sign, whole.cast(pa.string()), "")
    digits = pc.utf8_lpad(part.cast(pa.string()), len(str(unit)) - 1, "0")
    decimals = pc.utf8_rtrim(pc.binary_join_element_wise(whole.cast(pa.string()), digits, "."), "0")
    return pc.binary_join_element_wise(sign, pc.utf8_rtrim(decimals, "."), "")
