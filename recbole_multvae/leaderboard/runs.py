"""The runs of a leaderboard: started one after the other, kept in a folder, and taken from there when they are known."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import recbole

import recbole_multvae
from recbole_multvae.data.digests import short_digest
from recbole_multvae.errors import MultVAEError, TrainingInterrupted
from recbole_multvae.files import atomic_write
from recbole_multvae.leaderboard.json_file import write_json
from recbole_multvae.leaderboard.task import Task

Run = dict[str, Any]
Measure = Callable[[Task], dict[str, Any]]
#: A server that has imported what all runs need, and from which their processes are forked; elsewhere each imports it.
_CONTEXT: Any = multiprocessing.get_context(
    "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
)


def fingerprint(task: Task, files: list[Any], data: Mapping[str, Any]) -> str:
    """A digest of all that a run depends on: what is configured, the data set's files, and the versions.

    Args:
        task: the run; its name and where it is written do not count.
        files: what its configuration files say.
        data: a digest of each file of the data set, by name.
    """
    said = asdict(replace(task, result="", entry="")) | {"files": files}
    versions = [recbole.__version__, recbole_multvae.__version__]
    return short_digest([said, data, versions])


def known(task: Task) -> Run | None:
    """The result of a run that finished before; None where there is none."""
    file = Path(task.result)
    if not file.is_file():
        return None
    run = json.loads(file.read_text("utf-8"))
    lacks_users = "metrics" in run and not file.with_suffix(".npz").is_file()
    return run if run["status"] == "finished" and not lacks_users else None


class Runner:
    """Runs tasks one after the other, each in a process of its own, which ends when this one does.

    Args:
        planned: how many runs each row will have.
        say: called with a line about the progress.
    """

    def __init__(self, planned: Mapping[str, int], say: Callable[[str], None]) -> None:
        self.left = Counter(planned)
        self.total = self.left.total()
        self.say = say
        self.started = time.time()
        self.taken: dict[str, list[float]] = {}

    def run(self, task: Task, measure: Measure, title: str) -> Run:
        """The result of a run, taken from its file if it finished before. One that fails is a result too.

        Args:
            task: the run.
            measure: a function of a module, which runs a task.
            title: what the progress calls it.

        Raises:
            TrainingInterrupted: Ctrl-C; it is a ``KeyboardInterrupt``.
        """
        over = self.total - self.left.total()
        title = f"[{over + 1} of {self.total}] {title}"
        run = known(task)
        if run is None:
            self.say(f"{title}: running; {_duration(time.time() - self.started)} elapsed{self._expected()}")
            try:
                run = _run(task, measure)
            except KeyboardInterrupt:
                raise TrainingInterrupted(
                    f"Interrupted: {over} of {self.total} runs are over; the same command goes on from there."
                ) from None
        else:
            self.say(f"{title}: finished before")
        self.taken.setdefault(task.entry, []).append(run["seconds_in_all"])
        if run["status"] != "finished":
            self.say(f"{title}: FAILED: {run['error']}")
        self.left[task.entry] -= 1
        return run

    def _expected(self) -> str:
        """How long the runs that are left may take: as long as those of the same row, or as all on average."""
        if not self.taken:
            return ""
        means = {name: sum(seconds) / len(seconds) for name, seconds in self.taken.items()}
        average = sum(means.values()) / len(means)
        seconds = sum(means.get(name, average) * runs for name, runs in self.left.items())
        return f", about {_duration(seconds)} to go"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def _run(task: Task, measure: Measure) -> Run:
    """Run a task in a process of its own; its output goes into a log beside the result."""
    file, log = Path(task.result), Path(task.result).with_suffix(".log")
    file.unlink(missing_ok=True)
    _CONTEXT.set_forkserver_preload([measure.__module__])
    started = time.time()
    process = _CONTEXT.Process(target=_in_a_process, args=(task, measure, log))
    process.start()
    try:
        process.join()
    finally:
        process.kill()
        process.join()
    if file.is_file():
        return json.loads(file.read_text("utf-8"))
    return {
        **asdict(task),
        "status": "failed",
        "error": _death(process.exitcode, log),
        "seconds_in_all": time.time() - started,
    }


def _death(code: int | None, log: Path) -> str:
    if code and code < 0:
        return f"its process ended with {signal.Signals(-code).name}: was there enough memory? See {log}"
    return f"its process ended with exit code {code}: see {log}"


def _in_a_process(task: Task, measure: Measure, log: Path) -> None:
    started = time.time()
    threading.Thread(target=_end_with_the_leaderboard, daemon=True).start()
    sys.argv = ["leaderboard", task.entry]  # RecBole would read the command line from here.
    with open(log, "wb", buffering=0) as output:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), stream.fileno())
    try:
        result = {"status": "finished", **measure(task)}
    except MultVAEError as error:
        result = {"status": "failed", "error": str(error)}
        print(f"error: {error}", file=sys.stderr)
    except Exception as error:
        traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        result = {"status": "failed", "error": f"{reason} ({Path(where.filename).name}, line {where.lineno})"}
    with atomic_write(task.result) as part:
        write_json(part, {**asdict(task), **result, "seconds_in_all": time.time() - started})


def _end_with_the_leaderboard() -> None:
    """End this process when that of the leaderboard ends, even if it is killed."""
    leaderboard = multiprocessing.parent_process()
    assert leaderboard is not None
    leaderboard.join()
    os._exit(1)
