"""Runs as tasks of a Ray cluster: two nodes on this machine, one of which is killed, and what a user may get wrong."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import psutil
import pytest

from recbole_multvae import checkpoint
from recbole_multvae.commands.train import main
from recbole_multvae.leaderboard import jobs
from recbole_multvae.leaderboard.ray_node import difference
from recbole_multvae.leaderboard.run_inputs import RunInputs
from tests.leaderboard.test_jobs import FLAGS, report, without_times

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
#: With a second node these take a minute of processor time.
slow = pytest.mark.slow
#: A node is lost once it has been silent for a second.
SOON = {"RAY_health_check_initial_delay_ms": "0", "RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "500",
        "RAY_health_check_failure_threshold": "2"}  # fmt: skip
START = [sys.executable, "-W", "ignore", "-c", "from ray.scripts.scripts import main; main()", "start", "--block",
         "--disable-usage-stats", "--object-store-memory=80000000"]  # fmt: skip
#: The address of a second machine, as Ray sees it.
ELSEWHERE = ("--node-ip-address=127.0.0.2",)
PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}


def tree(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """A process and all that it has started."""
    return [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]


@contextmanager
def node(*flags: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A node of a Ray cluster, until the end of the block."""
    with subprocess.Popen([*START, *flags], env={**os.environ, **SOON, **environment}, **PIPES) as process:
        try:
            until(process, "Ray runtime started")
            yield process
        finally:
            kill(process)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster, of which one node with one CPU is there."""
    folders = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)  # Ray's sockets need a short path.
    with folders as folder, pytest.MonkeyPatch.context() as patch:
        flags = ("--head", "--port=0", "--include-dashboard=false", "--num-cpus=1", f"--temp-dir={folder}")
        patch.setenv("TMPDIR", folder)
        with node(*flags) as head:
            yield until(head, "ray start --address=").split("'")[1]


def until(process: subprocess.Popen[str], text: str) -> str:
    """The next line with a text that a process prints."""
    lines = iter(process.stdout.readline, "")
    read: list[str] = []
    for line in lines:
        read.append(line)
        if text in line:
            return line
    raise AssertionError(f"{text!r} is not in {read}")


def kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        for each in tree(process):
            with suppress(psutil.Error):  # It has ended meanwhile.
                each.kill()


def command(address: str, *flags: str, **environment: str) -> subprocess.Popen[str]:
    """The training command with ``--ray``."""
    start = [sys.executable, "-W", "ignore", "-m", "recbole_multvae", *FLAGS, *flags, f"--ray={address}"]
    return subprocess.Popen(start, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, **PIPES)


def at_work(process: subprocess.Popen[str]) -> bool:
    with suppress(psutil.Error):
        return any(part.startswith("ray::perform") for each in tree(process) for part in each.cmdline())
    return False


def kill_at_work(process: subprocess.Popen[str], board: subprocess.Popen[str]) -> None:
    """Kill a node while a run of the board takes place on it."""
    deadline = time.monotonic() + 200
    while not at_work(process):
        assert board.poll() is None, board.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    kill(process)


def check_same(one: str, two: str) -> None:
    """Compare the reports of two folders, the names of their files, and the folders that the checkpoints name."""
    reports = [json.loads(Path(folder, "report.json").read_text()) for folder in (one, two)]
    assert without_times(reports[0]) == without_times(reports[1])
    for file, same in zip(*(sorted(Path(folder).glob("*/*.*")) for folder in (one, two)), strict=True):
        assert re.sub("-[0-9a-f]{8}", "", file.name) == re.sub("-[0-9a-f]{8}", "", same.name)
        if file.suffix == ".pth":
            ours, theirs = (checkpoint.load(str(path))["config"] for path in (file, same))
            assert ours["data_path"] == theirs["data_path"]
            assert theirs["checkpoint_dir"] == f"{two}/checkpoints"
            assert ours["reg_weight"] == theirs["reg_weight"]


@slow
@needs_ray
def test_the_report_is_the_same(cluster: str, blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    Path("EASE.yaml").write_text("reg_weight: 10.0\n")
    flags = ("--model=EASE,Pop+EASE", "--refit", "--config_files=EASE.yaml")
    report(monkeypatch, "one", *flags)
    with command(cluster, *flags, "--report_dir=two") as board:
        out, _ = board.communicate(timeout=200)
    assert board.returncode == 0, out
    check_same("one", "two")


@slow
@needs_ray
def test_a_lost_node_costs_its_runs_only(cluster: str, blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    flags = ("--model=EASE,Pop", "--seeds=2")
    report(monkeypatch, "one", *flags)
    second_node = node(*ELSEWHERE, f"--address={cluster}", "--num-cpus=1")
    with second_node as second, command(cluster, *flags, "--report_dir=two") as board:
        kill_at_work(second, board)
        out, _ = board.communicate(timeout=200)
    assert board.returncode == 0 and "FAILED" not in out, out
    check_same("one", "two")


@slow
@needs_ray
def test_without_a_node_a_run_fails(cluster: str, blocks: str) -> None:
    second_node = node(*ELSEWHERE, f"--address={cluster}", "--num-cpus=2")
    with second_node as second, command(cluster, "--model=EASE,Pop", OMP_NUM_THREADS="2") as board:
        kill_at_work(second, board)
        out, _ = board.communicate(timeout=200)
    assert board.returncode == 1
    assert out.count("FAILED: the Ray cluster could not finish it: no node with 2 CPUs is left") == 2


@slow
@needs_ray
def test_a_node_without_the_package(cluster: str, blocks: str) -> None:
    Path("none").mkdir()
    Path("none/recbole_multvae.py").write_text("raise ModuleNotFoundError('No module named recbole_multvae')")
    with (
        node(*ELSEWHERE, f"--address={cluster}", "--num-cpus=1", PYTHONPATH="none"),
        command(cluster, "--model=EASE,Pop") as board,
    ):
        out, _ = board.communicate(timeout=200)
    assert board.returncode == 1
    assert re.search(
        rf"^error: --ray={cluster}: the node \S+ has no recbole_multvae that can be imported \(No module named "
        r"recbole_multvae\), and this machine 0\.1\.0 with the code [0-9a-f]{8}: install the same on all nodes\.$",
        out, re.MULTILINE,
    )  # fmt: skip
    assert "running" not in out


@needs_ray
@pytest.mark.parametrize("in_a_file", [False, True])
def test_the_checkpoint_of_a_warm_start_goes_with_a_run(monkeypatch: pytest.MonkeyPatch, in_a_file: bool) -> None:
    from recbole_multvae.leaderboard import ray_jobs

    sent: list[Any] = []
    monkeypatch.setattr(ray_jobs, "ray", MagicMock(put=bytes))
    monkeypatch.setattr(ray_jobs, "_connect", lambda _: None)
    monkeypatch.setattr(ray_jobs.RayJobs, "_check_nodes", lambda _: None)
    Path("old.pth").write_bytes(b"weights")
    Path("keys.yaml").write_text("warm_start: old.pth\n")
    keys = {"checkpoint_dir": "kept", **({} if in_a_file else {"warm_start": "old.pth"})}
    inputs = RunInputs("row", "MultVAE", "none", ["keys.yaml"] * in_a_file, {}, keys, 1, "runs/row.json", 3, ".")
    jobs = ray_jobs.RayJobs("auto", None)
    jobs._perform = MagicMock(remote=lambda *task: sent.append(task))
    jobs._send(inputs, dict), jobs._send(inputs, dict)
    (task, *contents), (_, *again) = sent
    assert dict(zip(task.files, contents, strict=True))[task.inputs.keys["warm_start"]] == b"weights"
    assert contents[0] is again[0] and task.recorded["warm_start"] == "old.pth"


@needs_ray
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model=EASE,Pop", "--ray=here"], "--ray=here is not allowed: expected auto, or the address of a cluster"),
        (["--model=EASE,Pop", "--ray=127.0.0.1:9"], "--ray=127.0.0.1:9: no Ray cluster can be reached: "),
        (["--model=EASE+Pop", "--ray=ray://127.0.0.1:9"], "--ray=ray://127.0.0.1:9: no Ray cluster can be reached: "),
        (["--model=EASE", "--ray=auto"], "--ray=auto is for several models or seeds, and this is one run: leave it out"),
    ],
)
def test_mistakes(blocks: str, capfd: pytest.CaptureFixture[str], flags: list[str], message: str) -> None:
    assert main((*FLAGS, *flags)) == 1
    assert message in capfd.readouterr().err


def test_ray_is_missing(blocks: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "find_spec", lambda name: None)
    assert main((*FLAGS, "--model=EASE,Pop", "--ray=auto")) == 1
    assert "--ray=auto needs the package ray, which is not installed" in capfd.readouterr().err


def test_another_version() -> None:
    differs = difference({"recbole": "1.2.1", "torch": "2.0.0"}, {"recbole": "1.2.1", "torch": "2.13.0"})
    assert differs == "has torch 2.0.0, and this machine 2.13.0: install the same on all nodes."
