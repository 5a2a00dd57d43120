from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from recbole.config import Config
from recbole.data.dataset import dataset as recbole_s

from recbole_multvae.data.atomic_files import read_dataset
from recbole_multvae.errors import DataError
from tests.conftest import QUICK, block_pairs

HEADER = "user_id:token\titem_id:token\n"
ROWS = "".join(f"{user}\t{item}\n" for user, item in block_pairs())


def read(content: str | bytes, kind: str = "inter", **keys: object) -> object:
    """Read a data set, one of whose files has the given content."""
    Path("made").mkdir()
    Path("made/made.inter").write_text(HEADER + ROWS)
    Path(f"made/made.{kind}").write_bytes(content.encode() if isinstance(content, str) else content)
    return read_dataset(Config("MultVAE", "made", config_dict={**QUICK, **keys}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "made/made.inter is empty: expected a header, such as user_id:token and item_id:token, and rows."),
        (HEADER, "made/made.inter has a header and no rows."),
        (codecs.BOM_UTF8 + (HEADER + ROWS).encode(), "begins with a byte order mark.* set encoding=utf-8-sig."),
        ((HEADER + ROWS).encode("utf-16"), "begins with a byte order mark.* set encoding=utf-16."),
        ("user:token\titem_id:token\n" + ROWS, "lacks the column user_id:token, it has user:token item_id:token: rename"),
        ("user_id:token\titem:token\n" + ROWS, "lacks the column item_id:token"),
        ("user_id:float\titem_id:token\n" + ROWS, "lacks the column user_id:token, it has user_id:float"),
        ("user_id\titem_id\n" + ROWS, "has the column 'user_id': expected a name and a type, such as user_id:token"),
        ("user_id:tokn\titem_id:token\n" + ROWS, "has the column 'user_id:tokn'"),
        (
            (HEADER + ROWS).replace("\t", ","),
            "has the column 'user_id:token,item_id:token'.* '.t' .field_separator. between",
        ),
        ("user_id:token\tuser_id:token\n" + ROWS, "names the column user_id twice"),
        (HEADER + "u1\ti1\tx\n" + ROWS, "Line 2 of made/made.inter has 3 values, and its header names 2 columns."),
        (HEADER + ROWS + "u1\n", "Line 322 of made/made.inter has 1 value, and its header names 2 columns: write every"),
        (HEADER + ROWS + "\ti1\n", "Line 322 of made/made.inter has no user_id: name every user and every item"),
        (HEADER + ROWS + "u1\t\n", "Line 322 of made/made.inter has no item_id"),
        (HEADER + ROWS + "u1\t[PAD]\n", "Line 322 of .* the item_id '.PAD.', which is RecBole's name for padding: rename"),
        (HEADER + ROWS + "u1\ti\0\n", "Line 322 of .* the character NUL inside"),
        (HEADER + ROWS + "u1\ti\r1\n", "Line 322 of .* a carriage return inside"),
        ((HEADER + ROWS + "u1\tcaf\u00e9\n").encode("latin-1"), "can't decode .*; name the encoding of its files"),
    ],
)
def test_mistakes_in_the_file_of_interactions(content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        read(content)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"USER_ID_FIELD": "uid"}, "lacks the column uid:token"),
        ({"load_col": {"inter": ["user_id", "itemid"]}}, "load_col and unload_col leave the column item_id of .* out"),
        ({"load_col": None, "unload_col": {"inter": ["user_id"]}}, "leave the column user_id of"),
        ({"load_col": {"item": ["item_id"]}}, "leave the column user_id of"),
        ({"field_separator": ","}, "and ',' .field_separator. between columns"),
        ({"user_inter_num_interval": "[500,inf)"}, "Some feat is empty"),
    ],
)
def test_keys_that_do_not_fit_the_file(keys: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(HEADER + ROWS, **keys)


def test_item_file_is_looked_at_where_it_is_read() -> None:
    with pytest.raises(DataError, match=r"made.item has the column 'title': expected a name and a type"):
        read("item_id:token\ttitle\ni1\tOne\n", "item", load_col={"inter": "*", "item": "*"})


def test_a_column_in_two_files_is_refused() -> None:
    both, content = {"inter": "*", "item": "*"}, "item_id:token\tyear:float\ni1\t1\n"
    assert read(content, "item", load_col=both).item_num == 2  # The others are not in the file of items.
    Path("made/made.inter").write_text("user_id:token\titem_id:token\tyear:float\nu1\ti1\t2\n")
    with pytest.raises(DataError, match=r"made.inter and made/made.item both have the column year: rename one of them"):
        read_dataset(Config("MultVAE", "made", config_dict={**QUICK, "load_col": both}))


def test_item_file_is_not_looked_at_where_it_is_not_read() -> None:
    read("item_id:token\ttitle\ni1\tOne\n", "item")


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("utf-8-sig", "utf-8-sig"), ("UTF_8_SIG", "utf-8-sig"), ("utf-16", "utf-16"), ("latin-1", "latin-1")],
)
def test_named_encoding(encoding: str, written: str) -> None:
    dataset = read((HEADER + ROWS + "u1\tcaf\u00e9\n").encode(written), encoding=encoding)
    assert "caf\u00e9" in dataset.field2token_id["item_id"]
    assert (dataset.user_num, dataset.item_num) == (41, 22)


def test_windows_line_ends_and_other_columns() -> None:
    rows = ROWS.replace("\n", "\t5\r\n")
    dataset = read("uid:token\tiid:token\trating:float\r\n" + rows, USER_ID_FIELD="uid", ITEM_ID_FIELD="iid", load_col=None)
    assert (dataset.user_num, dataset.item_num) == (41, 21)


def test_download_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config("MultVAE", "ml-1m", config_dict=QUICK)

    def download(url: str, folder: str) -> str:
        Path(folder, "a.zip").touch()
        return f"{folder}/a.zip"

    def extract(path: str, folder: str) -> None:
        Path(folder, "ml-1m.inter").write_text(HEADER + ROWS)

    monkeypatch.setattr(recbole_s, "decide_download", lambda url: True)
    monkeypatch.setattr(recbole_s, "download_url", download)
    monkeypatch.setattr(recbole_s, "extract_zip", extract)
    assert read_dataset(config).user_num == 41


def test_one_interaction_is_too_few(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from recbole_multvae.commands.train import main

    Path("made").mkdir()
    Path("made/made.inter").write_text(HEADER + "u1\ti1\n")
    assert main(["--dataset=made", "--data_path=.", "--state=ERROR", "--use_gpu=False"]) == 1
    error = "error: The data set made has one interaction only: training and testing need two or more.\n"
    assert capsys.readouterr().err == error
