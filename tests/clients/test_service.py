"""The service over HTTP keeps its memory within the limit that its README states."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from multvae_export.graph.onnx_file import to_onnx, write
from multvae_export.target import Options, Target
from multvae_export.trained_model import Model

from tests.clients.languages import CLIENTS, FOLDER
from tests.clients.test_clients import address_of, require
from tests.export.test_kinds import auto_encoder, summed

ITEMS, LIMIT = 30_000, 96
#: As the README of the service has them: bytes of each score, and MiB of a limit that are for ranking.
BYTES_OF_SCORE, FOR_RANKING = 28, LIMIT // 2


class Service:
    """A running service: its address, and the memory of its process in MiB."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.address, self.folder = address_of(process), Path(f"/proc/{process.pid}")
        (self.folder / "clear_refs").write_text("5")  # The peak starts anew.

    def memory(self, entry: str) -> float:
        """Of an entry of /proc/PID/status: VmRSS is what the process has now, VmHWM the most that it has had."""
        found = re.search(rf"^{entry}:\s+(\d+) kB$", (self.folder / "status").read_text(), re.MULTILINE)
        assert found
        return int(found[1]) / 1024

    def status(self, body: bytes) -> int:
        connection = HTTPConnection(self.address, timeout=120)
        connection.request("POST", "/recommend", body)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status


@contextmanager
def service(folder: Path, model: Model, options: Options, *flags: str) -> Iterator[Service]:
    program = folder / "serve"
    subprocess.run(["go", "build", "-o", str(program), "./cmd/serve"], cwd=FOLDER / "go", check=True)
    write(to_onnx(model, Target(options=options)), folder / "model.onnx")
    environment = {**os.environ, **CLIENTS["go"].environment(folder)}
    command = [str(program), str(folder / "model.onnx"), "-addr", "127.0.0.1:0", "-metrics-addr", "127.0.0.1:0", *flags]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Service(process)
        finally:
            process.kill()


def body(histories: int, length: int, k: int) -> bytes:
    rows = [[str(n * 7 + at) for at in range(length)] for n in range(histories)]
    return json.dumps({"histories": rows, "k": k}).encode()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak of a process's memory")
def test_the_worst_requests_stay_within_the_limit(tmp_path: Path) -> None:
    require("go")
    tokens = ("[PAD]", *map(str, range(ITEMS)))
    model = Model("M", summed(auto_encoder(ITEMS), auto_encoder(ITEMS)), tokens, "made", {})
    most = FOR_RANKING * 2**20 // (BYTES_OF_SCORE * (ITEMS + 1))
    # However slow the machine is, what fits is ranked in the end.
    flags = ("-max-memory", str(LIMIT), "-wait", "1m", "-read-timeout", "1m", "-write-timeout", "1m")
    with service(tmp_path, model, Options(filters=True, reasons=True), *flags) as served:
        start = served.memory("VmRSS")
        assert served.status(body(most + 1, 0, 1)) == 413
        largest = body(most - 1, 0, 1)
        assert served.status(largest) == 200
        assert served.memory("VmHWM") - start > LIMIT / 8  # The largest request does take memory.
        small = (b'{"history": [' + b'"",' * 300_000 + b'""]}', b'{"histories": [' + b"[]," * 300_000 + b"[]]}")
        worst = (largest, body(16, 900, 10), body(40, 60, 100), *small)
        with ThreadPoolExecutor(16) as clients:
            statuses = set(clients.map(served.status, worst * 8))
        assert {200, 400} <= statuses <= {200, 400, 413, 503}
        assert served.memory("VmHWM") - start < LIMIT
        assert served.memory("VmRSS") - start < LIMIT * 3 / 4
