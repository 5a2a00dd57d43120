from __future__ import annotations

import csv
import importlib
import logging
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_multvae.data.rows import split_row
from recbole_multvae.data.titles import read_titles

HEADER = "item_id:token\ttitle:token_seq\tyear:float\n"


def titles(
    text: str, written: str = "utf-8", item: str = "item_id", separator: str = "\t", encoding: str | None = None
) -> dict:
    Path("made.item").write_bytes(text.encode(written))
    config = {"field_separator": separator, "encoding": encoding}
    return read_titles(SimpleNamespace(dataset_path=".", dataset_name="made", iid_field=item, config=config))


@pytest.mark.parametrize(
    ("value", "title"),
    [
        ("Heat", "Heat"),
        ('"Heat, The"', "Heat, The"),
        ('"Heat\tThe"', "Heat\tThe"),
        ('"The ""Best"" of"', 'The "Best" of'),
        ('12" vinyl', '12" vinyl'),
        ('The "Best"', 'The "Best"'),
        ('"Best" of', '"Best" of'),
        ('"Heat', '"Heat'),
        ("L'Atalante; caf\u00e9 \u2028 \x0b", "L'Atalante; caf\u00e9 \u2028 \x0b"),
    ],
)
def test_quotes(value: str, title: str) -> None:
    rows = f"1\tOne\t1990\n2\t{value}\t1995\n3\tThree\t1999\n"
    assert titles(HEADER + rows) == {"1": "One", "2": title, "3": "Three"}


def test_quotes_that_are_not_closed_do_not_reach_into_the_next_lines() -> None:
    rows = '1\tOne\t1990\n2\t"Two\t1995\n3\tThree\t1996\n4\tFour"\t1997\n5\tFive\t1998\n'
    assert titles(HEADER + rows) == {"1": "One", "2": '"Two', "3": "Three", "4": 'Four"', "5": "Five"}


def test_quotes_of_the_header() -> None:
    assert titles('"item_id:token"\t"title:token_seq"\n1\tOne\n') == {"1": "One"}


def test_damaged_lines_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    rows = '1\tOne\t1990\n2\n3\tTh\tree\t1996\n"4\tFour\t1997\textra\n\n5\tFive\t1998\n'
    with caplog.at_level(logging.WARNING):
        assert titles(HEADER + rows) == {"1": "One", "5": "Five"}
    (message,) = caplog.messages
    assert message.startswith("3 lines of made.item are left out: the number of their values is not that of the header, or")


@pytest.mark.parametrize("inside", ["\r", "\0", "\r\r"])
def test_a_line_with_a_carriage_return_or_nul_inside_is_left_out(inside: str, caplog: pytest.LogCaptureFixture) -> None:
    rows = f"1\tOne\t1990\n2\tT{inside}wo\t1995\n3\tThree\t1996\n"
    with caplog.at_level(logging.WARNING):
        assert titles(HEADER + rows) == {"1": "One", "3": "Three"}
    assert caplog.messages[0].startswith("1 lines of made.item are left out") and "carriage return" in caplog.messages[0]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_are_those_of_the_file(end: str, caplog: pytest.LogCaptureFixture) -> None:
    text = (HEADER + "1\tOne\t1990\n\n   \n2\tT\u2028\x85\x0b\x1cwo\t1995\n").replace("\n", end)
    with caplog.at_level(logging.WARNING):
        assert titles(text) == {"1": "One", "2": "T\u2028\x85\x0b\x1cwo"}
    assert not caplog.messages


def test_encoding_of_the_configuration() -> None:
    assert titles(HEADER + "1\tAm\u00e9lie\t2001\n", "latin-1", encoding="ISO-8859-1") == {"1": "Am\u00e9lie"}
    assert titles(HEADER + "1\tAm\u00e9lie\t2001\n", "utf-16", encoding="utf-16") == {"1": "Am\u00e9lie"}
    assert titles(HEADER + "1\tAm\u00e9lie\t2001\n", "utf-8-sig") == {"1": "Am\u00e9lie"}


def test_other_encoding_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert titles(HEADER + "1\tAm\u00e9lie\t2001\n2\tHeat\t1995\n", "latin-1") == {"1": "Am\ufffdlie", "2": "Heat"}
    (message,) = caplog.messages
    assert message.startswith("made.item is not in utf-8: some characters of the titles are unknown.")


def test_separator_and_item_column_of_the_configuration() -> None:
    text = 'title:token,iid:token\n"Heat, The",1\nTwo,2\n'
    assert titles(text, item="iid", separator=",") == {"1": "Heat, The", "2": "Two"}
    assert titles("iid:token$$title:token\n1$$Heat, $5\n", item="iid", separator="$$") == {"1": "Heat, $5"}
    assert titles('title:token||iid:token\nHeat, "The||1\n', item="iid", separator="||") == {"1": 'Heat, "The'}


def test_windows_line_ends_first_of_equal_items_and_empty_titles() -> None:
    text = (HEADER + "1\tOne\t1990\n1\tOther\t1990\n2\t\t1995\n").replace("\n", "\r\n")
    assert titles(text) == {"1": "One"}


@pytest.mark.parametrize("header", ["item_id:token\tyear:float\n", "movie:token\ttitle:token\n"])
def test_no_column_of_titles_or_of_items(header: str) -> None:
    assert titles(header + "1\t1990\n") == {}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text('"a,| \t\u2028\x85\x0b\u00e9', min_size=1, max_size=8), max_size=4), st.sampled_from(["\t", ",", "|"])
)
def test_what_csv_writes_comes_back(values: list[str], separator: str) -> None:
    with Path("made.csv").open("w", encoding="utf-8", newline="") as file:
        write = csv.writer(file, delimiter=separator, lineterminator="\n")
        write.writerows([("item_id:token", "title:token"), *enumerate(values)])
    result = titles(Path("made.csv").read_bytes().decode(), separator=separator)
    assert result == {str(n): value for n, value in enumerate(values)}


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "export/clients/python"))
    return importlib.import_module("demo")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text('"a\t \u2028\x85\r\0', max_size=7), max_size=4), st.sampled_from(["\n", "\r\n", "\r"]))
def test_the_demo_reads_titles_by_the_same_rules(demo: ModuleType, lines: list[str], end: str) -> None:
    text = end.join(["item_id:token\tmovie_title:token", "1\tOne", *lines])
    with mock.patch("recbole_multvae.data.titles._warn") as warn:
        expected = titles(text)
    damaged = warn.call_args[0][1]
    try:
        rows = demo.read(".", "item", "item_id", "movie_title")
    except ValueError as error:
        assert damaged and re.fullmatch(r"line \d+ of made.item is no row of 2 values: correct the line.", str(error))
    else:
        first = {row["item_id"]: row["movie_title"] for row in reversed(rows)}
        assert not damaged and {token: title for token, title in first.items() if title} == expected


@pytest.mark.parametrize(
    ("column", "message"), [("movie_title", "has no column movie_title: it has item_id, title, year"), ("title", None)]
)
def test_the_demo_names_a_column_that_is_missing(demo: ModuleType, column: str, message: str | None) -> None:
    Path("made.item").write_text(HEADER + "1\tOne\t1990\n")
    if message is None:
        assert demo.read(".", "item", column) == [{"item_id": "1", "title": "One", "year": "1990"}]
    else:
        with pytest.raises(ValueError, match=message):
            demo.read(".", "item", column)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("a,b", ["a", "b"]),
        ("a", None),
        ("a,b,c", None),
        ('"a,b",c', ["a,b", "c"]),
        ('"a","b', ["a", '"b']),  # A quote that has no pair leaves the other fields as they are.
        ('"a,b"', ['"a', 'b"']),
        ('"a""b","c"d', ['a"b', '"c"d']),
        (",", ["", ""]),
        ('"",""""', ["", '"']),
    ],
)
def test_a_row_has_as_many_values_as_the_header(line: str, values: list[str] | None) -> None:
    assert split_row(line, ",", 2) == values
    assert split_row(line.replace(",", "::"), "::", 2) == (values and [value.replace(",", "::") for value in values])
