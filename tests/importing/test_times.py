"""Times: numbers are kept, dates become seconds."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from recbole_multvae.importing.source import Chunk
from recbole_multvae.importing.times import Times
from tests.importing.command import Import, write, written


def seconds(*times: str) -> list[str]:
    chunk = Chunk({"time": pa.array(times)}, lambda row: f"Line {row}")
    return Times("time").convert(chunk)[0].to_pylist()


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("1970-01-01", "0"),
        ("2000-02-29", "951782400"),
        ("2015-03-31T23:59:59", "1427846399"),
        ("2015-03-31 23:59", "1427846340"),
        ("2015-03-31T23:59:59Z", "1427846399"),
        ("2019-11-01 00:00:00 UTC", "1572566400"),
        ("2015-03-31T23:59:59+02:00", "1427839199"),
        ("2015-03-31 23:59:59 -0530", "1427866199"),
        ("2015-03-31T23:59:59.250000Z", "1427846399.25"),
        ("2015-03-31T23:59:59.123456789", "1427846399.123456789"),
        ("1969-12-31T23:59:59.5", "-0.5"),
        ("1960-01-01", "-315619200"),
        (" 2015-03-31 ", "1427760000"),
    ],
)
def test_iso_dates_are_seconds(time: str, expected: str) -> None:
    assert seconds(time) == [expected]


@settings(max_examples=100, deadline=None)
@given(st.datetimes(), st.none() | st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))))
def test_as_python_reads_dates(moment: datetime, zone: timezone | None) -> None:
    (text,) = seconds(moment.replace(tzinfo=zone).isoformat())
    since = moment.replace(tzinfo=zone or timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    whole, _, part = text.lstrip("-").partition(".")
    size = timedelta(seconds=int(whole), microseconds=int(part.ljust(6, "0")))
    assert (-size if text.startswith("-") else size) == since


@pytest.mark.parametrize(
    ("times", "unit", "first", "last"),
    [
        (("964982703", "1427784002"), "seconds", "2000-07-30", "2015-03-31"),
        (("964982703123", "1427784002000"), "milliseconds", "2000-07-30", "2015-03-31"),
        (("964982703123456", "1427784002000000"), "microseconds", "2000-07-30", "2015-03-31"),
        (("964982703123456789", "1427784002000000001"), "nanoseconds", "2000-07-30", "2015-03-31"),
        (("9.64982703e8", "1427784002.75"), "seconds", "2000-07-30", "2015-03-31"),
        (("-5", "0"), "seconds", "1969-12-31", "1970-01-01"),
    ],
)
def test_numbers_are_kept_in_their_unit(times: tuple[str, str], unit: str, first: str, last: str, imports: Import) -> None:
    write("r.csv", ["user,item,time", *(f"1,{n},{time}" for n, time in enumerate(times))])
    output = imports("r.csv", "mine")
    assert [row[2] for row in written()[1]] == list(times)
    assert f"times from {first} to {last} ({unit}, UTC)" in output
    assert "may be in another unit" not in output


def test_two_units_are_told(imports: Import) -> None:
    write("r.csv", ["user,item,time", "1,1,964982703", "1,2,964982703000"])
    assert "they may be in another unit, such as milliseconds" in imports("r.csv", "mine")


def test_parquet_s_dates(imports: Import) -> None:
    days = pa.array([0, 18262], pa.date32())
    moments = pa.array([1_500_000_001, 1_499_999_999], pa.timestamp("ns", "Europe/Madrid"))
    parquet.write_table(pa.table({"user": [1, 2], "item": [1, 2], "day": days, "moment": moments}), "r.parquet")
    assert "times from 1970-01-01 to 2020-01-01 (dates, now seconds since 1970, UTC)" in imports(
        "r.parquet", "mine", "--time=day"
    )
    assert [row[2] for row in written()[1]] == ["0", "1577836800"]
    imports("r.parquet", "mine", "--time=moment", "--overwrite")
    assert [row[2] for row in written()[1]] == ["1.500000001", "1.499999999"]


@pytest.mark.parametrize("times", [("2015-03-31", "964982703"), ("964982703", "2015-03-31"), ("2015-03-31", "31/03/2015"),
                                   ("2015-03-31", "2015-02-30"), ("0", "nan"), ("0", "12:30"), ("x", "0")])  # fmt: skip
def test_neither_number_nor_date(times: tuple[str, str], imports: Import) -> None:
    write("r.csv", ["user,item,time", *(f"1,{n},{time}" for n, time in enumerate(times))])
    bad = 0 if times[0] == "x" else 1
    message = imports.refusal("r.csv", "mine")
    assert message.startswith(f"Line {bad + 2} of r.csv has the time {times[bad]!r} (column time): expected a number")
    assert message.endswith("--time none leaves the column out.")
