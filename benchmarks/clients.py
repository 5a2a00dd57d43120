"""The clients side by side: one model, the same histories, one language after the other.

    python benchmarks/clients.py

Each client answers every history alone (p50 and p99 of the time from tokens to tokens) and all in batches of 256 (the best
of three rounds), with onnxruntime's default settings and one thread that calls. The cold start is the time of its command
line for one history, from the start of the process to its end: the median of seven. The network is MultVAE's with random
weights, which the time does not depend on. A client whose tools the machine lacks is named.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from machine import describe
from made_data import clicks
from multvae_export.graph.onnx_file import to_onnx, write
from multvae_export.target import Target
from options import made

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.clients.languages import CLIENTS, FOLDER

ITEMS, HIDDEN, LATENT, HISTORIES = 20_108, 600, 200, 2048
STARTS = 7
COLUMNS = ["client", "version", "onnxruntime", "runs on", "lines", "cold start s", "p50 ms", "p99 ms", "256: histories a s"]


@dataclass(frozen=True)
class Program:
    """A client's programs, run in its folder.

    Attributes:
        sources: the client itself.
        build: run first.
        recommend: its command line, which a model, items and flags follow.
        bench: its benchmark, which a model and a file of histories follow.
    """

    sources: tuple[str, ...]
    recommend: tuple[str, ...]
    bench: tuple[str, ...]
    build: tuple[tuple[str, ...], ...] = ()


PROGRAMS = {
    "python": Program(("recommend.py",), (sys.executable, "recommend.py"), (sys.executable, "bench.py")),
    "java": Program(
        ("src/main/java/multvae/Recommender.java", "src/main/java/multvae/ModelFile.java"),
        ("java", "-jar", "target/multvae.jar"),
        ("java", "-cp", "target/test-classes:target/multvae.jar", "multvae.Bench"),
        (("mvn", "--quiet", "--batch-mode", "-DskipTests", "package"),),
    ),
    "go": Program(
        ("recommend.go",),
        ("./recommend",),
        ("./bench",),
        (("go", "build", "./cmd/recommend"), ("go", "build", "./cmd/bench")),
    ),
    "rust": Program(
        ("src/lib.rs", "src/digest.rs"),
        ("target/release/recommend",),
        ("target/release/examples/bench",),
        (("cargo", "build", "--quiet", "--locked", "--release", "--bins", "--examples"),),
    ),
    "cpp": Program(
        ("recommend.hpp",),
        ("build/recommend",),
        ("build/bench",),
        (
            ("cmake", "-S", ".", "-B", "build", "-U", "ONNXRUNTIME_*", "-DCMAKE_BUILD_TYPE=Release"),
            ("cmake", "--build", "build"),
        ),
    ),
    "node": Program(
        ("recommend.mjs",),
        ("node", "recommend.mjs"),
        ("node", "bench.mjs"),
        (("env", "ONNXRUNTIME_NODE_INSTALL=skip", "npm", "ci", "--no-audit", "--no-fund"),),  # Without the library for CUDA.
    ),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", nargs="+", default=list(PROGRAMS), choices=list(PROGRAMS))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, histories = Path(folder) / "model.onnx", Path(folder) / "histories.txt"
        print(f"{describe()}\n\n{write_inputs(model, histories)}\n")
        print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
        for client in args.clients:
            if lacking := ", ".join(CLIENTS[client].missing()):
                print(f"| {client} | not run: missing {lacking} |")
            else:
                print(f"| {' | '.join(measure(client, Path(folder), model, histories))} |", flush=True)


def write_inputs(model: Path, histories: Path, precision: str = "fp32") -> str:
    """Write the model, and the histories one a line with tabs between tokens. Returns a description of both."""
    write(to_onnx(made(ITEMS, HIDDEN, LATENT), Target(precision=precision)), model)
    owners, clicked = clicks(HISTORIES, ITEMS)
    rows = np.split(clicked, np.flatnonzero(np.diff(owners)) + 1)
    histories.write_text("".join("\t".join(f"i{item}" for item in row) + "\n" for row in rows), "utf-8")
    lengths = [len(row) for row in rows]
    lengths_text = f"{HISTORIES} histories of {np.mean(lengths):.0f} items on average, {max(lengths)} at most"
    return f"{ITEMS} items, {HIDDEN}-{LATENT}-{HIDDEN}, {precision}; {lengths_text}"


def measure(client: str, root: Path, model: Path, histories: Path) -> list[str]:
    """The cells of one client's row."""
    program, folder = PROGRAMS[client], FOLDER / client
    environment = {**os.environ, **CLIENTS[client].environment(root)}
    for command in program.build:
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    request = histories.read_text("utf-8").split("\n")[0].split("\t")
    starts = []
    for _ in range(STARTS):
        begin = time.perf_counter()
        subprocess.run(
            [*program.recommend, str(model), *request], cwd=folder, env=environment, check=True, capture_output=True
        )
        starts.append(time.perf_counter() - begin)
    output = subprocess.check_output([*program.bench, str(model), str(histories)], cwd=folder, env=environment, text=True)
    figures = json.loads(output)
    lines = sum(len((folder / source).read_text("utf-8").splitlines()) for source in program.sources)
    times = [f"{seconds:.2f}" for seconds in (statistics.median(starts), figures["p50_ms"], figures["p99_ms"])]
    names = [figures[name] for name in ("language", "version", "onnxruntime", "provider")]
    names[-1] = names[-1].removesuffix("ExecutionProvider")
    return [*names, str(lines), *times, f"{figures['per_second']:,.0f}"]


if __name__ == "__main__":
    main()
