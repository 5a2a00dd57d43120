"""The service in Go beside NVIDIA Triton with the same file, over HTTP, by the number of connections.

    python benchmarks/triton_server.py --triton FOLDER [--requests 4000]

FOLDER has the package of Triton (``pip install --no-deps --target FOLDER nvidia-pytriton==0.7.0``), whose server lacks the
backend for onnxruntime: as in tests/clients/test_triton.py one in Python takes its place, which costs Triton time. One
program sends the requests to both, and shares the cores with them. Histories are cut to 64 items, and padded to that for
Triton, which batches requests of equal length only. The network is that of benchmarks/service.py.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
from clients import CLIENTS, FOLDER, HIDDEN, ITEMS, LATENT, made, write_inputs
from machine import describe
from multvae_export.graph import onnx_file
from multvae_export.publish import triton
from multvae_export.publish.working_folder import working_folder
from multvae_export.target import Target

LENGTH, CONNECTIONS = 64, (1, 8, 32)
PORT, TRITON = 18080, 18331


def load(port: int, path: str, bodies: list[bytes], connections: int, requests: int) -> str:
    """The cells of a row: p50 and p99 in ms, and requests a second; 200 requests before do not count."""
    taken, numbers = list[float](), count()

    def ask(most: int, times: list[float]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while (n := next(numbers)) < most:
            started = time.perf_counter()
            connection.request("POST", path, bodies[n % len(bodies)])
            answer = connection.getresponse()
            if answer.status != 200:
                raise SystemExit(f"port {port}: {answer.status} {answer.read()!r}")
            answer.read()
            times.append(time.perf_counter() - started)
        connection.close()

    for most, times in ((200, []), (requests, taken)):
        numbers, started = count(), time.perf_counter()
        threads = [threading.Thread(target=ask, args=(most, times)) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    seconds = time.perf_counter() - started
    p50, p99 = np.percentile(np.array(taken) * 1000, [50, 99])
    return f"{p50:.1f} | {p99:.1f} | {requests / seconds:,.0f}"


@contextmanager
def running(command: list[str], port: int, ready: str, environment: dict[str, str]) -> Iterator[None]:
    """A server, from when it is ready until the end of the block."""
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        while not answers(port, ready):
            if process.poll() is not None:
                log.seek(0)
                raise SystemExit(f"{command[0]} does not start: {log.read()[-2000:]}")
            time.sleep(0.2)
        yield
        process.terminate()


def answers(port: int, path: str) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False


def repository(folder: Path) -> str:
    """Write the model into a model repository; the name of it."""
    model = made(ITEMS, HIDDEN, LATENT)
    with triton.model_folder(folder, model) as of_model, working_folder(of_model / triton.FILE, triton.WORKING) as working:
        onnx_file.write(onnx_file.to_onnx(model, Target()), working / triton.FILE)
        onnx_file.set_default_k(working / triton.FILE, triton.K)
        triton.publish(working, of_model, "fp32")
    return next(path.name for path in folder.iterdir() if path.is_dir())


def backends(server: Path, folder: Path) -> Path:
    """A folder with the backend for Python, which also stands for that for onnxruntime."""
    stub = "python_backend_stubs/{}.{}/triton_python_backend_stub".format(*sys.version_info)
    shutil.copytree(server / "backends/python", folder / "python")
    shutil.copy(server / stub, folder / "python")
    (folder / "onnxruntime").mkdir()
    shutil.copy(FOLDER.parents[1] / "tests/clients/triton_backend.py", folder / "onnxruntime/model.py")
    return folder


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triton", type=Path, required=True, help="folder with the package nvidia-pytriton")
    parser.add_argument("--requests", type=int, default=4000, help="of each row (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder / "model.onnx", folder / "histories.txt")
        histories = [line.split("\t")[:LENGTH] for line in (folder / "histories.txt").read_text().splitlines()]
        ours = [json.dumps({"history": row}).encode() for row in histories]
        padded = [[*row, *[""] * (LENGTH - len(row))] for row in histories]
        form = {"name": "history", "shape": [1, LENGTH], "datatype": "BYTES"}
        theirs = [json.dumps({"inputs": [{**form, "data": row}]}).encode() for row in padded]
        model = repository(folder / "models")
        subprocess.run(["go", "build", "-o", name, "./cmd/serve"], cwd=FOLDER / "go", check=True)
        service = [f"{name}/serve", f"{name}/model.onnx", "-addr", f"127.0.0.1:{PORT}", "-drain-delay", "0s"]
        server = args.triton.resolve() / "pytriton/tritonserver"
        of_backends = f"--backend-directory={backends(server, folder / 'backends')}"
        flags = [f"--model-repository={name}/models", of_backends, f"--http-port={TRITON}", "--allow-grpc=false"]
        command = [f"{server}/bin/tritonserver", *flags, "--disable-auto-complete-config"]
        environment = {**os.environ, **CLIENTS["go"].environment(folder)}
        libraries = [sysconfig.get_config_var("LIBDIR"), *map(str, args.triton.resolve().glob("*.libs"))]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(libraries)
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        print(f"{describe()}\n\n| server | connections | p50 ms | p99 ms | requests a s |\n|---|---|---|---|---|")
        servers = (
            ("service", service, PORT, "/readyz", "/recommend", ours),
            ("Triton", command, TRITON, "/v2/health/ready", f"/v2/models/{model}/infer", theirs),
        )
        for server_name, started, port, ready, path, bodies in servers:
            with running(started, port, ready, environment):
                for connections in CONNECTIONS:
                    row = load(port, path, bodies, connections, args.requests)
                    print(f"| {server_name} | {connections} | {row} |", flush=True)


if __name__ == "__main__":
    main()
