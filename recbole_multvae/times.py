"""Times since 1970 in UTC, in whatever unit a file has them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from fractions import Fraction

#: The parts of a second, and the largest time that is read in that unit: seconds reach to the year 5138.
UNITS = {"seconds": (1, 1e11), "milliseconds": (10**3, 1e14), "microseconds": (10**6, 1e17), "nanoseconds": (10**9, 1e20)}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def unit_of(time: float) -> str:
    """The unit of a time since 1970, by its size."""
    return next((name for name, (_, largest) in UNITS.items() if abs(time) < largest), "seconds")


def day(time: float, unit: str) -> str:
    """The date of a time in UTC; the number itself if its year is not between 1 and 9999."""
    try:
        return (_EPOCH + timedelta(seconds=time / UNITS[unit][0])).date().isoformat()
    except OverflowError:
        return f"{time:g}"


def since_1970(date: str, unit: str) -> Fraction:
    """A date such as 2020-05-31 or 2020-05-31T12:30:00+02:00, without a zone in UTC, as a number in a unit.

    Raises:
        ValueError: it is not such a date.
    """
    moment = datetime.fromisoformat(f"{date[:-1]}+00:00" if date.endswith("Z") else date)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return Fraction((moment - _EPOCH) // timedelta(microseconds=1) * UNITS[unit][0], 10**6)
