"""Every case of golden.json, and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recommend import load_model, recommend

CLIENTS = Path(__file__).parent.parent
GOLDEN = json.loads((CLIENTS / "golden.json").read_text(encoding="utf-8"))
MODEL = str(CLIENTS / GOLDEN["model"])


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_golden(case: dict[str, Any]) -> None:
    items, scores = recommend(load_model(MODEL), case["history"], case["k"])
    assert items.tolist() == case["items"]
    expected = [[-np.inf if score is None else score for score in row] for row in case["scores"]]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=GOLDEN["tolerance"])


def test_histories_are_padded() -> None:
    items, _ = recommend(load_model(MODEL), [["42"], ["7", "a b", "007"], []], 3)
    assert items[:, 0].tolist() == ["café", "café", "café"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).with_name("recommend.py")
    return subprocess.run([sys.executable, "-X", "utf8", script, *arguments], capture_output=True, encoding="utf-8")


def test_command_line() -> None:
    assert run(MODEL, "42", "-k", "2").stdout == "café\t1.8704\n007\t1.3451\n"


def test_command_line_errors(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a model")
    for arguments, message in [
        (["missing.onnx", "42"], "missing.onnx is missing"),
        ([str(tmp_path / "text.onnx")], "text.onnx is no ONNX model"),
        ([MODEL, "-k", "0"], "-k is 0"),
    ]:
        failed = run(*arguments)
        assert failed.returncode == 1
        assert message in failed.stderr and failed.stderr.count("\n") == 1
