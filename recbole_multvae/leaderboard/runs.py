"""The runs of a leaderboard: each in a process of its own, one after the other. Finished runs are read from their files."""

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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import recbole

import recbole_multvae
from recbole_multvae.data.digests import short_digest
from recbole_multvae.errors import ConfigurationError, MultVAEError, TrainingInterrupted
from recbole_multvae.files import atomic_write
from recbole_multvae.leaderboard.json_file import write_json


@dataclass(frozen=True)
class RunInputs:
    """Inputs of one leaderboard run: a row under a seed, or a trial of a search.

    Attributes:
        row: the name of the row.
        model: the name of the model.
        dataset: the name of the data set.
        files: paths of configuration files.
        defaults: configuration keys, unless files or ``keys`` set them.
        keys: configuration keys that win over all others, their values as text.
        seed: RecBole's.
        result: the JSON file of the result; the metrics of each user are in the ``.npz`` file beside it.
        quantiles: the number of groups of users by activity.
    """

    row: str
    model: str
    dataset: str
    files: list[str]
    defaults: dict[str, Any]
    keys: dict[str, str]
    seed: int
    result: str
    quantiles: int


#: Keys of what a run shows, on which its result does not depend.
DISPLAY = ("show_progress", "state")
#: The result of a run: its inputs, ``status`` (finished or failed), ``error``, ``seconds_in_all``, and the measurements.
Run = dict[str, Any]
#: Performs a run and returns its measurements.
Measure = Callable[[RunInputs], dict[str, Any]]
#: The fork server imports once what all runs need. Where there is none, each process imports it.
_CONTEXT: Any = multiprocessing.get_context(
    "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
)


def fingerprint(inputs: RunInputs, files: list[Any], data: Mapping[str, Any]) -> str:
    """A digest of everything that a run depends on: the configuration, the files of the data set, and the versions.

    Args:
        inputs: those of the run; the name of the row, the path of the result and what is shown do not count.
        files: the contents of the configuration files.
        data: a digest of each file of the data set, by name.
    """
    keys = {key: value for key, value in inputs.keys.items() if key not in DISPLAY}
    configuration = asdict(replace(inputs, result="", row="", keys=keys)) | {"files": files}
    versions = [recbole.__version__, recbole_multvae.__version__]
    return short_digest([configuration, data, versions])


def read_finished(inputs: RunInputs) -> Run | None:
    """The result of a run that finished before; None if there is none."""
    file = Path(inputs.result)
    if not file.is_file():
        return None
    run = json.loads(file.read_text("utf-8"))
    lacks_users = "metrics" in run and not file.with_suffix(".npz").is_file()
    return run if run["status"] == "finished" and not lacks_users else None


def make_folder(folder: Path, key: str) -> None:
    """Make the folder of the results.

    Raises:
        ConfigurationError: it cannot be written; ``key`` is the option or the key that names it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--{key}: cannot write the results into {folder}: {error}") from error


class Runner:
    """Performs runs one after the other and prints the progress. A run's process ends when this process does.

    Args:
        planned: the number of runs of each row.
    """

    def __init__(self, planned: Mapping[str, int]) -> None:
        self.left = Counter(planned)
        self.total = self.left.total()
        self.started = time.time()
        self.seconds: dict[str, list[float]] = {}

    def run(self, inputs: RunInputs, measure: Measure, title: str) -> Run:
        """The result of a run, read from its file if the run finished before. A failed run is a result too.

        Args:
            inputs: those of the run.
            measure: a function at the top level of a module.
            title: the run's name in the progress.

        Raises:
            TrainingInterrupted: Ctrl-C; it is a ``KeyboardInterrupt``.
        """
        title, run = self._numbered(title), read_finished(inputs)
        if run is None:
            _log(f"{title}: running; {_duration(time.time() - self.started)} elapsed{self._remaining()}")
            try:
                run = _run(inputs, measure)
            except KeyboardInterrupt:
                raise TrainingInterrupted(
                    f"Interrupted: {self._done} of {self.total} runs are over; the same command goes on from there."
                ) from None
        else:
            _log(f"{title}: finished before")
        return self._over(title, inputs, run)

    def fail(self, inputs: RunInputs, error: str, title: str) -> Run:
        """The result of a run that cannot begin."""
        return self._over(self._numbered(title), inputs, _failed(inputs, error, 0.0))

    @property
    def _done(self) -> int:
        return self.total - self.left.total()

    def _numbered(self, title: str) -> str:
        return f"[{self._done + 1} of {self.total}] {title}"

    def _over(self, title: str, inputs: RunInputs, run: Run) -> Run:
        self.seconds.setdefault(inputs.row, []).append(run["seconds_in_all"])
        if run["status"] != "finished":
            _log(f"{title}: FAILED: {run['error']}")
        self.left[inputs.row] -= 1
        return run

    def _remaining(self) -> str:
        """An estimate of the time left: runs take as long as those of the same row, or as all on average."""
        if not self.seconds:
            return ""
        means = {row: sum(seconds) / len(seconds) for row, seconds in self.seconds.items()}
        average = sum(means.values()) / len(means)
        seconds = sum(means.get(row, average) * runs for row, runs in self.left.items())
        return f", about {_duration(seconds)} to go"


def _log(line: str) -> None:
    print(line, flush=True)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def _run(inputs: RunInputs, measure: Measure) -> Run:
    """Perform a run in a process of its own; its output goes to a log file beside the result."""
    file, log = Path(inputs.result), Path(inputs.result).with_suffix(".log")
    file.unlink(missing_ok=True)
    _CONTEXT.set_forkserver_preload([measure.__module__])
    started = time.time()
    process = _CONTEXT.Process(target=_run_in_process, args=(inputs, measure, log))
    process.start()
    try:
        process.join()
    finally:
        process.kill()
        process.join()
    if file.is_file():
        return json.loads(file.read_text("utf-8"))
    return _failed(inputs, _exit_reason(process.exitcode, log), time.time() - started)


def _failed(inputs: RunInputs, error: str, seconds: float) -> Run:
    return {**asdict(inputs), "status": "failed", "error": error, "seconds_in_all": seconds}


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
