"""What cannot be imported is one sentence, and nothing is left behind."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from recbole_multvae.importing import delimited
from tests.importing.command import Import, write

NOT_UTF8 = "is not in utf-8: name the encoding of the file, for example --encoding"
PACKED = gzip.compress(b"user,item\n" + b"1,2\n" * 9, mtime=0)  # The same test ids in every process.


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1,2,3", "1,,3"], "Line 3 of r.csv has no item (column item): fill it in, or remove the row."),
        (["1,2,3", "", '"",2,3'], "Line 4 of r.csv has no user (column user)"),
        (["1,2,3", "[PAD],2,3"], "Line 3 of r.csv has the user [PAD] (column user), RecBole's name for padding"),
        (['1,"a\nb",3', "1,2,3"], "Line 2 of r.csv has the item 'a\\nb' (column item): an id cannot hold a tab"),
        (["1,2,3", "1,a\tb,3"], "Line 3 of r.csv has the item 'a\\tb' (column item)"),
        (["1,2,3", "1,2", "3,4,5"], "Line 3 of r.csv has 2 values, and the first row has 3: a value that holds ','"),
        (["1,2,3", "1,2,3,4"], "Line 3 of r.csv has 4 values, and the first row has 3"),
        (['1,2,"3"', "", '1,"2', 'x",3,4'], "Line 4 of r.csv has 4 values"),
        (["1,2,3", "1,2,"], "Line 3 of r.csv has no rating (column rating): fill it in, remove the row, or leave"),
        (["1,2,3", "1,2,good"], "Line 3 of r.csv has the rating 'good' (column rating): expected a number; --rating none"),
        (["1,2,3", "1,2,nan"], "Line 3 of r.csv has the rating 'nan'"),
        (["1,2,3", "1,2,1e400"], "Line 3 of r.csv has the rating '1e400'"),
        (["1,2,3", "1,2,1_000"], "Line 3 of r.csv has the rating '1_000'"),
        (["1,2,3", '1,2,"3,5"'], "Line 3 of r.csv has the rating '3,5'"),
        (["1,2,3", '1,"2,3', "1,2,3"], "The row that begins in line 3 of r.csv has a quote that is not closed"),
        (["1,2,3", '1,"2"x,3', "1,2,3"], "The row that begins in line 3 of r.csv has a quote that is not closed"),
        ([], "r.csv has a header and no rows."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("block", [7, 1 << 20])
def test_rows(rows: list[str], message: str, block: int, imports: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "BLOCK", block)
    write("r.csv", ["user,item,rating", *rows])
    assert imports.refusal("r.csv", "mine").startswith(message)


def test_line_far_down(imports: Import) -> None:
    rows = [f'{n},"a ""b"" {n}",{n % 5}' for n in range(100_000)]
    write("r.csv", ["user,item,rating", *rows[:-1], rows[-1] + "x"])
    assert imports.refusal("r.csv", "mine").startswith("Line 100001 of r.csv has the rating '4x'")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "r.csv is empty: expected rows, and a line with the names"),
        (b"\n\n", "r.csv is empty"),
        (b"user\n1\n", "r.csv has only one column"),
        (b"user,item\n1,caf\xe9\n", f"Line 2 of r.csv {NOT_UTF8}=ISO-8859-1."),
        ("user,item\n1,2\n".encode("utf-16"), f"Line 1 of r.csv {NOT_UTF8}=utf-16."),
        (PACKED[:-9], "r.csv is a gzip file that is damaged or not complete"),
        (PACKED[:-5] + b"xxxxx", "r.csv is a gzip file that is damaged or not complete"),
        (gzip.compress(b"", mtime=0), "r.csv is empty"),
        (b"PK\x03\x04....", "r.csv is a zip archive or an Excel workbook: unpack it, or save it as CSV, and import that."),
    ],
)  # fmt: skip
def test_files(content: bytes, message: str, imports: Import) -> None:
    Path("r.csv").write_bytes(content)
    assert imports.refusal("r.csv", "mine").startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"user": 1, "item": 2}\n{"user": 1, "item": }\n', "Line 2 of r.jsonl is not JSON (Expecting value"),
        ('{"user": 1, "item": 2}\n{"user": 1\n', "Line 2 of r.jsonl is not JSON"),
        ('{"user": 1, "item": 2}\n\n7\n', "Line 3 of r.jsonl is the JSON '7': expected an object"),
        ('{"user": 1, "item": 2} {"user": 1, "item": 2}\n', "Line 1 of r.jsonl is not JSON (Extra data"),
        ('{"user": 1, "item": [{}\n{}]}\n{}, {}\n', "Line 1 of r.jsonl is not JSON"),
        ('[{"user": 1, "item": 2}]\n', "Line 1 of r.jsonl is the JSON \"[{\"user"),
        ('{"user": 1, "item": 2}\n{"user": null, "item": 2}\n', "Line 2 of r.jsonl has no user (column user)"),
        ('{"user": 1, "item": 2}\n{"user": 2}\n', "Line 2 of r.jsonl has no item (column item)"),
        ('{"user": 1, "item": 2}\n{"user": 2, "item": {"x": 1}}\n', "Line 1 of r.jsonl has a list, an object or bytes"),
        ('{"user": 1, "item": 2}\n{"user": "a\\tb", "item": 1}\n', "Line 2 of r.jsonl has the user 'a\\tb' (column user)"),
        ('{"user": 1, "item": 2}\n{"user": "\\ud800", "item": 1}\n', "Line 2 of r.jsonl holds half a character"),
        ('{"user": 1, "item": 2, "rating": 1}\n{"user": 1, "item": 1, "rating": true}', "Line 2 of r.jsonl has the rating"),
        ('{"user": 1, "item": 2}\n{"user": 1, "item": 1, "rating": 3}', "Line 1 of r.jsonl has no rating (column rating)"),
        ("\n", "r.jsonl has no rows"),
    ],
)  # fmt: skip
def test_json_lines(content: str, message: str, imports: Import) -> None:
    Path("r.jsonl").write_text(content)
    assert imports.refusal("r.jsonl", "mine").replace("'[{", '"[{').startswith(message)


def test_parquet(imports: Import) -> None:
    Path("r.parquet").write_bytes(b"PAR1 and more")
    assert imports.refusal("r.parquet", "mine").startswith("r.parquet is not a whole Parquet file")
    parquet.write_table(pa.table({"user": [1, None], "item": [1, 2], "rating": [1.5, float("nan")]}), "r.parquet")
    assert imports.refusal("r.parquet", "mine").startswith("Row 2 of r.parquet has no user (column user)")
    assert imports.refusal("r.parquet", "mine", "--user=item", "--item=rating").startswith("Row 2 of r.parquet has no item")
    whole = Path("r.parquet").read_bytes()
    Path("r.parquet").write_bytes(whole[:60] + b"\xff" * 40 + whole[100:])
    assert "r.parquet" in imports.refusal("r.parquet", "mine")
    parquet.write_table(pa.table({"user": pa.array([], pa.int64()), "item": pa.array([], pa.int64())}), "r.parquet")
    assert imports.refusal("r.parquet", "mine") == "r.parquet has columns and no rows."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.csv", "mine"], "There is no file missing.csv: expected a table"),
        ([".", "mine"], ". is a folder: name a file in it."),
        (["r.csv", "a/b"], "The data set cannot be named 'a/b': expected a name without slashes"),
        (["r.csv", ".."], "The data set cannot be named '..'"),
        (["r.csv", ""], "The data set cannot be named ''"),
        (["r.csv", "ml-100k"], "The data set cannot be named ml-100k: RecBole reads its own files for it"),
        (["r.csv", "mine", "--encoding=utf-99"], "--encoding=utf-99 is not an encoding that Python knows"),
        (["r.csv", "mine", "--encoding=base64"], "--encoding=base64 is not an encoding that Python knows"),
        (["r.csv", "mine", "--separator="], "--separator='' is not allowed"),
        (["r.csv", "mine", "--separator=;"], "r.csv has only one column, 'user,item': name the separator of its columns"),
        (["r.csv", "mine", "--dataset-path=r.csv"], "Cannot write r.csv/mine"),
        (["r.csv", "mine", "--format=parquet"], "r.csv is not a whole Parquet file"),
    ],
)
def test_arguments(arguments: list[str], message: str, imports: Import) -> None:
    write("r.csv", ["user,item", "1,2"])
    assert imports.refusal(*arguments).startswith(message)


def test_pyarrow_is_missing(imports: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("recbole_multvae.importing.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    write("r.csv", ["user,item", "1,2"])
    message = imports.refusal("r.csv", "mine")
    assert message.startswith("multvae-import needs pyarrow (")
    assert message.endswith("): pip install 'recbole-multvae[import]'.")
