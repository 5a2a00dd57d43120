"""Sums whose members and weights were chosen on validation, refitted on training and validation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recbole.quick_start import load_data_and_model

from recbole_multvae.commands.train import main
from recbole_multvae.experiment.run import run
from tests.conftest import QUICK

FLAGS = ("--dataset=uneven", "--data_path=.", "--use_gpu=False", "--epochs=2", "--valid_metric=NDCG@10", "--refit")


def test_a_sum_is_refitted_with_the_weights_that_were_chosen(uneven: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(("--model=MultVAE+EASE", *FLAGS)) == 0
    assert len(list(Path("saved/members").glob("*-refit.pth"))) == 2
    chosen, refitted = sorted(Path("saved").glob("MultVAE+EASE-*.pth"), key=lambda file: len(file.name))
    assert refitted.name == f"{chosen.stem}-refit.pth"
    _, first, _, train, valid, _ = load_data_and_model(chosen)
    _, second, _, merged, _, _ = load_data_and_model(refitted)
    assert len(merged.dataset) == len(train.dataset) + len(valid.dataset)
    assert second.weights == first.weights and second.training_clicks.clicks.counts.sum() == len(merged.dataset)
    members = {"EASE": str(next(Path("saved/members").glob("EASE-*-refit.pth")))}
    keys = {**QUICK, "members": members | {"EDLAE": members["EASE"]}, "weights": [1.0, 0.0], "refit": True}
    with pytest.raises(Exception, match="is not the one that the checkpoint was trained on"):
        run("Sum", uneven, config_dict=keys, command_line={})  # Its first training is on the training part alone.


def test_a_row_of_a_report_is_refitted(uneven: str) -> None:
    assert main(("--model=EASE,EASE+Pop", *FLAGS)) == 0
    report = json.loads(next(Path("leaderboard").glob("*/report.json")).read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert rows["EASE+Pop"]["refitted"] and rows["EASE+Pop"]["best_checkpoint"].endswith("-refit.pth")
    assert len(set(report["splits"].values())) == 1
