"""Several runs at a time: the same report, places by memory, and an interruption."""

from __future__ import annotations

import json
import sys
import threading
import time
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from recbole_multvae.commands.train import main
from recbole_multvae.leaderboard import local_jobs
from recbole_multvae.leaderboard.local_jobs import LocalJobs
from tests.leaderboard.test_command import ENDLESS, are_gone, interrupt, once_trained

FLAGS = ("--dataset=blocks", "--data_path=.", "--use_gpu=False", "--state=ERROR", "--epochs=2", "--valid_metric=NDCG@10",
         "--topk=[10]")  # fmt: skip


def report(monkeypatch: pytest.MonkeyPatch, folder: str, *flags: str) -> dict[str, Any]:
    arguments = (*FLAGS, f"--report_dir={folder}", *flags)
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", *arguments])
    assert main(arguments) == 0
    return json.loads(Path(folder, "report.json").read_text())


def without_times(value: Any) -> Any:
    """The same without what differs from one machine, or from one folder, to the next."""
    left_out = ("created", "command", "seconds", "memory", "checkpoint")
    if isinstance(value, dict):
        kept = {key: entry for key, entry in value.items() if not any(name in key for name in left_out)}
        return {key: without_times(entry) for key, entry in kept.items()}
    return [without_times(entry) for entry in value] if isinstance(value, list) else value


def test_the_report_is_the_same(blocks: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    flags = ("--model=MultVAE,EASE,Pop+EASE", "--seeds=2", "--tune=2")
    one, two = report(monkeypatch, "one", *flags), report(monkeypatch, "two", *flags, "--jobs=2")
    assert without_times(one) == without_times(two)
    rows = {row["name"]: row for row in two["rows"]}
    files = [file for row in rows.values() for file in row["checkpoints"]]
    assert len(set(files)) == len(files) == 6 and all(Path(file).is_file() for file in files)
    out = capfd.readouterr().out.partition("report will be in two")[2]
    lines = [line for line in out.splitlines() if line.startswith("[")]
    at_a_time = list(accumulate(1 if ": running" in line else -1 for line in lines))
    assert max(at_a_time) == 2 and at_a_time[-1] == 0
    assert [line.partition(" of ")[0] for line in lines if ": running" in line] == [f"[{n}" for n in range(1, 13)]


def test_members_of_one_sum_are_trained_side_by_side(blocks: str, capfd: pytest.CaptureFixture[str]) -> None:
    flags = ("--model=MultVAE+MultDAE", *FLAGS, "--jobs=2", "--show_progress=False")
    assert main(flags) == 0
    out = capfd.readouterr().out
    assert out.index("[2 of 2]") < out.index("finished")
    assert main(flags) == 0
    assert capfd.readouterr().out.count("finished before") == 2


def test_auto_waits_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_jobs, "available_memory", lambda: 1000 * 2**20)
    monkeypatch.setattr(local_jobs.joblib, "cpu_count", lambda: 4)
    for name in local_jobs.THREADS:
        monkeypatch.setenv(name, "1")
    jobs, order = LocalJobs(None), []
    assert jobs.number == 4

    def hold(row: str) -> threading.Thread:
        def wait() -> None:
            with jobs.place(row):
                order.append(row)
                release[row].wait()

        release[row] = threading.Event()
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.2)
        return thread

    release: dict[str, threading.Event] = {}
    threads = [hold("first"), hold("second")]
    assert order == ["first"]  # Nobody knows yet what a run takes.
    for row, peak in (("first", 300), ("second", 600)):
        jobs.learn({"row": row, "memory": peak})
    release["first"].set()
    threads[0].join()
    time.sleep(0.2)
    assert order == ["first", "second"]
    threads += [hold("third")]  # As large as the largest, 600: with the second's 600 it does not fit.
    assert order == ["first", "second"]
    release["second"].set()
    time.sleep(0.2)
    assert order == ["first", "second", "third"]
    release["third"].set()
    for thread in threads:
        thread.join()


def test_an_interruption_ends_all_processes(blocks: str, capfd: pytest.CaptureFixture[str]) -> None:
    with once_trained(2, interrupt) as models:
        assert main(["--model=BPR,LightGCN", *ENDLESS, "--jobs=2"]) == 130
    assert "Interrupted: 0 of 2 runs are over; the same command goes on from there." in capfd.readouterr().err
    assert len(models) == 2 and are_gone(models) and not list(Path("board/runs").glob("*.json"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--model=EASE,Pop", "--jobs=0"],
            "--jobs=0 is not allowed: expected a number of runs at a time",
        ),
        (["--model=EASE,Pop", "--jobs=many"], "--jobs=many is not allowed"),
        (["--model=EASE", "--jobs=2"], "--jobs=2 is for several models or seeds, and this is one run: leave it out"),
        (["--model=EASE+Pop", "--jobs=-1"], "--jobs=-1 is not allowed"),
    ],
)
def test_mistakes(blocks: str, capfd: pytest.CaptureFixture[str], flags: list[str], message: str) -> None:
    assert main((*FLAGS, *flags)) == 1
    assert message in capfd.readouterr().err
