"""Any token comes back as it was, through RecBole's parser and through the plugin's reader."""

from __future__ import annotations

import csv
import io
import json
import string
import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.config import Config

from recbole_multvae.data.atomic_files import read_dataset
from recbole_multvae.errors import DataError
from recbole_multvae.importing import delimited
from recbole_multvae.importing.run import Import as Wanted
from recbole_multvae.importing.run import run_import
from tests.conftest import QUICK
from tests.importing.command import Import, read_by_recbole, write, written

MISSING = ["NA", "null", "None", "nan", "NaN", "n/a", "N/A", "NULL", "<NA>", "#N/A", "-nan", "inf"]
NUMBERS = ["007", "7", "7.0", "1e5", "1E5", "1_000", "9223372036854775808", "0x10", "-0", "+5", "\uff11", "1,5"]
#: What a reader of CSV might trip over, but for tabs and line ends.
SPECIAL = string.ascii_letters + '"""\',;| \\#:0\u00a0\u2028\x0b\x0c\x85\ufeff\U0001f600'
tokens = st.text(SPECIAL, min_size=1, max_size=6) | st.sampled_from(MISSING + NUMBERS)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_odd_tokens_are_kept(kind: str, imports: Import) -> None:
    rows = [(token, f"{token}!") for token in MISSING + NUMBERS] + [("x", token) for token in MISSING + NUMBERS]
    if kind == "csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("user", "item"), *rows])
        lines = text.getvalue().splitlines()
    else:
        lines = [json.dumps({"user": user, "item": item}) for user, item in rows]
    imports(write(f"r.{kind}", lines), "mine")
    assert written()[1] == rows


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(tokens, st.text(SPECIAL + "\t\n\r", max_size=4), tokens), min_size=1, max_size=8),
    separator=st.sampled_from(",\t;|"),
    every=st.booleans(),
    block=st.sampled_from([3, 20, 1000]),
)
def test_csv_comes_back(rows: list[tuple[str, str, str]], separator: str, every: bool, block: int) -> None:
    text = io.StringIO()
    quoting = csv.QUOTE_ALL if every else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=separator, quoting=quoting)  # type: ignore[arg-type]
    writer.writerows([("user", "note", "item"), *rows])
    with patch.object(delimited, "BLOCK", block):
        assert round_trip("r.csv", text.getvalue(), separator) == [(user, item) for user, _, item in rows]


@settings(max_examples=300, deadline=None)
@given(text=st.text('ab,"\n\r', max_size=24), block=st.sampled_from([3, 8, 1000]))
def test_any_text_is_read_as_python_s_csv_module_reads_it_or_refused(text: str, block: int) -> None:
    text = f"user,item\n{text}"
    try:
        expected = [tuple(row) for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row][1:]
    except csv.Error:
        expected = []
    possible = all(len(row) == 2 and all(row) and not set("".join(row)) & set("\n\r") for row in expected)
    with patch.object(delimited, "BLOCK", block):
        if expected and possible:
            assert round_trip("r.csv", text, ",") == expected
        else:
            with pytest.raises(DataError):
                round_trip("r.csv", text, ",")


@settings(max_examples=75, deadline=None)
@given(rows=st.lists(st.tuples(tokens, tokens), min_size=1, max_size=8), ascii_only=st.booleans())
def test_json_lines_come_back(rows: list[tuple[str, str]], ascii_only: bool) -> None:
    lines = [json.dumps({"user": user, "item": item}, ensure_ascii=ascii_only) + "\n" for user, item in rows]
    assert round_trip("r.jsonl", "".join(lines)) == rows


def round_trip(name: str, text: str, separator: str | None = None) -> list[tuple[str, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(text.encode())
        run_import(Wanted(path, "mine", Path(folder), separator=separator), lambda line: None)
        return read_by_recbole(Path(folder) / "mine" / "mine.inter")


def test_read_by_the_plugin(imports: Import) -> None:
    odd = ["NA", "007", "7", '"Heat', '"Heat"', '12" x', '"', '""', "1e5", " a ", "null", '"a"b"', "'", "#x"]
    rows = [(user, item) for user in odd for item in odd]
    lines = [json.dumps({"user": user, "item": item, "rating": 3, "time": n}) for n, (user, item) in enumerate(rows)]
    imports(write("r.jsonl", lines), "mine")
    dataset = read_dataset(Config("MultVAE", "mine", config_dict={**QUICK, "data_path": "dataset"}))
    users, items = (dataset.field2id_token[name][dataset.inter_feat[name]] for name in ("user_id", "item_id"))
    assert [(str(user), str(item)) for user, item in zip(users, items, strict=True)] == rows
