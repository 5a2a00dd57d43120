"""What a node of a Ray cluster does for ``--ray``: a run, in a temporary folder, of which the files go back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from recbole_multvae import checkpoint
from recbole_multvae.data.digests import files_of, short_digest
from recbole_multvae.errors import LeaderboardError
from recbole_multvae.files import atomic_write
from recbole_multvae.leaderboard.local_jobs import THREADS, LocalJobs
from recbole_multvae.leaderboard.run_inputs import Measure, Run, RunInputs

#: The folders of a run in its temporary folder: the result and the log, the checkpoints, and the data sets.
RUNS, CHECKPOINTS, DATA = "runs", "checkpoints", "data"
#: The content of a file, uint8; Ray moves an array without copying it.
Content = np.ndarray
#: The bytes of files by their paths in the temporary folder.
Files = dict[str, Content]


@dataclass(frozen=True)
class Task:
    """A run that is sent to a node.

    Attributes:
        inputs: those of the run; their paths are those in the temporary folder.
        measure: performs it.
        data: a digest of each file of the data set, by name; empty for RecBole's own, which every node has.
        files: the paths of the contents that come with the task.
        recorded: keys with the paths of the machine that asked for the run, which results and checkpoints name.
        threads: of the run.
        versions: those of the packages of that machine.
    """

    inputs: RunInputs
    measure: Measure
    data: Mapping[str, str]
    files: list[str]
    recorded: Mapping[str, str]
    threads: int
    versions: Mapping[str, str]


def perform(task: Task, *contents: Content) -> tuple[Run, Files]:
    """Perform a run. Returns its result, and its files: the log, the checkpoints, and the metrics of each user.

    Raises:
        LeaderboardError: this node has another version of a package.
    """
    if differs := difference(version_reader()(), task.versions):
        raise LeaderboardError(f"the node {differs}")
    os.environ.update(dict.fromkeys(THREADS, str(task.threads)))  # The fork server begins with this environment.
    with _temporary_folder():
        for file, content in zip(task.files, contents, strict=True):
            if Path(file).parts[0] != DATA:
                _write(Path(file), content)
        if task.data:
            Path(DATA).symlink_to(_unpacked(task, dict(zip(task.files, contents, strict=True))))
        Path(RUNS).mkdir()
        jobs = LocalJobs()
        try:
            run = jobs.run(task.inputs, partial(_measure, task))
        finally:
            jobs.stop()  # The end of the task, which Ray may ask for, is the end of its process.
        files = [file for folder in (RUNS, CHECKPOINTS) for file in Path(folder).glob("*") if file.suffix != ".json"]
        return run, {str(file): np.fromfile(file, np.uint8) for file in files}


@contextmanager
def _temporary_folder() -> Iterator[None]:
    """A new working folder. Processes that are started here begin in it."""
    before = os.getcwd()
    with TemporaryDirectory(dir=_own_folder()) as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def _own_folder() -> Path:
    """The folder of this user's runs and data sets on this node, which nobody else can read or write."""
    folder = Path(gettempdir(), f"recbole-multvae-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _unpacked(task: Task, contents: Files) -> Path:
    """The folder of the data set's folder. Runs of the same data have the same folder, which stays for the next command."""
    dataset = task.inputs.dataset
    folder = _own_folder() / f"data-{short_digest([dataset, task.data])}"
    with FileLock(f"{folder}.lock"):
        if files_of(dataset, str(folder)) != task.data:  # Nothing is there, or what a killed run left.
            shutil.rmtree(folder, ignore_errors=True)
            for name in task.data:
                _write(folder / dataset / name, contents[f"{DATA}/{name}"])
    return folder


def _write(file: Path, content: Content) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    content.tofile(file)


def _measure(task: Task, inputs: RunInputs) -> dict[str, Any]:
    """Measure a run in its process; the paths that it names become those of the machine that asked for it."""
    measured = task.measure(inputs)
    measured["configuration"] = {**measured["configuration"], **task.recorded}
    for file in {measured[key] for key in ("chosen", "checkpoint") if key in measured}:
        saved = checkpoint.load(file, map_location="cpu")
        for key, path in task.recorded.items():
            saved["config"][key] = path
        with atomic_write(file) as part:
            torch.save(saved, part, pickle_protocol=4)
    if "metrics" in measured:  # The result of the test is a part of the archive that the lines above do not save.
        checkpoint.add_test_result(measured["checkpoint"], measured["metrics"])
    return measured


def version_reader() -> Callable[[], dict[str, str]]:
    """A function that reads the versions of the packages on which results depend, by name.

    It is a nested function, which Ray sends as code: a node may lack this package, or have one without this module.
    """

    def read() -> dict[str, str]:
        import hashlib
        import importlib
        from pathlib import Path

        versions = {}
        for name in ("recbole", "torch", "recbole_multvae"):
            try:
                package = importlib.import_module(name)
                versions[name] = str(package.__version__)
            except Exception as error:
                versions[name] = f"no {name} that can be imported ({' '.join(str(error).split())})"
        if versions["recbole_multvae"][:1].isdigit():  # Two versions in work may have the same number.
            folder = Path(str(package.__file__)).parent
            sources = b"".join(file.read_bytes() for file in sorted(folder.rglob("*.py")))
            versions["recbole_multvae"] += f" with the code {hashlib.sha256(sources).hexdigest()[:8]}"
        return versions

    return read


def difference(found: Mapping[str, str], expected: Mapping[str, str]) -> str | None:
    """How the versions of a node differ from those of this machine, as the end of a sentence; None if they do not."""
    for name, version in expected.items():
        if found[name] != version:
            has = found[name] if found[name].startswith("no ") else f"{name} {found[name]}"
            return f"has {has}, and this machine {version}: install the same on all nodes."
    return None
