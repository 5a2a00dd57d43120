"""The file of --histories: a line is a row, whatever its tokens hold."""

from __future__ import annotations

import csv
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multvae_export.cli import main
from multvae_export.errors import HistoriesError
from multvae_export.histories import Layout, random_histories, read_inter

from tests.archive import changed

TOKENS = ("[PAD]", "caf\u00e9", 'say "hi"', "a\tb", "a,b;c", "007")
ROWS = [("u", "caf\u00e9"), ("u", 'say "hi"'), ("u", "a\tb"), ("v", "a,b;c"), ("v", "007"), ("v", "007")]
EXPECTED = [[1, 2, 3], [4, 5]]


def rows_of(histories: list[np.ndarray]) -> list[list[int]]:
    return [row.tolist() for row in histories]


@pytest.mark.parametrize("encoding", ["utf-8", "ISO-8859-1", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("separator", ["\t", ",", ";"])
def test_what_pandas_writes_is_read(encoding: str, separator: str) -> None:
    table = pd.DataFrame(ROWS, columns=["who:token", "what:token"])
    table.to_csv("x.inter", sep=separator, index=False, encoding=encoding)
    histories = read_inter("x.inter", TOKENS, Layout("who", "what", separator, encoding))
    assert rows_of(histories) == EXPECTED


def test_a_byte_order_mark_is_no_part_of_the_first_column() -> None:
    Path("x.inter").write_text("user_id:token\titem_id:token\nu\t007\n", encoding="utf-8-sig")
    assert rows_of(read_inter("x.inter", TOKENS, Layout())) == [[5]]


HEADER = "user_id:token\titem_id:token\n"


@pytest.mark.parametrize(
    ("text", "layout", "message"),
    [
        ("user_id:token\titem_id:token\nu\t\u00e9\n", Layout(encoding="ascii"), "encoding=ascii .*: 'ascii' codec can't"),
        (HEADER, Layout(encoding="nothing"), "unknown encoding: nothing"),
        (HEADER, Layout(encoding="a\0b"), "embedded null|unknown encoding"),
        (HEADER, Layout(encoding="rot13"), "is not a text encoding"),
        ("", Layout(), "has no column user_id:token"),
        (HEADER, Layout(separator="::"), "has no column user_id:token"),
        (HEADER, Layout(user="who"), "has no column who:token"),
        (HEADER + "u\t007\tmore\n", Layout(), "line 2 of x.inter has 3 fields, expected 2"),
        (HEADER + "u\t007\n\n \nu\n", Layout(), "line 5 of x.inter has 1 fields, expected 2"),
        (HEADER + 'u\t"00\t7\n', Layout(), "line 2 of x.inter has 3 fields, expected 2"),
        (HEADER + "u\t007\n\t007\n", Layout(), "line 3 of x.inter has nothing for user_id:token: expected a token"),
        (HEADER + 'u\t""\n', Layout(), "line 2 of x.inter has nothing for item_id:token"),
        (HEADER + "u\t0\r7\n", Layout(), "line 2 of x.inter has a carriage return inside"),
        (HEADER + "u\t007\r\r\n", Layout(), "line 2 of x.inter has a carriage return inside"),
        (HEADER + "u\t007\r", Layout(), "line 2 of x.inter has a carriage return inside"),
        (HEADER + "u\t007\nu\t0\0007\n", Layout(), "line 3 of x.inter has the character NUL inside"),
        ((HEADER + "u\t007\nu\t0\0007\n").replace("\n", "\r"), Layout(), "line 3 of x.inter has the character NUL inside"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text: str, layout: Layout, message: str) -> None:
    Path("x.inter").write_bytes(text.encode())
    with pytest.raises(HistoriesError, match=message) as caught:
        read_inter("x.inter", TOKENS, layout)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_and_blank_lines(end: str, last: bool) -> None:
    text = f"{HEADER}\nu\t007\n  \n\nu\ta b\nv\t007" + "\n" * last
    Path("x.inter").write_bytes(text.replace("\n", end).encode())
    assert rows_of(read_inter("x.inter", ("[PAD]", "a b", "007"), Layout())) == [[1, 2], [2]]


def test_tokens_are_what_the_file_has() -> None:
    words = [
        "NA",
        "null",
        "nan",
        "None",
        "n/a",
        "1_000",
        " 7 ",
        '12"',
        '"12',
        'a"b"',
        "1\u20282",
        "1\x852",
        "1\x0b2",
        "x" * 200_000,
    ]
    Path("x.inter").write_text(HEADER + "".join(f"{word}\t{word}\n" for word in words), encoding="utf-8")
    assert rows_of(read_inter("x.inter", ("[PAD]", *words), Layout())) == [[n + 1] for n in range(len(words))]


@pytest.mark.parametrize("separator", ["||", "$$", "::", ".*", ", ", "\N{SNOWMAN}"])
def test_separator_is_taken_literally(separator: str) -> None:
    words = ("[PAD]", 'say "hi"', "quoted", "a|b", "a$b", ":x")
    Path("x.inter").write_text(
        separator.join(("item_id:token", "user_id:token", "rating:float"))
        + "".join(f"\n{word}{separator}u{separator}1" for word in ('say "hi"', '"quoted"', *words[3:])),
        encoding="utf-8",
    )
    assert rows_of(read_inter("x.inter", words, Layout(separator=separator))) == [[1, 2, 3, 4, 5]]


#: Characters that a parser of CSV or of lines may get wrong; few, so that they often meet.
ODD = st.text('"a,|\t \u2028\x85\x0b\x0c\x1c\N{ZERO WIDTH NO-BREAK SPACE}\u00e9', max_size=6)
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(
    st.lists(st.tuples(ODD.filter(bool), ODD.filter(bool)), max_size=5),
    st.sampled_from(["\t", ",", "|"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_csv_writes_comes_back(rows: list[tuple[str, str]], separator: str, end: str, quoting: Any) -> None:
    with Path("x.inter").open("w", encoding="utf-8", newline="") as file:
        write = csv.writer(file, delimiter=separator, lineterminator=end, quoting=quoting)
        write.writerows([("user_id:token", "item_id:token"), *rows])
    items = sorted({item for _, item in rows})
    users = dict.fromkeys(user for user, _ in rows)
    expected = [sorted({items.index(item) + 1 for user, item in rows if user == one}) for one in users]
    assert rows_of(read_inter("x.inter", ("[PAD]", *items), Layout(separator=separator))) == expected


def fields_of(line: str, separator: str) -> list[str]:
    """Two fields, or others if the line cannot be read so: as CSV, here by its grammar, or else literally."""
    field = f'"(?:[^"]|"")*"|(?!")[^{separator}]*'
    quoted = re.fullmatch(f"({field}){separator}({field})", line) if len(separator) == 1 else None
    if quoted is None:
        return line.split(separator)
    return [part[1:-1].replace('""', '"') if part.startswith('"') else part for part in quoted.groups()]


@MANY
@given(st.lists(st.text('"a,|\t \u2028\x85', max_size=9), max_size=4), st.sampled_from([",", "\t", "||"]))
def test_any_lines_are_read_or_refused_by_these_rules(lines: list[str], separator: str) -> None:
    Path("x.inter").write_text("\n".join([f"user_id:token{separator}item_id:token", *lines]), encoding="utf-8", newline="")
    rows = [(n, fields_of(line, separator)) for n, line in enumerate(lines, 2) if line.strip(" ")]
    items = sorted({row[-1] for _, row in rows} - {""})
    if wrong := [n for n, row in rows if len(row) != 2 or not all(row)]:
        with pytest.raises(HistoriesError, match=f"^line {wrong[0]} of x.inter has "):
            read_inter("x.inter", ("[PAD]", *items), Layout(separator=separator))
        return
    histories = read_inter("x.inter", ("[PAD]", *items), Layout(separator=separator))
    expected = {user: sorted({items.index(i) + 1 for _, (u, i) in rows if u == user}) for _, (user, _) in rows}
    assert rows_of(histories) == list(expected.values())


def test_the_layout_is_the_checkpoint_s(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = {"USER_ID_FIELD": "who", "ITEM_ID_FIELD": "what", "field_separator": ";", "encoding": "utf-16"}
    path = changed(checkpoint, Path("x.pth"), lambda c: c["config"].final_config_dict.update(keys))
    rows = "".join(f"u{u};i{(u + 2 * n) % 20}\n" for u in range(10) for n in range(10))
    Path("x.inter").write_text("who:token;what:token\n" + rows, encoding="utf-16")
    flags = ("--precision", "fp16", "--histories", "x.inter")
    assert main([str(path), "model.onnx", *flags]) == 0
    assert "over 10 users" in capsys.readouterr().out


def test_keys_that_are_no_text_are_as_recbole_has_them_by_default() -> None:
    keys: dict[str, Any] = {"USER_ID_FIELD": None, "ITEM_ID_FIELD": 7, "field_separator": [], "encoding": ""}
    assert Layout.of(keys) == Layout()


def test_random_histories_are_distinct_and_at_most_half_the_catalogue() -> None:
    for row in random_histories(11, 100):
        assert 1 <= len(set(row.tolist())) == len(row) <= 5
        assert row.min() >= 1
        assert row.max() <= 10
    assert max(map(len, random_histories(10_000, 200, longest=20))) == 20


def test_of_several_checkpoints_the_newest_is_exported(trained: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for age, name in ((200, "MultDAE"), (100, "MultVAE")):
        shutil.copy(trained[name], f"{name}.pth")
        os.utime(f"{name}.pth", (2e9 - age, 2e9 - age))
    assert main(["MultDAE.pth", "MultVAE.pth", "model.onnx", "--io", "ids"]) == 0
    out = capsys.readouterr().out
    assert "Of 2 checkpoints the newest is used: MultVAE.pth" in out
    assert "MultVAE 20-6-4-6-20" in out
    assert main(["MultDAE.pth", "model.onnx"]) == 0
    assert "checkpoints" not in capsys.readouterr().out


def test_an_interrupted_export_ends_with_a_sentence(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["multvae_export.exporter"], "verify", interrupted)
    assert main([str(checkpoint), "model.onnx"]) == 130
    assert capsys.readouterr().err == "error: interrupted; nothing was written.\n"
    assert not list(Path().iterdir())
