"""The service over HTTP under load: times, errors and memory, by precision, threads and number of connections.

    python benchmarks/service.py [--precisions fp32,int8] [--threads 1,2,16] [--before COMMIT]

The service and the program that sends the requests share the machine's cores, over loopback. The network and the histories
are those of benchmarks/clients.py. Memory is the service's resident memory: before each row, its peak during it, and after.
With ``--before`` the service of another commit takes turns with this one, and a column has this one's requests a second over
the other's.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from clients import CLIENTS, FOLDER, write_inputs
from machine import describe

NOW = "now"


def build(folder: Path, commit: str | None) -> dict[str, Path]:
    """The programs: this checkout's service and load test, and the service of the other commit if there is one."""
    programs = {NOW: folder / "serve", "loadtest": folder / "loadtest"}
    for program in programs.values():
        subprocess.run(["go", "build", "-o", str(program), f"./cmd/{program.name}"], cwd=FOLDER / "go", check=True)
    if commit:
        top = FOLDER.parents[1]
        archive = subprocess.check_output(["git", "archive", commit, "export/clients/go"], cwd=top)
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder / "before", filter="data")
        programs[commit] = folder / "serve-before"
        source = folder / "before" / "export/clients/go"
        subprocess.run(["go", "build", "-o", str(programs[commit]), "./cmd/serve"], cwd=source, check=True)
    return programs


def measure(program: Path, model: Path, threads: str, load_test: list[str]) -> list[dict[str, Any]]:
    """The rows of a service, which is started, asked and stopped."""
    environment = {**os.environ, **CLIENTS["go"].environment(program.parent)}
    command = [str(program), str(model), "-threads", threads, "-addr", "127.0.0.1:0", "-metrics-addr", "127.0.0.1:0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as service:
        assert service.stderr is not None
        log = ""
        while not (address := re.search(r"msg=ready addr=(\S+) metrics=(\S+)", log)):
            if not (line := service.stderr.readline()):
                raise SystemExit(f"The service does not start: {log}")
            log += line
        arguments = [f"http://{address[1]}", *load_test[1:], "-metrics", f"http://{address[2]}/metrics"]
        rows = subprocess.run([load_test[0], *arguments], stdout=subprocess.PIPE, text=True).stdout.splitlines()
        service.send_signal(signal.SIGTERM)
        code = service.wait(60)
    if code or not rows:
        raise SystemExit(f"The load test printed {len(rows)} rows; after SIGTERM the service ended with exit code {code}.")
    return [json.loads(row) for row in rows]


def table(rows: dict[str, list[dict[str, Any]]], setting: str) -> None:
    """Print the rows of a setting, by version."""
    for version, measured in rows.items():
        for row, now in zip(measured, rows[NOW], strict=True):
            memory = ", ".join(f"{row[f'memory_{when}'] / 1e6:.0f}" for when in ("before", "during", "after"))
            ratio = f"{now['per_second'] / row['per_second']:.2f}" if row["per_second"] else ""
            cells = (
                setting, version, row["connections"], row["errors"], f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}",
                f"{row['per_second']:,.0f}", ratio, memory,
            )  # fmt: skip
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", default="1,8,32")
    parser.add_argument("--precisions", default="fp32", help="of the file (default: %(default)s)")
    parser.add_argument("--threads", default="1", help="of a request (default: %(default)s)")
    parser.add_argument("--before", metavar="COMMIT", help="measure the service of this commit too")
    parser.add_argument("--requests", type=int, default=40_000, help="of each row (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        histories, programs = folder / "histories.txt", build(folder, args.before)
        load_test = [str(programs.pop("loadtest")), str(histories)]
        load_test += ["-connections", args.connections, "-requests", str(args.requests)]
        print(f"{describe()}; {args.requests:,} requests of each row\n")
        columns = ("precision, threads", "service", "connections", "errors", "p50 ms", "p99 ms", "requests a s", "now /")
        print(f"| {' | '.join(columns)} | MB before, during, after |\n|{'---|' * (len(columns) + 1)}")
        for precision in args.precisions.split(","):
            described = write_inputs(model := folder / f"{precision}.onnx", histories, precision)
            for threads in args.threads.split(","):
                rows = {version: measure(program, model, threads, load_test) for version, program in programs.items()}
                table(rows, f"{precision}, {threads}")
        print(f"\n{described}")


if __name__ == "__main__":
    main()
