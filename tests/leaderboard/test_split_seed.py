"""A report has one split for all seeds, unless each is to have its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from recbole_multvae.commands.train import main
from recbole_multvae.experiment.run import run
from recbole_multvae.leaderboard.rows import read_rows
from tests.conftest import QUIET

FLAGS = ("--dataset=blocks", "--data_path=.", "--use_gpu=False", "--state=ERROR", "--topk=[5]",
         "--valid_metric=NDCG@5")  # fmt: skip


def report(monkeypatch: pytest.MonkeyPatch, model: str, *flags: str) -> dict[str, Any]:
    arguments = (f"--model={model}", *FLAGS, "--seeds=2", "--report_dir=there", *flags)
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", *arguments])
    assert main(arguments) == 0
    return json.loads(Path("there/report.json").read_text())


def test_all_seeds_have_one_split(blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = report(monkeypatch, "EASE")
    assert len(set(one["splits"].values())) == 1 and one["protocol"]["split_seed"] == 2020
    assert "all on one split" in Path("there/report.html").read_text()
    rows = {row["name"]: row["metrics"]["ndcg@5"]["values"] for row in one["rows"]}
    keys = {**QUIET, "data_path": ".", "topk": [5], "valid_metric": "NDCG@5", "epochs": 1}
    alone = run("EASE", "blocks", config_dict={**keys, "seed": 2021, "split_seed": 2020}, command_line={})
    assert rows["EASE"] == [alone["test_result"]["ndcg@5"]] * 2  # A closed form has no seed but that of the split.


def test_the_members_of_a_sum_have_the_same(blocks: str) -> None:
    (row,) = read_rows("EASE+Pop", [], "blocks", {"data_path": ".", "seed": "7"})
    assert [each.config["split_seed"] for each in (row.on_one_split(), *row.on_one_split().members)] == [7, 7, 7]


def test_each_seed_may_have_its_own(blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    each = report(monkeypatch, "EASE", "--split_seed=None")
    assert len(set(each["splits"].values())) == 2 and "split_seed" not in each["protocol"]
    assert "each with a split of its own" in Path("there/report.html").read_text()
