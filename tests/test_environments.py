"""The table of RecBole's models by environment."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest


def test_models_are_compared_with_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    environments = importlib.import_module("environments")
    monkeypatch.delitem(sys.modules, "environments")
    works, near, fails = {"test": {"auc": 0.5}}, {"test": {"auc": 0.5004}}, {"error": "TypeError: no"}
    table = environments.table(
        {
            "python3.11-numpy1": {"A": works, "B": works, "C": works, "D": fails, "E": fails, "F": works},
            "python3.13-numpy2": {"A": works, "B": near, "C": fails, "D": fails, "E": works},
        }
    )
    assert [row.split(" | ")[1:] for row in table.splitlines()[2:]] == [
        ["works", "works, equal |"],
        ["works", "works, equal to 3 digits |"],
        ["works", "fails here only: TypeError: no |"],
        ["TypeError: no", "fails, too |"],
        ["TypeError: no", "works |"],
        ["works", "not run |"],
    ]
    models = environments.recbole_models("general", "sequential")
    assert {"BPR", "LightGCN", "Random", "SASRec"} <= set(models) and len(models) == len(set(models)) == 64
