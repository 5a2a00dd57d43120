"""Time of a leaderboard of eight models with one job, two jobs, and two Ray nodes, one thread each.

    python benchmarks/jobs.py [--models MultVAE,EASE] [--dataset ml-100k] [--seeds 1] [--repetitions 3] [--keys epochs=5]

The three take turns. Seconds go from the start of the command to its end; those in which the Ray nodes start do not count.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from machine import describe
from runs import texts
from workers import HERE, PAUSE, spread

MODELS = "MultVAE,MultDAE,SparseEDLAE,EASE,ItemKNN,BPR,LightGCN,Pop"
RAY = [sys.executable, "-W", "ignore", "-c", "from ray.scripts.scripts import main; main()", "start", "--block",
       "--num-cpus=1", "--disable-usage-stats"]  # fmt: skip
#: The packages of this checkout come first in all processes, and each has one thread.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE.parent / "export")]),
               "OMP_NUM_THREADS": "1"}  # fmt: skip


@contextmanager
def node(*flags: str) -> Iterator[None]:
    """A Ray node with one CPU, from when it is ready until the end of the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen([*RAY, *flags], stdout=pipe, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT) as process:
        try:
            printed = []
            for line in iter(process.stdout.readline, ""):  # type: ignore[union-attr]
                printed.append(line)
                if "Ray runtime started" in line:
                    break
            else:
                raise SystemExit(f"Ray does not start: {''.join(printed)}")
            yield
        finally:
            process.terminate()


@contextmanager
def two_nodes(port: int) -> Iterator[str]:
    """Two Ray nodes, which take the first two loopback addresses for two machines; yields the address of the cluster."""
    address = f"127.0.0.1:{port}"
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder,
        node("--head", f"--port={port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false", f"--temp-dir={folder}"),
        node(f"--address={address}", "--node-ip-address=127.0.0.2"),
    ):
        yield address


def seconds(args: argparse.Namespace, flag: str) -> float:
    """The seconds of a leaderboard, in a temporary folder."""
    keys = [f"--{key}={value}" for key, value in texts(args.keys).items()]
    flags = [f"--model={args.models}", f"--dataset={args.dataset}", f"--seeds={args.seeds}", "--state=ERROR", flag, *keys]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "recbole_multvae", "--report_dir=board", *flags],
            cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        taken = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"The leaderboard with {flag} ended with exit status {done.returncode}: see above.")
    time.sleep(PAUSE)
    return taken


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS, help="as --model names them (default: %(default)s)")
    parser.add_argument("--dataset", default="ml-100k", help="name of the data set (default: %(default)s)")
    parser.add_argument("--seeds", default="1", help="as for the training command (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, help="turns of each (default: %(default)s)")
    parser.add_argument(
        "--keys", nargs="*", default=[], help="key=value of RecBole's configuration; data_path is a full path"
    )
    parser.add_argument("--port", type=int, default=6390, help="of the Ray cluster (default: %(default)s)")
    args = parser.parse_args()
    taken: dict[str, list[float]] = {"one job": [], "two jobs": [], "two Ray nodes": []}
    for _ in range(args.repetitions):
        taken["one job"].append(seconds(args, "--jobs=1"))
        taken["two jobs"].append(seconds(args, "--jobs=2"))
        with two_nodes(args.port) as address:
            taken["two Ray nodes"].append(seconds(args, f"--ray={address}"))
    models = len(args.models.split(","))
    print(f"{describe()}\n\n| {args.dataset}, {models} models, seeds {args.seeds} | s | / one job |\n|---|---|---|")
    for name, times in taken.items():
        ratios = [time / one for time, one in zip(times, taken["one job"], strict=True)]
        print(f"| {name} | {spread(times, '.0f')} | {spread(ratios)} |")


if __name__ == "__main__":
    main()
