"""The log tells what becomes of every line of a file."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.data.made import clicks, prepared, write


def test_every_interaction_that_is_left_out_is_told(caplog: pytest.LogCaptureFixture) -> None:
    rows = [*clicks(), ("u0", "i0", 5, 1), ("u0", "i0", 5, 1), ("rare", "i1", 5, 1)]
    write("made", rows)
    keys = {"val_interval": {"rating": "[3,inf)"}, "user_inter_num_interval": "[2,inf)", "rm_dup_inter": "first"}
    with caplog.at_level(logging.INFO):
        experiment = prepared("EASE", "made", **keys)
    distinct = {row[:2]: row[2] for row in sorted(rows, key=lambda row: -row[3])}
    good = {pair for pair, rating in distinct.items() if rating >= 3}
    users = [user for user, _ in good]
    left = [pair for pair in good if users.count(pair[0]) > 1]
    parts = (experiment.train_data._dataset, experiment.valid_data.dataset, experiment.test_data.dataset)
    assert sum(map(len, parts)) == len(left)
    lines = [record.getMessage() for record in caplog.records]
    assert f"made/made.inter: {len(rows) + 1} lines are a header and {len(rows)} interactions." in lines
    assert (
        f"rm_dup_inter='first' leaves out {len(rows) - len(distinct)} of {len(rows)} interactions: {len(distinct)} are left."
        in lines
    )
    assert (
        f"val_interval={{'rating': '[3,inf)'}} leaves out {len(distinct) - len(good)} of {len(distinct)} interactions: "
        f"{len(good)} are left." in lines
    )
    assert (
        f"user_inter_num_interval='[2,inf)' leaves out {len(good) - len(left)} of {len(good)} interactions: "
        f"{len(left)} are left." in lines
    )
    train, valid, test = map(len, parts)
    assert f"The split has {train} interactions for training, {valid} for validation and {test} for the test." in lines


def test_repeated_interactions_are_told(caplog: pytest.LogCaptureFixture) -> None:
    write("made", [*clicks(), *clicks()[:7]])
    with caplog.at_level(logging.INFO):
        prepared("MultVAE", "made")
    assert "7 of 127 interactions repeat a user and an item: rm_dup_inter=first keeps one." in caplog.text


def test_items_that_are_not_in_their_file_are_told(caplog: pytest.LogCaptureFixture) -> None:
    write("made", clicks())
    rows = [*(f"i{n}\t{1990 + n}\n" for n in range(10)), "i3\t1\n"]
    Path("made/made.item").write_text("item_id:token\tyear:float\n" + "".join(rows))
    with caplog.at_level(logging.INFO):
        prepared("EASE", "made", load_col={"inter": ["user_id", "item_id"], "item": "*"})
    assert "1 row of made/made.item is left out: an earlier one has its item_id." in caplog.text
    lost = sum(row[1] in ("i10", "i11") for row in clicks())
    assert f"filter_inter_by_user_or_item=True leaves out {lost} of 120 interactions: {120 - lost} are left." in caplog.text
