"""The runs of a leaderboard, with their progress. Finished runs are read from their files."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from recbole_multvae.errors import TrainingInterrupted
from recbole_multvae.leaderboard.jobs import Jobs
from recbole_multvae.leaderboard.run_inputs import Measure, Run, RunInputs, failed, read_finished


class Runner:
    """Performs runs, some of them side by side, and prints the progress. A run's process ends when this process does.

    Args:
        planned: the number of runs of each row.
        jobs: where runs take place, and how many at a time.
    """

    def __init__(self, planned: Mapping[str, int], jobs: Jobs) -> None:
        self.left, self.jobs = Counter(planned), jobs
        self.total, self.begun = self.left.total(), 0
        self.started = time.time()
        self.seconds: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def run(self, inputs: RunInputs, measure: Measure, title: str) -> Run:
        """The result of a run, read from its file if the run finished before. A failed run is a result too.

        Args:
            inputs: those of the run.
            measure: a function at the top level of a module.
            title: the run's name in the progress.
        """
        if (run := read_finished(inputs)) is not None:
            return self._over(f"{self._number()} {title}", "finished before", inputs, run)
        with self.jobs.place(inputs.row):
            title = f"{self._number()} {title}"
            _log(f"{title}: running; {_duration(time.time() - self.started)} elapsed{self._remaining()}")
            run = self.jobs.run(inputs, measure)
            return self._over(title, None if self.jobs.number == 1 else "finished", inputs, run)

    def fail(self, inputs: RunInputs, error: str, title: str) -> Run:
        """The result of a run that cannot begin."""
        return self._over(f"{self._number()} {title}", None, inputs, failed(inputs, error, 0.0))

    def skip(self, inputs: RunInputs) -> Run:
        """The result of a run that nobody needs any more."""
        with self._lock:
            self.begun += 1
            self.left[inputs.row] -= 1
        return {"row": inputs.row, "seed": inputs.seed, "status": "skipped"}

    def side_by_side(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call a function that performs runs with the arguments of each task, as many at a time as there are jobs.

        Raises:
            TrainingInterrupted: Ctrl-C; it is a ``KeyboardInterrupt``.
        """
        with ThreadPoolExecutor(self.jobs.number) as pool:
            futures = [pool.submit(function, *task) for task in tasks]
            try:
                return [future.result() for future in futures]
            except BaseException as error:
                pool.shutdown(wait=False, cancel_futures=True)
                self.jobs.stop()
                if not isinstance(error, KeyboardInterrupt):
                    raise
                over = f"{self.total - self.left.total()} of {self.total} runs are over"
                raise TrainingInterrupted(f"Interrupted: {over}; the same command goes on from there.") from None

    def _number(self) -> str:
        with self._lock:
            self.begun += 1
            return f"[{self.begun} of {self.total}]"

    def _over(self, title: str, what: str | None, inputs: RunInputs, run: Run) -> Run:
        self.jobs.learn(run)
        with self._lock:
            self.seconds.setdefault(inputs.row, []).append(run["seconds_in_all"])
            self.left[inputs.row] -= 1
        what = what if run["status"] == "finished" else f"FAILED: {run['error']}"
        if what:
            _log(f"{title}: {what}")
        return run

    def _remaining(self) -> str:
        """An estimate of the time left: runs take as long as those of the same row, or as all on average."""
        with self._lock:
            if not self.seconds:
                return ""
            means = {row: sum(seconds) / len(seconds) for row, seconds in self.seconds.items()}
            average = sum(means.values()) / len(means)
            seconds = sum(means.get(row, average) * runs for row, runs in self.left.items())
        return f", about {_duration(seconds / self.jobs.number)} to go"


def _log(line: str) -> None:
    print(f"{line}\n", end="", flush=True)  # One piece, whichever thread writes besides.


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
