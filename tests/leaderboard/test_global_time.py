"""A report on one split at two times, with a sequential model beside the others."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recbole_multvae.commands.train import main
from recbole_multvae.evaluation.activity import groups_of
from tests.data.made import comings, write

KEYS = ("--dataset=made", "--data_path=.", "--use_gpu=False", "--state=ERROR", "--epochs=1", "--hidden_size=8", "--topk=[3]",
        "--valid_metric=NDCG@3", "--report_dir=there")  # fmt: skip


def test_a_refitted_row_has_the_items_of_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = comings()
    write("made", rows, ("user_id:token", "item_id:token", "timestamp:float"))
    flags = ["--model=EASE,Pop", *KEYS[:5], *KEYS[6:], "--refit", "--eval_args={'split': {'GT': {'users': 'all'}}}"]
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", *flags])
    assert main(flags) == 0
    times = np.sort([time for *_, time in rows])
    catalogue = {item for _, item, time in rows if time < times[int(0.9 * len(rows))]}
    test = [item for _, item, time in rows if time >= times[int(0.9 * len(rows))]]
    data = json.loads(Path("there/report.json").read_text())["dataset"]
    assert data["items"] == len(catalogue) and data["test"] == sum(item in catalogue for item in test)
    assert data["test_left_out_items"] == len(set(test) - catalogue)


def test_sequential_models_stand_beside_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = comings()
    write("made", rows, ("user_id:token", "item_id:token", "timestamp:float"))
    flags = ["--model=GRU4Rec,EASE,BPR", *KEYS, "--eval_args={'split': {'GT': {'users': 'all'}}}"]
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", *flags])
    assert main(flags) == 0
    report = json.loads(Path("there/report.json").read_text())
    assert [row["status"] for row in report["rows"]] == ["finished"] * 3
    times = np.sort([time for *_, time in rows])
    cuts = [times[int(share * len(rows))] for share in (0.8, 0.9)]
    parts = [np.searchsorted(cuts, time, side="right") for *_, time in rows]
    catalogue = {item for (_, item, _), part in zip(rows, parts, strict=True) if part == 0}
    for number, name in enumerate(("train", "valid", "test")):
        clicks = [item for (_, item, _), part in zip(rows, parts, strict=True) if part == number]
        new = [item for item in clicks if item not in catalogue]
        assert report["dataset"][name] == len(clicks) - len(new)
        if name != "train":
            counts = [report["dataset"][f"{name}_left_out_{kind}"] for kind in ("items", "interactions")]
            assert counts == [len(set(new)), len(new)]
    assert_groups_by_age(report["rows"], rows, cuts[0])


def assert_groups_by_age(report: list[dict[str, Any]], rows: list[tuple[str, str, float]], valid_from: float) -> None:
    """Each row has the same four groups, which hold the items of training by the time of their first click."""
    first: dict[str, float] = {}
    for _, item, time in sorted(rows, key=lambda row: row[2]):
        if time < valid_from:
            first.setdefault(item, time)
    group = groups_of(np.array(list(first.values())), 4)
    expected = [sorted(time for time, of in zip(first.values(), group, strict=True) if of == n) for n in np.unique(group)]
    assert len(expected) > 1

    def name(*times: float) -> str:
        return " to ".join(dict.fromkeys(datetime.fromtimestamp(time, timezone.utc).date().isoformat() for time in times))

    for row in report:
        assert [age["items"] for age in row["age"]] == [name(times[0], times[-1]) for times in expected]
        assert sum(age["users"] for age in row["age"]) > 0
