"""A report has one split for all seeds, unless each is to have its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recbole_multvae.commands.train import main
from recbole_multvae.experiment.run import run
from recbole_multvae.leaderboard.rows import on_splits, read_rows
from tests.conftest import QUIET

FLAGS = ("--data_path=.", "--use_gpu=False", "--state=ERROR", "--topk=[5]",
         "--valid_metric=NDCG@5")  # fmt: skip


def report(monkeypatch: pytest.MonkeyPatch, model: str, *flags: str, dataset: str = "blocks") -> dict[str, Any]:
    own = (f"--model={model}", f"--dataset={dataset}", "--seeds=2", "--report_dir=there")
    arguments = (*own, *FLAGS, *flags)
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
    there = on_splits({row.name: row}, 1)[0][row.name]
    assert [each.config["split_seed"] for each in (there, *there.members)] == [7, 7, 7]


def test_each_seed_may_have_its_own(blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    each = report(monkeypatch, "EASE", "--split_seed=None")
    assert len(set(each["splits"].values())) == 2 and "split_seed" not in each["protocol"]
    assert "each with a split of its own" in Path("there/report.html").read_text()


def test_both_deviations(uneven: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seeds of each split, and the splits: MultVAE is trained with both, and EASE has no seed but that of the split."""
    flags = ["--splits=2", "--epochs=1", "--latent_dimension=4", "--per_user=users.csv"]
    both = report(monkeypatch, "EASE,MultVAE,EASE+MultVAE", *flags, dataset="uneven")
    assert both["split_seeds"] == [2020, 2021] and len(set(both["splits"].values())) == 2
    table = pd.read_csv("users.csv").groupby(["model", "split_seed", "seed"])["ndcg@5"].mean()
    for row in both["rows"]:
        values = table[row["name"]].unstack()
        assert values.shape == (2, 2)
        spread = row["metrics"]["ndcg@5"]
        assert spread["mean"] == pytest.approx(values.to_numpy().mean(), abs=1e-4)
        assert spread["sd"] == pytest.approx(np.sqrt(values.var(axis=1).mean()), abs=1e-4)
        assert spread["sd_splits"] == pytest.approx(values.mean(axis=1).std(), abs=1e-4)
        assert (spread["sd"] == 0) is (row["name"] == "EASE") and spread["sd_splits"] > 0
    page = Path("there/report.html").read_text()
    assert "over seeds 2020, 2021\n± standard deviation over the splits of split_seed 2020, 2021 (splits)." in page
    assert "ndcg@5_sd_splits" in Path("there/report.csv").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--splits=0"], "--splits=0 is not allowed: expected a number of seeds such as 3"),
        (["--splits=2021"], "--splits=2021 would be 2,021 seeds, counted from seed on"),
        (
            ["--splits=2", "--split_seed=None"],
            "--splits=2 asks for several splits, and split_seed=None draws one for each seed",
        ),
        (
            ["--splits=2", "--eval_args={'split': {'GT': {}}}"],
            "--splits=2 asks for several splits, and this split is the same",
        ),
    ],
)
def test_mistakes(blocks: str, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model=EASE", "--dataset=blocks", *FLAGS, *flags]) != 0
    assert capsys.readouterr().err.startswith(f"error: {message}")
