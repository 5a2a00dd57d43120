"""Every case of golden.json, and the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recommend import load_model, recommend

CLIENTS = Path(__file__).parent.parent
GOLDEN = json.loads((CLIENTS / "golden.json").read_text(encoding="utf-8"))
MODEL = str(CLIENTS / GOLDEN["model"])
OPTIONS, IDS = (str(CLIENTS / GOLDEN[part]["model"]) for part in ("options", "ids"))
PARTS = (GOLDEN, GOLDEN["options"], GOLDEN["ids"])
CASES = [(str(CLIENTS / part["model"]), case) for part in PARTS for case in part["cases"]]


@pytest.mark.parametrize(("model", "case"), CASES, ids=[f"{Path(model).stem}: {case['name']}" for model, case in CASES])
def test_golden(model: str, case: dict[str, Any]) -> None:
    given = {name: case[name] for name in ("exclude", "among") if name in case}
    if "noise" in case:
        given["noise"] = np.array(case["noise"], float)  # None becomes NaN.
    items, scores, reasons = recommend(load_model(model), case["history"], case["k"], **given)
    assert items.tolist() == case["items"]
    expected = [[-np.inf if score is None else score for score in row] for row in case["scores"]]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=GOLDEN["tolerance"])
    assert (reasons is not None) == ("reasons" in case)
    if reasons is not None:
        np.testing.assert_allclose(reasons, case["reasons"], rtol=0, atol=GOLDEN["tolerance"])


def test_histories_are_padded() -> None:
    items, *_ = recommend(load_model(MODEL), [["42"], ["7", "a b", "007"], []], 3)
    assert items[:, 0].tolist() == ["café", "café", "café"]
    assert [len(part) for part in recommend(load_model(OPTIONS), [], 3)] == [0, 0, 0]


def test_threads_share_a_session() -> None:
    session = load_model(OPTIONS)
    cases = [case for case in GOLDEN["options"]["cases"] if "noise" not in case]

    def items(case: dict[str, Any]) -> list[list[str]]:
        given = {name: case[name] for name in ("exclude", "among") if name in case}
        return recommend(session, case["history"], case["k"], **given).items.tolist()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(items, cases * 100)) == [case["items"] for case in cases] * 100


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).with_name("recommend.py")
    return subprocess.run([sys.executable, "-X", "utf8", script, *arguments], capture_output=True, encoding="utf-8")


def test_command_line() -> None:
    assert run(MODEL, "42", "-k", "2").stdout == "café\t1.8704\n007\t1.3451\n"


def test_command_line_with_options(tmp_path: Path) -> None:
    (tmp_path / "items.txt").write_text("007\n7\nx,y\n")
    assert run(OPTIONS, "42", "-k", "2").stdout == "café\t1.8704\tbecause of 42\n007\t1.3451\n"
    assert run(OPTIONS, "42", "--exclude", "café,7").stdout.startswith("007\t1.3451\n")
    lines = run(OPTIONS, "42", "--among", str(tmp_path / "items.txt")).stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["007", "7", "x,y"]
    assert run(IDS, "2", "-k", "2").stdout == "3\t1.8704\tbecause of 2\n6\t1.3451\n"
    assert run(IDS, "2", "--exclude", "3", "--among", "3,1").stdout.split("\t")[0] == "1"
    assert re.fullmatch("runs on (CUDA|CPU)ExecutionProvider", run(MODEL, "42", "--gpu").stderr.splitlines()[-1])


def test_command_line_errors(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a model")
    version = b"contract_version\x12\x01"
    (tmp_path / "new.onnx").write_bytes(Path(MODEL).read_bytes().replace(version + b"1", version + b"3"))
    for arguments, message in [
        (["missing.onnx", "42"], "missing.onnx is missing"),
        ([str(tmp_path / "text.onnx")], "text.onnx is no ONNX model"),
        ([MODEL, "-k", "0"], "-k is 0"),
        ([MODEL, "42", "--among", "7"], "the model has no input among: export it with --filters."),
        ([OPTIONS, "42", "--among", "nobody"], "Nothing to recommend"),
        ([IDS, "café"], "'café' is no item id: the model takes RecBole's item ids."),
        ([str(tmp_path / "new.onnx")], "has the contract version 3, this client knows 1 and 2: update it."),
    ]:
        failed = run(*arguments)
        assert failed.returncode == 1
        assert message in failed.stderr and failed.stderr.count("\n") == 1
