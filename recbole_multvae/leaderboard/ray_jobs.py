"""Runs as tasks of a Ray cluster: ``--ray``. Ray chooses the node of each, and starts it again if its node is lost.

This machine sends what a run reads, and writes what it returns, where runs on this machine have it.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
import recbole
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from recbole_multvae.config.refit import refitted_file
from recbole_multvae.config.yaml_files import read_keys
from recbole_multvae.data.digests import content_digest, files_of
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.files import atomic_write
from recbole_multvae.leaderboard.json_file import write_json
from recbole_multvae.leaderboard.ray_node import CHECKPOINTS, DATA, RUNS, Files, Task, difference, perform, version_reader
from recbole_multvae.leaderboard.run_inputs import Measure, Run, RunInputs, failed

#: Seconds to wait for a connection, for the answer of a node that imports torch for the first time, and until the next look
#: at which nodes there are.
_CONNECT, _ANSWER, _LOOK = 10, 300, 2


class RayJobs:
    """Tasks of a Ray cluster. Each takes as many CPUs as OMP_NUM_THREADS says, or else one.

    Args:
        address: ``auto``, ``host:port``, or ``ray://host:port`` from outside the cluster.
        number: how many at a time; None: as many as the CPUs of the nodes allow.

    Raises:
        ConfigurationError: nobody answers at the address, no node has the CPUs, or a node has other versions.
    """

    def __init__(self, address: str, number: int | None) -> None:
        threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
        self._threads = max(1, int(threads)) if threads.isdecimal() else 1
        self._address, self._number = address, number
        self._place: Any = threading.Semaphore(number) if number else nullcontext()
        self._versions = version_reader()()
        self._perform = ray.remote(perform).options(num_cpus=self._threads)
        self._lock = threading.Lock()
        self._kept: dict[str, Any] = {}
        self._tasks: set[Any] = set()
        self._stopped = False
        _connect(address)
        self._own_node = ray.get_runtime_context().get_node_id()
        self._check_nodes()

    @property
    def number(self) -> int:
        """How many runs there may be at a time, on the nodes that there are now."""
        return self._number or max(1, sum(int(node["Resources"]["CPU"]) // self._threads for node in self._nodes()))

    def _nodes(self) -> list[dict[str, Any]]:
        """The nodes that have the CPUs for a run, busy or not."""
        return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= self._threads]

    def _check_nodes(self) -> None:
        """Refuse a cluster without CPUs, and one with a node that has other versions than this machine."""
        if not (nodes := self._nodes()):
            raise ConfigurationError(
                f"--ray={self._address}: no node has {_cpus(self._threads)} for a run: start one, or set OMP_NUM_THREADS."
            )
        read = ray.remote(version_reader())
        tasks = [read.options(num_cpus=0, scheduling_strategy=_on(node)).remote() for node in nodes]
        ray.wait(tasks, num_returns=len(tasks), timeout=_ANSWER)
        for node, task in zip(nodes, tasks, strict=True):
            try:
                differs = difference(ray.get(task, timeout=0), self._versions)
            except ray.exceptions.RayError as error:
                differs = f"does not answer: {_line(error)}."
            if differs:
                raise ConfigurationError(f"--ray={self._address}: the node {node['NodeManagerHostname']} {differs}")

    def place(self, row: str) -> AbstractContextManager[None]:
        """A wait only if a number was asked for: Ray keeps a task until a node has the CPUs."""
        return self._place

    def learn(self, run: Run) -> None:
        """Nothing: Ray knows what its nodes have left."""

    def run(self, inputs: RunInputs, measure: Measure) -> Run:
        """Perform a run on some node, and write its files."""
        Path(inputs.result).unlink(missing_ok=True)
        started = time.time()
        with self._lock:
            if self._stopped:
                return failed(inputs, "interrupted before it began", 0.0)
            task = self._send(inputs, measure)
            self._tasks.add(task)
        try:
            run, files = self._result(task)
        except (ray.exceptions.RayError, _GivenUpError) as error:
            reason = "interrupted" if self._stopped else f"the Ray cluster could not finish it: {_line(error)}"
            return failed(inputs, reason, time.time() - started)
        finally:
            with self._lock:
                self._tasks.discard(task)
        return _write(inputs, run, files)

    def _result(self, task: Any) -> tuple[Run, Files]:
        while not ray.wait([task], timeout=_LOOK)[0]:
            if self._stopped:
                raise _GivenUpError("interrupted")
            if lost := self._lost():
                ray.cancel(task)
                raise _GivenUpError(lost)
        result: tuple[Run, Files] = ray.get(task)
        return result

    def _lost(self) -> str | None:
        """Why no run can be finished any more; None if it can."""
        if not any(node["Alive"] for node in ray.nodes() if node["NodeID"] == self._own_node):
            return "its node on this machine, which sends and receives, is lost"
        return None if self._nodes() else f"no node with {_cpus(self._threads)} is left"

    def _send(self, inputs: RunInputs, measure: Measure) -> Any:
        """Start a task with all that a run reads. Paths become those of the node."""
        own = Path(inputs.data_folder).resolve().is_relative_to(Path(recbole.__file__).resolve().parent)
        data = {} if own else files_of(inputs.dataset, inputs.data_folder)
        start = _warm_start(inputs)
        kept = {f"{DATA}/{name}": Path(inputs.data_folder, name) for name in data}
        kept |= {_there(key, file): file for key, file in start.items()}
        moved, sources = _moved(inputs, bool(data), start)
        contents = [self._keep(file) for file in kept.values()] + [_put(file) for file in sources.values()]
        recorded = {"data_path": inputs.data_folder, "checkpoint_dir": inputs.keys["checkpoint_dir"]}
        recorded |= {key: str(file) for key, file in start.items()}
        files = [*kept, *sources]
        task = Task(moved, measure, data, files, recorded, self._threads, self._versions)
        return self._perform.remote(task, *contents)

    def _keep(self, file: Path) -> Any:
        """A file that many runs read, as one object of Ray's."""
        if (digest := content_digest(file)) not in self._kept:
            self._kept[digest] = _put(file)
        return self._kept[digest]

    def stop(self) -> None:
        """Cancel all tasks; no run begins any more."""
        with self._lock:
            self._stopped = True
            for task in self._tasks:
                ray.cancel(task)


class _GivenUpError(Exception):
    """A run is not waited for any longer; the message says why."""


def _connect(address: str) -> None:
    match = re.fullmatch(r"(?:ray://)?([^\s/]+):(\d+)", address)
    if not match and address != "auto":
        raise ConfigurationError(
            f"--ray={address} is not allowed: expected auto, or the address of a cluster such as 10.0.0.1:6379, or "
            "ray://10.0.0.1:10001 from outside the cluster."
        )
    try:
        if match:  # Ray tries for minutes.
            socket.create_connection((match[1], int(match[2])), timeout=_CONNECT).close()
        handler = signal.getsignal(signal.SIGTERM)
        ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
        signal.signal(signal.SIGTERM, handler)  # Ray's prints where each thread is, and aborts.
    except Exception as error:  # Of whatever class Ray takes.
        raise ConfigurationError(
            f"--ray={address}: no Ray cluster can be reached: {_line(error)}: start one of the same Ray and Python with "
            "ray start --head."
        ) from error


def _on(node: dict[str, Any]) -> Any:
    return NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)


def _cpus(number: int) -> str:
    return "a CPU" if number == 1 else f"{number} CPUs"


def _line(error: Exception) -> str:
    """What an error says, in one line without a traceback, which Ray puts before it."""
    cause = getattr(error, "cause", None) or error
    return " ".join(str(cause).split()).rstrip(".:") or type(cause).__name__


def _put(file: Path) -> Any:
    return ray.put(np.fromfile(file, np.uint8))


def _warm_start(inputs: RunInputs) -> dict[str, Path]:
    """The key ``warm_start`` with its file on this machine; nothing for a run without it."""
    in_files = {key: value for file in inputs.files for key, value in read_keys(file).items()}
    file = {**in_files, **inputs.defaults, **inputs.keys}.get("warm_start")
    return {"warm_start": Path(file)} if file and Path(file).is_file() else {}


def _there(key: str, file: Path) -> str:
    """The path on a node of the file that a key names."""
    return f"{key}/{file.name}"


def _moved(inputs: RunInputs, data: bool, start: dict[str, Path]) -> tuple[RunInputs, dict[str, Path]]:
    """The inputs with the paths of a node, and by these paths further files of this machine that it reads.

    Args:
        inputs: with the paths of this machine.
        data: whether the data set is sent too.
        start: of :func:`_warm_start`.
    """
    files = {f"files/{n}/{Path(file).name}": Path(file) for n, file in enumerate(inputs.files) if Path(file).exists()}
    members = {name: Path(file) for name, file in inputs.defaults.get("members", {}).items()}
    there = {name: f"members/{n}/{file.name}" for n, (name, file) in enumerate(members.items())}
    both = {there[name]: file for name, file in members.items()}
    both |= {refitted_file(path): Path(refitted_file(str(file))) for path, file in both.items()}
    at = {str(file): path for path, file in files.items()}
    moved = replace(
        inputs,
        files=[at.get(str(Path(file)), file) for file in inputs.files],
        defaults={**inputs.defaults, **({"members": there} if there else {})},
        keys={**inputs.keys, "checkpoint_dir": CHECKPOINTS, **({"data_path": DATA} if data else {}),
              **{key: _there(key, file) for key, file in start.items()}},
        result=f"{RUNS}/{Path(inputs.result).name}",
    )  # fmt: skip
    return moved, files | {path: file for path, file in both.items() if file.exists()}


def _write(inputs: RunInputs, run: Run, files: Files) -> Run:
    """Write the files of a run and at last its result, which says that the run is over; returns the result."""
    result = Path(inputs.result)
    folders = {RUNS: result.parent, CHECKPOINTS: Path(inputs.keys["checkpoint_dir"])}

    def here(path: str) -> str:
        return str(folders[Path(path).parts[0]] / Path(path).name)

    for path, content in files.items():
        Path(here(path)).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(here(path)) as part:
            content.tofile(part)
    run = run | asdict(inputs) | {key: here(run[key]) for key in ("chosen", "checkpoint") if key in run}
    log = f"{RUNS}/{result.stem}.log"
    run |= {"error": run["error"].replace(log, here(log))} if "error" in run else {}
    with atomic_write(result) as part:
        write_json(part, run)
    return run
