"""A leaderboard of refitted models: what is reported, what is exported, and what is known again."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from recbole_multvae import checkpoint
from recbole_multvae.commands.train import main
from recbole_multvae.experiment.run import run
from recbole_multvae.leaderboard.forms import write_all
from recbole_multvae.leaderboard.table import text_table

FLAGS = ("--dataset=blocks", "--data_path=.", "--use_gpu=False", "--state=ERROR", "--epochs=3", "--valid_metric=NDCG@10")


@pytest.fixture
def command(capfd: Any, blocks: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, dict[str, Any], Path]]:
    """Run the command: its output, its report, and the folder of the report."""

    def call(*flags: str) -> tuple[str, dict[str, Any], Path]:
        monkeypatch.setattr(sys, "argv", ["run_recbole.py", *flags])
        assert main(flags) == 0
        (folder,) = Path("leaderboard").iterdir()
        return capfd.readouterr().out, json.loads((folder / "report.json").read_text()), folder

    return call


def test_rows_are_of_the_refitted_models(command: Callable[..., Any]) -> None:
    out, report, folder = command("--model=MultVAE,BPR", *FLAGS, "--refit", "--export=best.onnx")
    assert "MultVAE (refitted)" in out and "BPR (refitted)" in out
    keys = dict(flag.removeprefix("--").split("=") for flag in FLAGS[1:])
    for row in report["rows"]:
        alone = run(row["model"], "blocks", command_line={**keys, "refit": "True", "show_progress": "False"})
        assert row["refitted"] is True and row["settings"]["refit"] is True
        assert {name: spread["mean"] for name, spread in row["metrics"].items()} == alone["refit_test_result"]
        assert {name: spread["mean"] for name, spread in row["validation"].items()} == alone["best_valid_result"]
        (file,) = row["checkpoints"]
        assert file == row["best_checkpoint"] and file.endswith("-refit.pth")
        assert checkpoint.load(file)["config"]["refit"] is True
    figures = next(entry.value for entry in onnx.load("best.onnx").metadata_props if entry.key == "leaderboard")
    assert json.loads(figures)["refitted"] is True

    before = {file: file.stat().st_mtime_ns for file in (folder / "runs").glob("*.json")}
    out, *_ = command("--model=MultVAE,BPR", *FLAGS, "--refit")
    assert out.count("finished before") == 2
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_every_form_says_which_rows_are_refitted(command: Callable[..., Any]) -> None:
    Path("again.yaml").write_text("refit: True\n")
    _, report, folder = command("--model=EASE,EASE:again.yaml", *FLAGS)
    assert {row["name"]: row["refitted"] for row in report["rows"]} == {"EASE": False, "EASE:again": True}
    page = (folder / "report.html").read_text()
    assert page.count("EASE:again (refitted)</th>") == 3 and "a new model was trained on training and validation" in page
    assert "(refitted)" in page.split("<svg")[1]  # The drawing, which the PNG is too.
    assert "EASE:again (refitted) & " in (folder / "report.tex").read_text()
    lines = csv.DictReader((folder / "report.csv").read_text().splitlines())
    assert {line["name"]: line["refitted"] for line in lines} == {"EASE": "False", "EASE:again": "True"}
    assert text_table(report).count("(refitted)") == 1 and len(report["splits"]) == 1
    for row in report["rows"]:
        row["refitted"] = False
    files = {file.name: file for file in write_all(report, Path())}
    assert not any("efitted:" in files[name].read_text() for name in ("report.html", "report.tex"))


def test_a_search_is_the_same_with_and_without(command: Callable[..., Any]) -> None:
    Path("EASE.hyper").write_text("reg_weight choice [1.0,10.0]\n")
    search = ("--model=EASE", *FLAGS, "--tune=2", "--params_file=EASE.hyper")
    out, plain, folder = command(*search)
    trials = {file: file.stat().st_mtime_ns for file in (folder / "trials").iterdir()}
    out, refitted, again = command(*search, "--refit")
    assert again == folder and {file: file.stat().st_mtime_ns for file in (folder / "trials").iterdir()} == trials
    assert out.count("trial") > 2 and out.count("finished before") == len(plain["rows"][0]["search"]["trials"])
    assert refitted["rows"][0]["search"] == plain["rows"][0]["search"]
    assert refitted["rows"][0]["refitted"] and refitted["rows"][0]["validation"] == plain["rows"][0]["validation"]


def test_a_mistake_is_found_before_anything_runs(blocks: str, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--model=EASE,BPR", *FLAGS, "--refit", "--eval_args={'split': {'RS': [8, 0, 2]}}"]
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", *flags])
    assert main(flags) == 1
    out, error = capfd.readouterr()
    assert error.startswith("error: refit=True trains for the updates that were best on validation, and eval_args split=")
    assert "running" not in out and error.count("\n") == 1
