"""The service over HTTP under load: times, errors and memory, by the number of connections.

    python benchmarks/service.py

The service and the program that sends the requests share the machine's cores, over loopback. The network and the histories
are those of benchmarks/clients.py. Memory is the service's resident memory: before each row, its peak during it, and after.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

from clients import CLIENTS, FOLDER, write_inputs
from machine import describe


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", default="1,8,32")
    parser.add_argument("--requests", type=int, default=40_000, help="of each row (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **CLIENTS["go"].environment(Path(folder))}
        model, histories = Path(folder) / "model.onnx", Path(folder) / "histories.txt"
        print(f"{describe()}\n\n{write_inputs(model, histories)}\n")
        for program in ("serve", "loadtest"):
            subprocess.run(["go", "build", "-o", folder, f"./cmd/{program}"], cwd=FOLDER / "go", check=True)
        command = [f"{folder}/serve", str(model), "-addr", "127.0.0.1:0", "-metrics-addr", "127.0.0.1:0"]
        service = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert service.stderr is not None
        log = service.stderr.readline() + service.stderr.readline()  # The model, and that the service is ready.
        address = re.search(r"msg=ready addr=(\S+) metrics=(\S+)", log)
        assert address is not None
        command = [f"{folder}/loadtest", f"http://{address[1]}", str(histories), "-metrics", f"http://{address[2]}/metrics"]
        command += ["-connections", args.connections, "-requests", str(args.requests)]
        load_test = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        service.send_signal(signal.SIGTERM)
        code = service.wait(60)
    columns = ("connections", "requests", "errors", "p50 ms", "p99 ms", "requests a s", "MB before, during, after")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in map(json.loads, load_test.stdout.splitlines()):
        memory = ", ".join(f"{row[f'memory_{when}'] / 1e6:.0f}" for when in ("before", "during", "after"))
        times = f"{row['p50_ms']:.2f} | {row['p99_ms']:.2f} | {row['per_second']:,.0f}"
        print(f"| {row['connections']} | {row['requests']:,} | {row['errors']} | {times} | {memory} |")
    print(f"\nAfter SIGTERM the service ended with exit code {code}.")


if __name__ == "__main__":
    main()
