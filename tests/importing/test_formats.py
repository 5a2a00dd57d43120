"""A table in any format becomes the same rows, as Python's csv and json modules read them."""

from __future__ import annotations

import codecs
import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from recbole_multvae.importing import delimited
from tests.importing.command import Import, read_by_recbole, write, written

NAMES = ["userId", "movieId", "rating", "timestamp"]
ROWS = [("1", "007", "4.0", "964982703"), ("NA", "1e5", "0.5", "964981247"), ("caf\u00e9 x", "1_000", "-3", "9"),
        ("9223372036854775809", " b ", "5", "1.5"), ("null", "\u2028", "1e1", "964982224")]  # fmt: skip
HEADER = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]


def table(separator: str, end: str = "\n", quoting: int = csv.QUOTE_MINIMAL) -> str:
    path = Path("made")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
        writer.writerows([NAMES, *ROWS])
    text = path.read_bytes().decode()
    path.unlink()
    return text


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_separators_line_ends_and_quotes(separator: str, end: str, quoting: int, imports: Import) -> None:
    Path("r.csv").write_bytes(table(separator, end, quoting).encode())
    imports("r.csv", "mine")
    assert written() == (HEADER, ROWS)
    assert read_by_recbole() == ROWS


def test_separator_of_several_characters_and_no_header(imports: Import) -> None:
    write("ratings.dat", ["1::M|1::5::978300760", '1::"A::B"::3::978302109', '2::12" x::3::978301968'])
    imports("ratings.dat", "mine", "--no-header", "--user=1", "--item=2", "--rating=3", "--time=4")
    assert [row[1] for row in written()[1]] == ["M|1", "A::B", '12" x']
    imports("ratings.dat", "other", "--no-header", "--user=1", "--item=2", "--separator=::")
    assert written("dataset/other/other.inter")[0] == HEADER[:2]


@pytest.mark.parametrize(
    ("ending", "flags"), [(".csv", []), (".CSV", []), (".gz", []), (".dat", []), ("", ["--format=csv"])]
)
def test_gzip_is_known_by_its_contents(ending: str, flags: list[str], imports: Import) -> None:
    Path(f"r{ending}").write_bytes(gzip.compress(table(",").encode()))
    imports(f"r{ending}", "mine", *flags)
    assert written() == (HEADER, ROWS)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_encodings(encoding: str, imports: Import) -> None:
    text = table(",").replace("\u2028", "i5")
    Path("r.csv").write_bytes(text.encode(encoding))
    imports("r.csv", "mine", *([] if encoding == "utf-8-sig" else [f"--encoding={encoding}"]))
    assert written() == (HEADER, [tuple(value.replace("\u2028", "i5") for value in row) for row in ROWS])


def test_byte_order_mark_is_left_out(imports: Import) -> None:
    Path("r.csv").write_bytes(codecs.BOM_UTF8 + b"user,item\n1,2\n")
    imports("r.csv", "mine")
    assert written() == (HEADER[:2], [("1", "2")])


def test_json_lines_keep_the_text_of_numbers(imports: Import) -> None:
    lines = [
        '{"userId": 1, "movieId": "007", "rating": 4.0, "timestamp": 964982703}',
        '{"movieId": "1e5", "userId": "NA", "rating": "0.5", "timestamp": 964981247, "more": [1]}',
        "",
        '{"userId": "caf\\u00e9 x", "movieId": "1_000", "rating": -3, "timestamp": 9}\r',
        '{"userId": 9223372036854775809, "movieId": " b ", "rating": 5, "timestamp": 1.5}',
        '{"userId": "null", "movieId": "\\u2028", "rating": 1e1, "timestamp": 964982224}',
    ]
    write("r.jsonl", lines)
    imports("r.jsonl", "mine")
    assert written() == (HEADER, ROWS)
    assert [json.loads(line)["movieId"] for line in lines if line] == [row[1] for row in ROWS]
    assert [json.loads(line, parse_int=str)["userId"] for line in lines if line] == [row[0] for row in ROWS]


@pytest.mark.parametrize("packed", [False, True])
def test_parquet(packed: bool, imports: Import) -> None:
    columns = {
        "userId": pa.array([7, 9223372036854775807, 0], pa.uint64()),
        "movieId": pa.array([12.0, 1.5, 3e9], pa.float64()),
        "rating": pa.array([4.1, 3, -0.5], pa.float32()),
        "timestamp": pa.array([1_500_000_000_123, 2, 3], pa.int64()),
    }
    parquet.write_table(pa.table(columns), "r.parquet", row_group_size=2)
    if packed:
        Path("r.parquet").write_bytes(gzip.compress(Path("r.parquet").read_bytes()))
    imports("r.parquet", "mine")
    assert written() == (HEADER, [("7", "12", "4.1", "1500000000123"), ("9223372036854775807", "1.5", "3", "2"),
                                  ("0", "3000000000", "-0.5", "3")])  # fmt: skip


def test_parquet_s_other_types(imports: Import) -> None:
    columns = {
        "user": pa.array(["NA", "b", "NA"]).dictionary_encode(),
        "item": pa.array([None, 7, 8], pa.int32()).fill_null(5).cast(pa.decimal128(12, 2)),
        "rating": pa.array(["1", "2", "3.5"], pa.large_string()),
        "time": pa.array([0, 1_500_000, -500_000], pa.timestamp("us")),
    }
    parquet.write_table(pa.table(columns), "r")
    imports("r", "mine")
    assert written()[1] == [("NA", "5", "1", "0"), ("b", "7", "2", "1.5"), ("NA", "8", "3.5", "-0.5")]


def test_format_that_is_named_wins_over_the_ending(imports: Import) -> None:
    write("r.csv", ['{"user": "a,b", "item": 1}'])
    imports("r.csv", "mine", "--format=jsonl")
    assert written()[1] == [("a,b", "1")]


@pytest.mark.parametrize("between", ["", "\n", '""', " "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_blocks_are_cut_between_rows(between: str, end: str, imports: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "BLOCK", 97)
    quote = '"' if between in ("\n", '""') else ""
    rows = [f"u{n % 7},{quote}caf\u00e9{between * (n % 3)}{n}{quote},{n}" for n in range(400)]
    Path("r.csv").write_bytes("".join(row + end for row in ["user,title,item", *rows]).encode())
    imports("r.csv", "mine")
    assert written()[1] == [(f"u{n % 7}", str(n)) for n in range(400)]


@pytest.mark.parametrize("block", [1, 5, 13, 1000])
def test_quotes_that_arrow_does_not_read_as_python_does(
    block: int, imports: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "BLOCK", block)
    write("r.csv", ["user,item,title", '1,12" x,a', '2,"a,""b""",b', '3,c"d"e,"f\n\ng"', "", '4,"",h', '5,x,""'][:-2])
    imports("r.csv", "mine")
    with Path("r.csv").open(newline="") as file:
        expected = [tuple(row[:2]) for row in csv.reader(file) if row][1:]
    assert written()[1] == expected == [("1", '12" x'), ("2", 'a,"b"'), ("3", 'c"d"e')]
    assert read_by_recbole() == expected


def test_no_quotes(imports: Import) -> None:
    write("r.tsv", ["user\titem", '1\t"Heat', '2\t"Heat"', '3\tHeat"', '4\t"'])
    assert imports.refusal("r.tsv", "mine").startswith(
        "The row that begins in line 2 of r.tsv has a quote that is not closed"
    )
    imports("r.tsv", "mine", "--no-quotes")
    assert read_by_recbole() == [("1", '"Heat'), ("2", '"Heat"'), ("3", 'Heat"'), ("4", '"')]
