"""The table of items."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from pyarrow import parquet
from recbole.config import Config

from recbole_multvae.data.atomic_files import read_dataset
from recbole_multvae.data.titles import read_titles
from tests.conftest import QUICK
from tests.importing.command import Import, read_by_recbole, write, written

ITEM = "dataset/mine/mine.item"


@pytest.fixture(autouse=True)
def _interactions() -> None:
    write("r.csv", ["userId,movieId", "1,007", "1,NA", "2,3"])


def titles() -> dict[str, str]:
    config = {"field_separator": "\t", "encoding": None}
    return read_titles(SimpleNamespace(dataset_path="dataset/mine", dataset_name="mine", iid_field="item_id", config=config))


def test_text_numbers_and_codes(imports: Import) -> None:
    write("m.csv", ["year,code,movieId,title,price,empty", "1995,0114709,007,Toy Story,1.50,", "1996,0113189,NA,null,,",
                    ",12,8,\"GoldenEye, the\",-3,"])  # fmt: skip
    output = imports("r.csv", "mine", "--items=m.csv")
    assert written(ITEM) == (
        ["item_id:token", "title:token", "year:float", "code:token", "price:float"],
        [("007", "Toy Story", "1995", "0114709", "1.50"), ("NA", "null", "1996", "0113189", ""),
         ("8", "GoldenEye, the", "", "12", "-3")],
    )  # fmt: skip
    assert "3 items with title:token, year:float, code:token, price:float; 2 of the 3 items above are among them." in output
    assert "Left out, as they hold objects, bytes or nothing: empty." in output
    assert titles() == {"007": "Toy Story", "NA": "null", "8": "GoldenEye, the"}


def test_titles_with_quotes_tabs_and_line_ends(imports: Import) -> None:
    rows = [
        ("movieId", "title", "n"),
        ("007", '"Heat', "1"),
        ("NA", '"Heat"', "2"),
        ("3", 'The "Best"\n\tof', "3"),
        ("4", '"', "4"),
    ]
    with Path("m.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    output = imports("r.csv", "mine", "--items=m.csv")
    expected = [(item, title.replace("\n\t", " "), n) for item, title, n in rows[1:]]
    assert read_by_recbole(ITEM) == expected
    assert titles() == {item: title for item, title, _ in expected}
    assert "1 text held a tab or a line end: it is a space now." in output


@pytest.mark.parametrize(("scifi", "separator"), [("SciFi", " "), ("Sci Fi", "|"), ("Sci | Fi", ";")])
def test_lists_come_back_through_recbole(scifi: str, separator: str, imports: Import) -> None:
    write("m.csv", ["movieId,genres,title", f"007,Action/{scifi},A", "NA,,B", f"3, {scifi} / Action/ ,C"])
    output = imports("r.csv", "mine", "--items=m.csv", "--list=genres:/")
    assert written(ITEM)[0] == ["item_id:token", "title:token", "genres:token_seq"]
    assert (f"--seq_separator='{separator}'" in output) == (separator != " ")
    keys = {"data_path": "dataset", "load_col": {"inter": "*", "item": "*"}, "seq_separator": separator}
    dataset = read_dataset(Config("MultVAE", "mine", config_dict={**QUICK, **keys}))
    names = dataset.field2id_token["genres"]
    items = dataset.field2id_token["item_id"][dataset.item_feat["item_id"]]
    genres = [[str(names[genre]) for genre in row if genre] for row in dataset.item_feat["genres"]]
    lists = dict(zip(map(str, items), genres, strict=True))
    assert lists == {"[PAD]": [], "007": ["Action", scifi], "NA": [], "3": [scifi, "Action"]}


def test_lists_of_json_and_parquet(imports: Import) -> None:
    rows = [
        {"movieId": "007", "tags": ["a", "b c"], "who": {"x": 1}},
        {"movieId": "3", "tags": "d"},
        {"movieId": "NA", "year": 1e3},
    ]
    write("m.jsonl", [json.dumps(row) for row in rows])
    output = imports("r.csv", "mine", "--items=m.jsonl")
    assert written(ITEM) == (["item_id:token", "tags:token_seq", "year:float"], [("007", "a|b c", ""), ("3", "d", ""),
                                                                               ("NA", "", "1000.0")])  # fmt: skip
    assert "Left out, as they hold objects, bytes or nothing: who." in output
    columns = {
        "movieId": pa.array(["3", "007"]).dictionary_encode(),
        "tags": pa.array([[1, 2], None]),
        "name": ["x", None],
        "image": [b"\xff", b"\xfe"],
        "who": [{"x": 1}, None],
        "them": [[{"x": 1}], None],
    }
    parquet.write_table(pa.table(columns), "m.parquet", row_group_size=1)
    imports("r.csv", "mine", "--items=m.parquet", "--overwrite")
    assert written(ITEM) == (["item_id:token", "name:token", "tags:token_seq"], [("3", "x", "1 2"), ("007", "", "")])


def test_names_that_mean_something_else(imports: Import) -> None:
    write("m.csv", ["id,rating,item_id,product:title,user_id,", "007,5,1,x,2,3"])
    imports("r.csv", "mine", "--items=m.csv", "--item-id=id")
    others = [f"item_{name}:float" for name in ("rating", "item_id", "user_id")]
    assert written(ITEM)[0] == ["item_id:token", "product_title:token", *others, "column:float"]


def test_first_of_equal_items(imports: Import) -> None:
    write("m.csv", ["movieId,title", "3,C", "007,A", "3,other"])
    assert "1 row names an item again: the first row of each is kept." in imports("r.csv", "mine", "--items=m.csv")
    assert written(ITEM)[1] == [("3", "C"), ("007", "A")]


@pytest.mark.parametrize(
    ("rows", "flags", "message"),
    [
        (
            ["movieId,title", "1,x"],
            [],
            "No item of m.csv (column movieId, such as '1') is in r.csv (column movieId, such as",
        ),
        (
            ["movieId,title", "007,x", ",y"],
            [],
            "Line 3 of m.csv has no item (column movieId): fill it in, or remove the row.",
        ),
        (["a,b", "007,x"], [], "Cannot tell which column of m.csv holds the item: it has a, b; name it with --item-id."),
        (["a,b", "007,x"], ["--item-id=c"], "m.csv has no column 'c': it has a, b; name one of them with --item-id."),
        (
            ["a,b", "007,x"],
            ["--item-id=a", "--list=c:|"],
            "m.csv has no column 'c': it has a, b; name one of them with --list.",
        ),
        (
            ["a,b", "007,x"],
            ["--item-id=a", "--list=b"],
            "--list=b lacks its separator: write COLUMN:SEPARATOR, such as b:'|'.",
        ),
        (["a,b", "007,"], ["--item-id=a"], "m.csv has no column beside 'a' that can be written: leave out --items."),
        (["movieId,b,b", "007,1,2"], [], "m.csv has 2 columns 'b': rename all but one."),
        (["movieId,b"], [], "m.csv has a header and no rows."),
    ],
)
def test_tables_that_are_refused(rows: list[str], flags: list[str], message: str, imports: Import) -> None:
    write("m.csv", rows)
    assert imports.refusal("r.csv", "mine", "--items=m.csv", *flags).startswith(message)
