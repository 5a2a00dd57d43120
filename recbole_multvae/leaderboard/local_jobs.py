"""Runs in processes of their own on this machine, some of them at a time: ``--jobs``."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import joblib

from recbole_multvae.errors import MultVAEError
from recbole_multvae.experiment.fork_server import prepared
from recbole_multvae.files import atomic_write
from recbole_multvae.hardware import available_memory
from recbole_multvae.leaderboard.json_file import write_json
from recbole_multvae.leaderboard.run_inputs import Measure, Run, RunInputs, failed

#: The environment variables that set the threads of the libraries of a process.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class LocalJobs:
    """Processes for runs, of which there may be several at a time. Each has its share of the processor's cores.

    Args:
        number: how many at a time; None: as many as there are cores, but a run begins only if the memory that was free at
            first is enough for all that run, each with the most that its row, or else any row, took before.
    """

    def __init__(self, number: int | None = 1) -> None:
        self._memory = available_memory() if number is None else None
        self.number = number or joblib.cpu_count()
        self._changed = threading.Condition()
        self._rows: list[str] = []
        self._processes: set[Any] = set()
        self._stopped = False
        #: The most memory that a run of each row took, bytes.
        self._peaks: dict[str, float] = {}
        if self.number > 1:  # The fork server, and with it all runs, begin with this environment.
            for name in THREADS:
                os.environ.setdefault(name, str(max(1, joblib.cpu_count() // self.number)))

    @contextmanager
    def place(self, row: str) -> Iterator[None]:
        """The time in which a run of a row takes place; before it begins, this waits for others to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._fits(row))
            self._rows.append(row)
        try:
            yield
        finally:
            with self._changed:
                self._rows.remove(row)
                self._changed.notify_all()

    def _fits(self, row: str) -> bool:
        if len(self._rows) >= self.number:  # The trials of searches come from more threads than that.
            return False
        if self._memory is None or not self._rows:
            return True
        most = max(self._peaks.values(), default=self._memory)  # The first run is alone.
        return sum(self._peaks.get(name, most) for name in (*self._rows, row)) <= self._memory

    def learn(self, run: Run) -> None:
        """Remember how much memory a run took."""
        with self._changed:
            if "memory" in run:
                self._peaks[run["row"]] = max(run["memory"] * 2**20, self._peaks.get(run["row"], 0))

    def run(self, inputs: RunInputs, measure: Measure) -> Run:
        """Perform a run in a process of its own; its output goes to a log file beside the result."""
        file, log = Path(inputs.result), Path(inputs.result).with_suffix(".log")
        file.unlink(missing_ok=True)
        started = time.time()
        with self._changed:
            if self._stopped:
                return failed(inputs, "interrupted before it began", 0.0)
            process = prepared(measure.__module__).Process(target=_run_in_process, args=(inputs, measure, log))
            process.start()
            self._processes.add(process)
        while process.exitcode is None:
            process.join(1)  # Ray interrupts a task only between two calls.
        with self._changed:
            self._processes.discard(process)
        if file.is_file():
            return json.loads(file.read_text("utf-8"))
        return failed(inputs, _exit_reason(process.exitcode, log), time.time() - started)

    def stop(self) -> None:
        """End all processes; no run begins any more."""
        with self._changed:
            self._stopped = True
            for process in self._processes:
                process.kill()
            self._changed.notify_all()


def _exit_reason(code: int | None, log: Path) -> str:
    if code and code < 0:
        return f"its process ended with {signal.Signals(-code).name}: was there enough memory? See {log}"
    return f"its process ended with exit code {code}: see {log}"


def _run_in_process(inputs: RunInputs, measure: Measure, log: Path) -> None:
    started = time.time()
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    sys.argv = ["leaderboard", inputs.row]  # RecBole would read the command line from here.
    with open(log, "wb", buffering=0) as output:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), stream.fileno())
    try:
        result = {"status": "finished", **measure(inputs)}
    except MultVAEError as error:
        result = {"status": "failed", "error": str(error)}
        print(f"error: {error}", file=sys.stderr)
    except Exception as error:
        traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        result = {"status": "failed", "error": f"{reason} ({Path(where.filename).name}, line {where.lineno})"}
    with atomic_write(inputs.result) as part:
        write_json(part, {**asdict(inputs), **result, "seconds_in_all": time.time() - started})


def _exit_with_parent() -> None:
    """End this process when the leaderboard's process ends, even if that is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
