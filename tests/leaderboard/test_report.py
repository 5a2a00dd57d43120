"""The report of invented runs, in every form."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recbole.config import Config

from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.leaderboard.forms import write_all
from recbole_multvae.leaderboard.report import make_report
from recbole_multvae.leaderboard.table import text_table
from tests.clients.languages import FOLDER
from tests.clients.test_clients import install, require

SEEDS = (1, 2)
#: The metric of every user of each row, under both seeds.
LEVELS = {"Best_&_first": 0.5, "Like": 0.5, "Worse": 0.2}


def run_of(name: str, seed: int, **more: Any) -> dict[str, Any]:
    values = np.clip(LEVELS[name] + np.random.default_rng(seed + len(name)).normal(0, 0.2, 400), 0, 1)
    values[0] += 0.4 * (name == "Best_&_first")
    result = Path(f"{name}-{seed}.json")
    np.savez(result.with_suffix(".npz"), **{"users": np.arange(1, 401), "ndcg@5": values})
    group = {"users": 200, "metrics": {"ndcg@5": float(values[:200].mean())}}
    return {
        "row": name, "model": name, "seed": seed, "result": str(result), "status": "finished", "split": f"digest{seed}",
        "metrics": {"ndcg@5": float(values.mean()), "recall@5": 0.25}, "valid": {}, "valid_score": 0.1 * seed,
        "validations": 3, "lists": {"itemcoverage@5": 0.5}, "seconds": {"training": 60.0, "validation": 2.0, "test": 1.0},
        "seconds_in_all": 70.0, "memory": 800.0, "gpu_memory": None, "parameters": 1234567, "checkpoint": f"{name}.pth",
        "data": {"users": 400},
        "activity": [{"shortest": 1, "longest": 4, **group}, {"shortest": 5, "longest": 9, **group}],
        "popularity": [{"items": "head", **group}, {"items": "tail", **group}], **more,
    }  # fmt: skip


def config_of() -> Config:
    keys = {"topk": 5, "metrics": ["NDCG", "Recall"], "valid_metric": "NDCG@5"}
    return make_config("Pop", "made", keys=keys, command_line={})


@pytest.fixture
def report() -> dict[str, Any]:
    runs = [run_of(name, seed) for seed in SEEDS for name in ("Worse", "Like", "Best_&_first")]
    for seed in SEEDS:
        runs.append({"row": "Broken", "model": "X", "seed": seed, "status": "failed", "error": "<no> way"})
    settings = {name: {"epochs": 5} for name in ("Worse", "Like", "Best_&_first", "Broken")}
    return make_report(runs, settings, config_of(), "python run_recbole.py --model=...", {"BPR": "needs more"}, {})


def test_rows_are_ranked_with_ties(report: dict[str, Any]) -> None:
    finished, (broken, unfit) = report["rows"][:3], report["rows"][3:]
    assert [row["name"] for row in finished] == ["Best_&_first", "Like", "Worse"]
    assert (broken["status"], unfit["status"]) == ("failed", "not applicable")
    assert [row.get("rank") for row in report["rows"]] == [1, 1, 3, None, None]
    text = text_table(report)
    assert re.search(r"^ *1= +Like +0\.\d{4} ± 0\.\d{4} ", text, re.MULTILINE)
    assert "Broken: FAILED: seed 1, 2: <no> way\nBPR: NOT APPLICABLE: needs more" in text
    assert report["splits"] == {"1": "digest1", "2": "digest2"}


def test_a_row_of_another_split_fails() -> None:
    runs = [run_of("Like", 1), run_of("Worse", 1, split="another")]
    report = make_report(runs, {"Like": {}, "Worse": {}}, config_of(), "", {}, {})
    assert [row["error"] for row in report["rows"]] == [None, "seed 1: its split differs from that of Like"]


def test_forms(report: dict[str, Any]) -> None:
    files = {file.name: file for file in write_all(report, Path())}
    assert json.loads(files["report.json"].read_text())["rows"] == json.loads(json.dumps(report["rows"]))
    assert files["report.csv"].read_text().count("\n") == 6
    latex = files["report.tex"].read_text()
    assert r"Best\_\&\_first & \textbf{0." in latex and r"Like & \textbf{0." in latex and "Worse & 0." in latex
    width, height = struct.unpack(">II", files["report.png"].read_bytes()[16:24])
    assert width > 1000 and height > 300


def test_the_page_loads_no_other_file_and_escapes_texts(report: dict[str, Any]) -> None:
    page = {file.name: file for file in write_all(report, Path())}["report.html"].read_text()
    assert not re.search(r"""(src|href)=["'](?!#)""", page) and "@import" not in page
    assert "&lt;no&gt; way" in page and "Best_&amp;_first" in page


def test_page_in_a_browser(report: dict[str, Any]) -> None:
    require("web")
    install(FOLDER / "web")
    page = {file.name: file for file in write_all(report, Path())}["report.html"].resolve()
    script = Path(__file__).with_name("page.test.mjs")
    variables = {**os.environ, "PAGE": page.as_uri()}
    tested = subprocess.run(["node", "--test", script], env=variables, capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout
