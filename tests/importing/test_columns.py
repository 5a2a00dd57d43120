"""Which column is which."""

from __future__ import annotations

import pytest

from tests.importing.command import Import, write, written


@pytest.mark.parametrize(
    ("header", "numbers"),
    [
        ("userId,movieId,rating,timestamp", "1234"),
        ("timestamp,ASIN,overall,reviewerID", "4231"),
        ("user_id,session_id,product_id,event_time", "13-4"),
        ("visitorid,event,itemid,ts", "13-4"),
        ("session_id,x,article_id,y", "13--"),
        ("ISBN,User-ID,Book-Rating,title", "213-"),
        ("user_id:token,item_id:token,rating:float,timestamp:float", "1234"),
        ("InvoiceDate,StockCode,Customer ID,Price", "32-1"),
        ("Unnamed: 0,user,item,Score", "234-"),
    ],
)
def test_usual_names(header: str, numbers: str, imports: Import) -> None:
    write("r.csv", [header, "1,2,3,4"])
    output = imports("r.csv", "mine")
    assert written()[1] == [tuple(numbers.replace("-", ""))]
    names = header.split(",")
    assert output.startswith(f"Columns by their usual names: user {names[int(numbers[0]) - 1]!r}, item")
    assert ("time " in output.splitlines()[0]) == (numbers[3] != "-")


def test_named_columns_and_none(imports: Import) -> None:
    write("r.csv", ["user,item,rating,time,other", "1,2,3,4,5", "2,2,3,4,6"])
    output = imports("r.csv", "mine", "--user=other", "--item=user", "--rating=none", "--time=none")
    assert written() == (["user_id:token", "item_id:token"], [("5", "1"), ("6", "2")])
    assert "usual names" not in output
    write("r.csv", ["user,item,none", "1,2,3"])
    imports("r.csv", "mine", "--rating=none", "--overwrite")
    assert written()[0][2:] == ["rating:float"]


@pytest.mark.parametrize(
    ("header", "flags", "message"),
    [
        ("a,b,c", [], "Cannot tell which column of r.csv holds the user: it has a, b, c; name it with --user."),
        ("user,b,c", [], "Cannot tell which column of r.csv holds the item: it has user, b, c; name it with --item."),
        ("1,31,2.5", [], "Cannot tell which column of r.csv holds the user: it has 1, 31, 2.5; number the columns with"
         " --no-header --user 1 --item 2."),
        ("userId,movieId,c", ["--user=userid"], "r.csv has no column 'userid': it has userId, movieId, c; name one of them"
         " with --user."),
        ("userId,movieId,c", ["--time=date"], "r.csv has no column 'date': it has userId, movieId, c; name one"),
        ("user,item,user_id", ["--user=none"], "r.csv has no column 'none'"),
        ("user_id,UserID,item", [], "r.csv has several columns for the user, user_id, UserID: name one, for example --u"
         "ser user_id."),
        ("user,item,item", ["--item=item"], "r.csv has 2 columns 'item': rename all but one."),
        ("user,item,c", ["--user=c", "--item=c"], "The column 'c' is named for --user and --item: name different columns."),
        ("user,item,c", ["--item-id=c"], "--item-id is for a table of items: name its file with --items."),
        ("user,item,c", ["--list=c:|"], "--list is for a table of items: name its file with --items."),
    ],
)  # fmt: skip
def test_columns_that_are_not_clear(header: str, flags: list[str], message: str, imports: Import) -> None:
    write("r.csv", [header, "1,2,3"])
    assert imports.refusal("r.csv", "mine", *flags).startswith(message)


def test_report_and_next_command(imports: Import) -> None:
    write("r.csv", ["user,item,rating,time", "1,a,1,0", "1,b,5,86400", "1,a,3.5,4294967296", "2,a,4,1"])
    output = imports("r.csv", "mine").splitlines()[1:]
    assert output[0] == (
        "dataset/mine/mine.inter: 4 rows, 2 users, 2 items, ratings from 1 to 5, times from 1970-01-01 to 2106-02-07 "
        "(seconds, UTC)."
    )
    assert output[1] == "1 row repeats a pair of user and item: training counts each pair once."
    assert output[2] == "Next: multvae-train --model=MultVAE --dataset=mine"
    assert output[3].startswith("For good ratings only, add --val_interval=\"{'rating': '[4,inf)'}\"")


def test_one_rating_is_no_opinion(imports: Import) -> None:
    write("r.csv", ["user,item,rating", "1,a,1", "1,b,1"])
    output = imports("r.csv", "mine", "--dataset-path=my data")
    assert output.endswith("Next: multvae-train --model=MultVAE --dataset=mine --data_path='my data'\n")
