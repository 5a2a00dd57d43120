"""The reader of atomic files against a transcription of its rules, on made files, and beside RecBole's reader."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.utils import FeatureSource

from recbole_multvae.data.atomic_table import MISSING, AtomicFile
from recbole_multvae.data.features import load_features
from recbole_multvae.errors import DataError
from tests.conftest import QUIET, recbole_s

SEPARATORS = ["\t", ",", "||", "$$", "::", "|", " ", ".*", "¦", "→"]
#: Tokens that some reader takes for something else.
ODD = [
    "NA", "null", "None", "nan", "n/a", "N/A", "NULL", "-", "#", "007", "1e5", "1_000", " x", "x ", '"', '"x', 'x"', '""',
    '"x"', 'a"b', "'", "\\", "\u2028", "\x85", "\x0b", "\x1c", "\x1f", "\ufeff", "é", "日本", "True", "\u00a05", "[PAD]",
]  # fmt: skip
TOKENS = st.sampled_from(ODD) | st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), max_size=6)
NUMBERS = st.sampled_from([
    "1_000", "1e400", "-inf", "\uff15", "\u00a05", "5 ", "", "NA", "nan", "0.1234567890123456789012", "9007199254740993",
]) | st.floats().map(repr)  # fmt: skip
ENCODINGS = ["utf-8", "utf-16", "utf-8-sig", "utf-32"]


def fields_by_rule(line: str, separator: str, width: int) -> list[str] | None:
    """The fields of a line, letter by letter: a quoted field ends at a quote before a separator; None for a wrong number."""
    for pieces in (pieces_of(line, separator), line.split(separator)):
        if len(pieces) == width:
            return [piece[1:-1].replace('""', '"') if is_quoted(piece) else piece for piece in pieces]
    return None


def pieces_of(line: str, separator: str) -> list[str]:
    pieces, rest = [], line
    while True:
        ends = [n for n in range(len(rest) + 1) if n == len(rest) or rest.startswith(separator, n)]
        end = next((n for n in reversed(ends) if is_quoted(rest[:n])), ends[0])
        pieces.append(rest[:end])
        if end == len(rest):
            return pieces
        rest = rest[end + len(separator) :]


def is_quoted(piece: str) -> bool:
    """Whether a piece begins and ends with a quote, and all quotes between are in pairs that touch."""
    inner = piece[1:-1]
    return len(piece) > 1 and piece[0] == piece[-1] == '"' and '"' not in inner.replace('""', "")


def number_by_rule(text: str) -> float | None:
    try:
        return np.nan if text.strip() in MISSING else float(text)
    except ValueError:
        return None


def by_rule(text: str, separator: str, width: int) -> list[tuple[Any, ...]] | int:
    """The rows of a file, or the number of its first wrong line."""
    rows: list[tuple[Any, ...]] = []
    wrong_number = 0
    for line_number, line in enumerate(text.removesuffix("\n").split("\n")[1:], 2):
        if separator not in line and not line.strip(" "):
            continue
        fields = fields_by_rule(line, separator, width)
        if fields is None:
            return line_number
        value = number_by_rule(fields[-1])
        wrong_number = wrong_number or line_number * (value is None)
        rows.append((*fields[:-1], value))
    return wrong_number or rows


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.data())
def test_tables_are_those_of_the_rules(data: st.DataObject) -> None:
    separator = data.draw(st.sampled_from(SEPARATORS))
    header = separator.join(["user_id:token", "item_id:token", "rating:float"])
    lines = data.draw(st.lists(st.tuples(TOKENS, TOKENS, NUMBERS).map(separator.join) | TOKENS, min_size=1, max_size=12))
    text = "\n".join([header, *lines]) + data.draw(st.sampled_from(["", "\n"]))
    encoding, end = data.draw(st.sampled_from(ENCODINGS)), data.draw(st.sampled_from(["\n", "\r\n"]))
    path = Path("made.inter")
    path.write_bytes(text.replace("\n", end).encode(encoding))
    expected = by_rule(text, separator, 3)
    if isinstance(expected, int):
        with pytest.raises(DataError, match=rf"^Line {expected} of made.inter has "):
            AtomicFile(path, separator, encoding).read(["user_id", "item_id", "rating"])
        return
    if not expected:
        with pytest.raises(DataError, match=r"made.inter has a header and no rows"):
            AtomicFile(path, separator, encoding).read(["user_id", "item_id", "rating"])
        return
    table = AtomicFile(path, separator, encoding).read(["user_id", "item_id", "rating"])
    rows = [tuple(row) for row in table.frame.itertuples(index=False)]
    np.testing.assert_equal(rows, expected)
    body = text.removesuffix("\n").split("\n")[1:]
    for row, fields in enumerate(expected):
        assert fields_by_rule(body[table.line(row) - 2], separator, 3)[:2] == list(fields[:2])


@pytest.mark.parametrize(("end", "rows"), [("\r", 2), ("\r\n", 2), ("\n", 2)])
def test_ends_of_lines(end: str, rows: int) -> None:
    Path("made.inter").write_bytes(end.join(["user_id:token", "a", "b", ""]).encode())
    assert len(AtomicFile(Path("made.inter")).read(["user_id"]).frame) == rows


def test_quotes_around_the_names_of_columns_are_none_of_theirs() -> None:
    Path("made.inter").write_text('"user_id:token"\t"item_id:token"\n"a"\tb\n')
    assert AtomicFile(Path("made.inter")).read(["user_id", "item_id"]).frame.to_numpy().tolist() == [["a", "b"]]


def read(text: str, load_feat: Any = None, **keys: Any) -> Any:
    Path("odd").mkdir(exist_ok=True)
    Path("odd/odd.inter").write_text(text, "utf-8")
    dataset = Dataset.__new__(Dataset)
    dataset.config = Config("EASE", "odd", config_dict={**QUIET, "load_col": None, "data_path": ".", **keys})
    dataset.logger = logging.getLogger()
    dataset._get_preset()
    dataset._get_field_from_config()
    return (load_feat or load_features)(dataset, "odd/odd.inter", FeatureSource.INTERACTION)


HEADER = "user_id:token\titem_id:token\trating:float\n"


@pytest.mark.parametrize(
    ("rows", "recbole_has", "keys"),
    [
        ('u1\t"Heroes\t1\nu2\tb\t2\nu3\tMix 12"\t3\n', 1, {}),  # A quote at the start of a token swallows lines.
        ("u1\tNA\t1\nu2\tnull\t2\nnan\tb\t3\n", 3, {}),  # ... and these become missing, so that rows are dropped.
        ("u1\ta\t1\nu2\tb\n", 2, {}),  # A line that is cut short is filled up.
        ("u1||a||1\nu2||b||2\n", None, {"field_separator": "||"}),  # A regular expression that matches everywhere.
    ],
)
def test_what_recbole_reads_otherwise(rows: str, recbole_has: int | None, keys: dict[str, Any]) -> None:
    text = HEADER.replace("\t", keys.get("field_separator", "\t")) + rows
    by_lines = by_rule(text, keys.get("field_separator", "\t"), 3)
    if isinstance(by_lines, int):
        with pytest.raises(DataError, match=f"Line {by_lines} of "):
            read(text, **keys)
    else:
        assert read(text, **keys).to_numpy().tolist() == [list(row) for row in by_lines]
    theirs = recbole_s(Dataset._load_feat)
    try:
        frame = read(text, theirs, **keys)
    except (ValueError, IndexError):
        assert recbole_has is None
    else:
        assert recbole_has is not None and len(frame) == recbole_has
        assert frame.isna().any(axis=None) or len(frame) != len(by_lines)


def test_sequences_and_missing_values(caplog: pytest.LogCaptureFixture) -> None:
    header = "user_id:token\titem_id:token\ttags:token_seq\tsizes:float_seq\tshop:token\tprice:float\n"
    with caplog.at_level(logging.INFO):
        table = read(header + "u1\ta\tNA  x\t1 2.5\t\t\n\nu2\tb\t\t\tNA\t3\n")
    assert [list(tags) for tags in table["tags"]] == [["NA", "x"], []]
    assert [list(sizes) for sizes in table["sizes"]] == [[1, 2.5], []]
    assert table["shop"].isna().tolist() == [True, False] and table["shop"][1] == "NA"
    assert "odd/odd.inter lacks 1 value of price: RecBole takes the mean of the others." in caplog.text
    assert "odd/odd.inter: 4 lines are a header, 1 blank line and 2 interactions." in caplog.text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("u1\ta\t1 x", "Line 2 of odd/odd.inter has '1 x' as sizes: expected numbers, as the column's type is float_seq"),
        ("\ta\t1", "Line 2 of odd/odd.inter has no user_id: name every user and every item"),
        ("u1\t[PAD]\t1", r"has the item_id '\[PAD\]', which is RecBole's name for padding: rename it"),
    ],
)
def test_wrong_values_are_named(row: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read("user_id:token\titem_id:token\tsizes:float_seq\n" + row)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("1600000000000000001", np.int64), ("1600000000000000001.0", np.float64), ("1600000000.25", np.float64)],
)
def test_times_that_float64_cannot_hold_are_whole_numbers(text: str, kind: type) -> None:
    times = read(f"user_id:token\titem_id:token\ttimestamp:float\nu1\ta\t{text}\n")["timestamp"]
    assert times.dtype == kind and (kind is np.float64 or times[0] == int(text))
