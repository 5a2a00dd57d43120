"""The file of --histories is read as RecBole reads it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from multvae_export import histories
from multvae_export.cli import main
from multvae_export.errors import HistoriesError
from multvae_export.histories import Layout, read_inter

from tests.archive import changed

TOKENS = ("[PAD]", "caf\u00e9", 'say "hi"', "a\tb", "two\nlines", "007")
ROWS = [("u", "caf\u00e9"), ("u", 'say "hi"'), ("u", "a\tb"), ("v", "two\nlines"), ("v", "007"), ("v", "007")]
EXPECTED = [[1, 2, 3], [4, 5]]


def rows_of(found: list[np.ndarray]) -> list[list[int]]:
    return [row.tolist() for row in found]


@pytest.mark.parametrize("encoding", ["utf-8", "ISO-8859-1", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("separator", ["\t", ",", ";"])
def test_what_pandas_writes_is_read(encoding: str, separator: str) -> None:
    table = pd.DataFrame(ROWS, columns=["who:token", "what:token"])
    table.to_csv("x.inter", sep=separator, index=False, encoding=encoding)
    found = read_inter("x.inter", TOKENS, Layout("who", "what", separator, encoding))
    assert rows_of(found) == EXPECTED


def test_a_byte_order_mark_is_no_part_of_the_first_column() -> None:
    Path("x.inter").write_text("user_id:token\titem_id:token\nu\t007\n", encoding="utf-8-sig")
    assert rows_of(read_inter("x.inter", TOKENS, Layout())) == [[5]]


def test_empty_lines_and_empty_users_are_left_out_as_recbole_does() -> None:
    Path("x.inter").write_text("user_id:token\titem_id:token\n\nu\t007\n\t007\n\n")
    assert rows_of(read_inter("x.inter", TOKENS, Layout())) == [[5]]


@pytest.mark.parametrize(
    ("text", "layout", "message"),
    [
        ('user_id:token\titem_id:token\nu\t"007\nv\t007\n', Layout(), "is not as .*: unexpected end of data"),
        ("user_id:token\titem_id:token\nu\t\u00e9\n", Layout(encoding="ascii"), "encoding=ascii .*: 'ascii' codec can't"),
        ("user_id:token\titem_id:token\n", Layout(encoding="nothing"), "unknown encoding: nothing"),
        ("user_id:token\titem_id:token\n", Layout(encoding="a\0b"), "embedded null|unknown encoding"),
        ("user_id:token\titem_id:token\n", Layout(encoding="rot13"), "is not a text encoding"),
        ("user_id:token::item_id:token\n", Layout(separator="::"), "1-character string|unicode character"),
        ("user_id:token\titem_id:token\n", Layout(user="who"), "has no column who:token"),
        ("user_id:token\titem_id:token\nu\t007\tmore\n", Layout(), "line 2 of x.inter has 3 fields, expected 2"),
        (f"user_id:token\titem_id:token\nu\t{'x' * 200_000}\n", Layout(), "field larger than"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text: str, layout: Layout, message: str) -> None:
    Path("x.inter").write_text(text, encoding="utf-8")
    with pytest.raises(HistoriesError, match=message) as caught:
        read_inter("x.inter", TOKENS, layout)
    assert "\n" not in str(caught.value)


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


def test_made_histories_are_distinct_and_at_most_half_the_catalogue() -> None:
    for row in histories.made(11, 100):
        assert 1 <= len(set(row.tolist())) == len(row) <= 5
        assert row.min() >= 1
        assert row.max() <= 10
    assert max(map(len, histories.made(10_000, 200, longest=20))) == 20


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
