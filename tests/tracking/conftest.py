"""A finished report, the environment of trackers that reach nobody, and the file that W&B writes offline."""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx.parser
import pytest

from recbole_multvae import tracking
from recbole_multvae.commands.train import main
from recbole_multvae.leaderboard import board
from tests.conftest import block_pairs, write_inter

FLAGS = ("--dataset=blocks", "--data_path=.", "--use_gpu=False", "--state=ERROR", "--epochs=4", "--eval_step=2",
         "--show_progress=False", "--valid_metric=NDCG@10")  # fmt: skip
REPORT = ("--model=MultVAE", "--seeds=2", *FLAGS)
GRAPH = '<ir_version: 8, opset_import: ["": 17]> g (float[n] x) => (float[n] y) {y = Exp(x)}'
#: What W&B wrote, see the fixture ``offline_runs``.
OfflineRuns = Callable[[], list[dict[str, Any]]]
TRACKER = '''
"""Writes what it is told into a file, and fails at the second validation."""
from pathlib import Path
from recbole_multvae.tracking import base


class Tracker(base.Tracker):
    def __init__(self, dataset):
        self.write("experiment", dataset)

    def begin(self, entry):
        self.write("begin", entry.name)
        return Session()

    def add_onnx(self, entry, file):
        self.write("onnx", file)

    @staticmethod
    def write(*what):
        with open("told", "a") as file:
            print(*what, file=file)


class Session(base.Session):
    def log_curve(self, curve):
        Tracker.write("curve", *(epoch for epoch, _ in curve))
        if "3" in Path("told").read_text():
            raise ConnectionError("nobody  answers\\non this line")

    def end(self, metrics, checkpoint, state):
        Tracker.write("end", state)
'''


@pytest.fixture(autouse=True)
def _reach_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "WANDB_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store.db")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "of-wandb"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


@pytest.fixture(scope="module")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a report that nobody was told of."""
    folder, before = tmp_path_factory.mktemp("finished"), Path.cwd()
    write_inter(folder, "blocks", block_pairs())
    os.chdir(folder)
    try:
        assert main(REPORT) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def finished(_finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The same in the working folder: the report. An export of its row writes a small graph, at once."""
    shutil.copytree(_finished, tmp_path, dirs_exist_ok=True)

    def export(report: dict[str, Any], path: str, _: str) -> dict[str, Any]:
        onnx.save(onnx.parser.parse_model(GRAPH), path)
        return report["rows"][0]

    def write_json(report: dict[str, Any], folder: Path) -> list[Path]:
        (folder / "report.json").write_text(json.dumps(report, default=str))
        return [folder / "report.json"]

    monkeypatch.setattr(board, "write_all", write_json)
    monkeypatch.setattr(board, "add_export_commands", lambda rows, data_path: None)
    monkeypatch.setattr(board, "export_best", export)
    return json.loads(next(tmp_path.glob("leaderboard/*/report.json")).read_text())


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A tracker that is one new file, ``--track=broken``."""
    folder = tmp_path / "trackers"
    folder.mkdir()
    (folder / "to_broken.py").write_text(TRACKER)
    monkeypatch.setattr(tracking, "__path__", [*tracking.__path__, str(folder)])
    yield
    sys.modules.pop("recbole_multvae.tracking.to_broken", None)


@pytest.fixture
def offline_runs(tmp_path: Path) -> Iterator[OfflineRuns]:
    """Read what W&B wrote: for each run its name, group, configuration, history, summary and artifacts."""
    wandb = pytest.importorskip("wandb", reason="W&B is not installed: see [wandb]")
    wandb.teardown()  # It keeps the environment of the first test.

    def read() -> list[dict[str, Any]]:
        wandb.teardown()  # It writes until then.
        return [_run(file) for file in sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))]

    yield read
    wandb.teardown()


def _run(file: Path) -> dict[str, Any]:
    from wandb.proto import wandb_internal_pb2

    run: dict[str, Any] = {"configuration": {}, "history": [], "summary": {}, "artifacts": []}
    for data in _records(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        if record.HasField("run"):
            run |= {"id": record.run.run_id, "project": record.run.project, "name": record.run.display_name}
            run |= {"group": record.run.run_group, "job": record.run.job_type}
            run["configuration"] |= _values(record.run.config.update)
        run["configuration"] |= _values(record.config.update)
        run["summary"] |= _values(record.summary.update)
        run["history"] += [_values(record.history.item)] if record.HasField("history") else []
        run["artifacts"] += [entry.path for entry in record.artifact.manifest.contents]
    return run


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(data: bytes) -> Iterator[bytes]:
    """The records of LevelDB's log format, after the seven bytes of W&B's header."""
    at, record = 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # A whole one, or the last part.
            yield record
            record = b""


def curve(run: dict[str, Any], step: str) -> list[int]:
    """The steps of the validations of a run in W&B."""
    return [line[step] for line in run["history"] if "valid/ndcg@10" in line]
