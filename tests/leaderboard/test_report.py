"""The report of invented runs, in every form."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recbole.config import Config

from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.leaderboard.drawing import apart
from recbole_multvae.leaderboard.forms import as_html, write_all
from recbole_multvae.leaderboard.report import make_report
from recbole_multvae.leaderboard.table import text_table
from tests.clients.languages import FOLDER
from tests.clients.test_clients import install, require

SEEDS = (1, 2)
COMMAND = "python run_recbole.py --model=... '--eval_args={'\"'\"'mode'\"'\"': 1}'"
#: The metric of every user of each row, under both seeds.
LEVELS = {"Best_&_first": 0.5, "Like": 0.5, "Worse": 0.2}
OTHERS = {f"{name}@{k}": 0.25 for name in ("recall", "mrr", "ndcg", "hit", "precision") for k in (1, 5)}


def run_of(name: str, seed: int, **more: Any) -> dict[str, Any]:
    values = np.clip(LEVELS[name] + np.random.default_rng(seed + len(name)).normal(0, 0.2, 400), 0, 1)
    values[0] += 0.4 * (name == "Best_&_first")
    result = Path(f"{name}-{seed}.json")
    np.savez(result.with_suffix(".npz"), **{"users": np.arange(1, 401), "ndcg@5": values})
    group = {"users": 200, "metrics": {"ndcg@5": float(values[:200].mean())}}
    return {
        "row": name, "model": name, "seed": seed, "result": str(result), "status": "finished", "split": f"digest{seed}",
        "metrics": {**OTHERS, "ndcg@5": float(values.mean())}, "valid": {}, "valid_score": 0.1 * seed, "validations": 3,
        "lists": {"itemcoverage@5": 0.5}, "seconds": {"training": 60.0, "validation": 2.0, "test": 1.0},
        "seconds_in_all": 70.0, "memory": 800.0, "gpu_memory": None,
        "parameters": None if name == "Like" else 10**6 + len(name), "weights_bytes": 4 * 10**6 + len(name),
        "checkpoint": f"{name}.pth", "data": {"users": 400},
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
    report = make_report(runs, settings, config_of(), COMMAND, {"BPR": "needs more"}, {})
    report["rows"][0] |= {"export_command": "multvae-export a.pth b.onnx", "exported": {"file": "b.onnx", "bytes": 2600000}}
    return report


def page_of(report: dict[str, Any]) -> str:
    as_html.write(report, Path("page.html"))
    return Path("page.html").read_text("utf-8")


def headings(page: str) -> list[str]:
    return re.findall(r"<th scope=\"col\".*?>(.*?)</th>", page)


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
    bold = [re.findall(r"\\textbf", line) for line in latex.splitlines() if line.endswith(r"\\")]
    assert list(map(len, bold)) == [0, 1, 1, 0] and r"Best\_\&\_first & 0.2500 {" in latex
    width, height = struct.unpack(">II", files["report.png"].read_bytes()[16:24])
    assert width > 1000 and height > 300


def test_a_report_of_failures_alone_says_so_in_every_form() -> None:
    failed = {"row": "Broken", "model": "X", "seed": 1, "status": "failed", "error": "a line has one value"}
    report = make_report([failed], {"Broken": {}}, config_of(), COMMAND, {"BPR": "needs more"}, {})
    for file in write_all(report, Path()):
        assert file.suffix in (".png", ".tex") or "a line has one value" in file.read_text("utf-8"), file
    assert "a line has one value" in text_table(report)


def test_the_page_loads_no_other_file_and_escapes_texts(report: dict[str, Any]) -> None:
    page = page_of(report)
    assert not re.search(r"""(src|href)=["'](?!#)""", page) and "@import" not in page
    assert "&lt;no&gt; way" in page and "Best_&amp;_first" in page
    assert "--eval_args=&#34;{&#39;mode&#39;: 1}&#34;</code>" in page  # Readable, also in a report that shlex has quoted.


def test_the_metric_that_ranks_is_first_and_each_cost_is_drawn(report: dict[str, Any]) -> None:
    page = page_of(report)
    first = ["#", "model", "NDCG@5", "difference to the best", "training s", "evaluation s", "Recall@1", "Recall@5", "MRR@1"]
    assert headings(page)[: len(first)] == first and text_table(report).split()[:3] == first[:3]
    drawn = re.findall(r"<svg role=\"img\" aria-label=\"(.*?)\"", page)
    assert drawn[:2] == ["NDCG@5: each run, mean ± deviation", "NDCG@5: difference to the best, 95 % interval"]
    costs = ["training, seconds", "validations and test, seconds", "weights in the checkpoint, MB"]
    assert drawn[2:] == [f"NDCG@5 against {cost}" for cost in costs] and len(set(re.findall(r"#[0-9a-f]{6}", page))) < 20
    assert "standard deviation over seeds 1, 2, each with a split of its own." in page and "b.onnx: 2.6 MB" in page
    assert "1-4 clicks, 200 users" in headings(page) and "head, 200 users" in headings(page)


def test_what_one_run_does_not_have_is_not_shown() -> None:
    run = run_of("Like", 1)
    run["activity"] = [run["activity"][0] | {"shortest": 40, "longest": 40, "users": 400}]
    page = page_of(make_report([run], {"Like": {}}, config_of(), "Anna's run", {}, {}))
    assert "One run of each model, with seed 1." in page and "There is one group: 40 clicks, 400 users." in page
    for absent in ("deviation", "ifference to the best", "<svg", "Search", "Weights of", "Settings", "Export", "Not fin"):
        assert absent not in page, absent


def test_reports_of_earlier_versions_have_a_page() -> None:
    report = json.loads((Path(__file__).parents[2] / "benchmarks/leaderboards/ml-100k.json").read_text())
    report["rows"] = report["rows"][:2]
    assert headings(page_of(report))[2] == "NDCG@10"


def test_labels_of_points_do_not_overlap() -> None:
    wanted, heights = [1.0, 0.99, 0.98, 0.5, 0.01, 0.0], [0.1, 0.3, 0.1, 0.1, 0.1, 0.1]
    places = apart(wanted, heights)
    for (above, high), (below, low) in pairwise(zip(places, heights, strict=True)):
        assert above - below >= (high + low) / 2 - 1e-9
    assert places[0] == 0.95 and places[3] == pytest.approx(0.45) and places[-1] == 0.05


def test_page_in_a_browser(report: dict[str, Any]) -> None:
    require("web")
    install(FOLDER / "web")
    page_of(report)
    script = Path(__file__).with_name("page.test.mjs")
    variables = {**os.environ, "PAGE": Path("page.html").resolve().as_uri()}
    tested = subprocess.run(["node", "--test", script], env=variables, capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout
