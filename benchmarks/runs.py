"""Runs for the benchmarks: leaderboards, and scripts in processes of their own, one after the other, with their results."""

from __future__ import annotations

import json
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import recbole
import torch
from machine import describe
from workers import HERE

import recbole_multvae
from recbole_multvae.errors import LeaderboardError
from recbole_multvae.files import atomic_write
from recbole_multvae.leaderboard.board import run_leaderboard

VERSIONS = {"python": platform.python_version(), "torch": torch.__version__, "recbole": recbole.__version__,
            "recbole_multvae": recbole_multvae.__version__}  # fmt: skip

Run = dict[str, Any]


def texts(keys: Iterable[str]) -> dict[str, str]:
    """The keys and values of ``key=value``."""
    pairs = [key.partition("=") for key in keys]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise SystemExit(f"{wrong[0]!r} is not understood: write key=value.")
    return {key: value for key, _, value in pairs}


def leaderboard(
    models: Iterable[str], dataset: str, files: Sequence[str], keys: Mapping[str, str], seeds: Sequence[int], folder: Path
) -> dict[str, Any]:
    """Run a leaderboard and return its report. Models that fail are in it.

    Args:
        models: as ``--model`` names them.
        dataset: the name of the data set.
        files: paths of YAML files, or names of shipped ones, for all models.
        keys: configuration keys, their values as text.
        seeds: RecBole's.
        folder: where the report is written.
    """
    with suppress(LeaderboardError):
        command = f"python benchmarks/{shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}"
        run_leaderboard(",".join(models), dataset, files, keys, command=command, seeds=seeds, report_dir=str(folder))
    return json.loads((folder / "report.json").read_text("utf-8"))


def describe_run(
    model: str,
    dataset: str,
    data_path: Path,
    seed: int,
    files: Iterable[str] = (),
    command_line: dict[str, str] | None = None,
    **keys: Any,
) -> Run:
    """The description of a run for timed_run.py.

    Args:
        model: its name, RecBole's or ours.
        dataset: the name of the data set.
        data_path: the folder that holds the data set's folder.
        seed: RecBole's.
        files: paths of YAML files, or names of shipped ones.
        command_line: configuration keys that win over all others, their values as text.
        keys: further configuration keys.
    """
    shared = {"data_path": str(data_path.resolve()), **keys, "seed": seed, "checkpoint_dir": "saved", "show_progress": False,
              "state": "ERROR"}  # fmt: skip
    paths = [str(Path(file).resolve()) if Path(file).exists() else file for file in files]
    return {"model": model, "dataset": dataset, "files": paths, "keys": shared, "command_line": command_line or {}}


def measure(name: str, described: Run) -> Run:
    """Perform a described run in a process of its own, in a temporary folder.

    The process runs timed_run.py, or the file of this folder that ``script`` names.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.json"
        command = [sys.executable, "-W", "ignore", str(HERE / described.get("script", "timed_run.py"))]
        started = time.time()
        done = subprocess.run([*command, json.dumps({**described, "started": started}), file], cwd=folder, check=False)
        if done.returncode:
            raise SystemExit(f"{name} ended with exit status {done.returncode}: see above.")
        measured = json.loads(file.read_text("utf-8"))
    return {"name": name, "described": described, "machine": describe(), "versions": VERSIONS, **measured}


def measure_all(runs: Iterable[tuple[str, Run]], file: Path, keep: bool) -> list[Run]:
    """Measure runs by their names and descriptions, and write the file after each one.

    Args:
        runs: names and descriptions.
        file: the JSON file.
        keep: whether to take the runs that are in the file and to measure only the others. All its runs stay in it.
    """
    kept: list[Run] = json.loads(file.read_text("utf-8")) if keep and file.exists() else []
    measured: list[Run] = []
    for name, described in runs:
        former = next((run for run in kept if run["described"] == described), None)
        measured.append({**former, "name": name} if former else measure(name, described))
        descriptions = [run["described"] for run in measured]
        others = [run for run in kept if run["described"] not in descriptions]
        with atomic_write(file) as part:
            Path(part).write_text(json.dumps(measured + others, indent=1), "utf-8")
        print(f"{name}, seed {described['keys']['seed']}: {measured[-1]['seconds']} s", file=sys.stderr)
    return measured


def machines(runs: list[Run]) -> str:
    """The machines, the packages and the days of the runs, one a line."""
    return "\n".join(dict.fromkeys(run["machine"] for run in runs))


def mean(values: list[float]) -> str:
    """The mean and the standard deviation."""
    return f"{statistics.mean(values):.4f}" + (f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else "")
