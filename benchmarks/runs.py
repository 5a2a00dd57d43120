"""Runs of models, each in a process of its own, one after the other; a JSON file holds what they gave."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import recbole
import torch
from machine import describe
from workers import HERE

import recbole_multvae
from recbole_multvae.files import atomic_write

VERSIONS = {"python": platform.python_version(), "torch": torch.__version__, "recbole": recbole.__version__,
            "recbole_multvae": recbole_multvae.__version__}  # fmt: skip

Run = dict[str, Any]


def texts(keys: Iterable[str]) -> dict[str, str]:
    """The keys and values of ``key=value``."""
    pairs = [key.partition("=") for key in keys]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise SystemExit(f"{wrong[0]!r} is not understood: write key=value.")
    return {key: value for key, _, value in pairs}


def describe_run(
    model: str,
    dataset: str,
    data_path: Path,
    seed: int,
    files: Iterable[str] = (),
    own: dict[str, str] | None = None,
    **keys: Any,
) -> Run:
    """What timed_run.py is told.

    Args:
        model: its name, RecBole's or ours.
        dataset: the name of the data set.
        data_path: the folder that holds the data set's folder.
        seed: RecBole's.
        files: paths of YAML files, or names of shipped ones.
        own: keys and values as the command line has them, which win over all others.
        keys: further configuration keys.
    """
    shared = {"data_path": str(data_path.resolve()), **keys, "seed": seed, "checkpoint_dir": "saved", "show_progress": False,
              "state": "ERROR"}  # fmt: skip
    paths = [str(Path(file).resolve()) if Path(file).exists() else file for file in files]
    return {"model": model, "dataset": dataset, "files": paths, "keys": shared, "own": own or {}}


def measure(name: str, described: Run) -> Run:
    """Train what is described in a process of its own, in a folder that is removed in the end.

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
        runs: what is to be measured.
        file: the JSON file.
        keep: whether to take the runs that the file holds, and to measure only what it lacks. Others stay in it.
    """
    kept: list[Run] = json.loads(file.read_text("utf-8")) if keep and file.exists() else []
    measured: list[Run] = []
    for name, described in runs:
        held = next((run for run in kept if run["described"] == described), None)
        measured.append({**held, "name": name} if held else measure(name, described))
        others = [run for run in kept if run["described"] not in [mine["described"] for mine in measured]]
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
