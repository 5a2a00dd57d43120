"""NVIDIA Triton's server with the repository that ``multvae-export --triton`` writes, as it is written.

The package nvidia-pytriton has the server and its backend for Python, in which triton_backend.py takes the place of that for
onnxruntime. The tests share one server, which polls, and go through a working day of it, one after the other.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_client
from multvae_export import exporter, golden
from multvae_export.cli import main
from multvae_export.graph import onnx_file
from multvae_export.publish import triton
from multvae_export.publish.working_folder import working_folder
from multvae_export.target import NONE, Options, Target
from multvae_export.trained_model import Model

from tests.clients.test_clients import install_package, leave_out
from tests.conftest import Experiment
from tests.export.conftest import blocks_folder, checkpoint_of
from tests.export.test_identity import client
from tests.export.test_users import synthetic

pytestmark = pytest.mark.slow

PACKAGE = "nvidia-pytriton==0.7.0"
ALL = Options(filters=True, reasons=True, posterior=True)
NAME, UNITS = "MultVAE-blocks", 4
TYPES = {np.dtype(object): "BYTES", np.dtype(np.int64): "INT64", np.dtype(np.float32): "FP32"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of Triton, with the two backends."""
    site = tmp_path_factory.mktemp("triton")
    install_package(PACKAGE, site, "--no-deps")
    folder = site / "pytriton/tritonserver"
    stub = folder / "python_backend_stubs/{}.{}/triton_python_backend_stub".format(*sys.version_info)
    if not stub.exists() or "not found" in subprocess.check_output(["ldd", stub], text=True, env=environment()):
        leave_out(f"{PACKAGE} does not run in this Python: it needs 3.10 to 3.13, with a shared libpython")
    shutil.copy(stub, folder / "backends/python")
    (folder / "backends/onnxruntime").mkdir()
    shutil.copy(Path(__file__).with_name("triton_backend.py"), folder / "backends/onnxruntime/model.py")
    return folder


def environment() -> dict[str, str]:
    """Where Triton's backend finds Python's library, and the environment with the packages."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR"), "PATH": path}


def command(installed: Path, backends: Path, repository: Path, *flags: str) -> list[str]:
    """Strict: the configuration is not completed."""
    folders = f"--model-repository={repository}", f"--backend-directory={backends}"
    without = "--disable-auto-complete-config", "--allow-http=false", "--allow-metrics=false"
    return [str(installed / "bin/tritonserver"), *folders, *without, *flags]


class Server:
    """A running server, and the repository that it polls."""

    def __init__(self, log: Path, repository: Path, address: str) -> None:
        self.log, self.repository = log, repository
        self.client = triton_client.InferenceServerClient(address)

    def lines(self, what: str) -> list[str]:
        """What the backend has written, in order."""
        return re.findall(rf"^{what} (.+)$", self.log.read_text(), re.MULTILINE)

    def ask(self, name: str, version: str = "", **inputs: Any) -> tuple[str, list[np.ndarray]]:
        """The version that answers, and its outputs."""
        return read(self.client.infer(name, tensors(inputs), model_version=version))


def tensors(inputs: dict[str, Any]) -> list[Any]:
    made = []
    for name, values in inputs.items():
        array = values if isinstance(values, np.ndarray) else np.array(values, object)
        made.append(triton_client.InferInput(name, array.shape, TYPES[array.dtype]))
        made[-1].set_data_from_numpy(array)
    return made


def read(result: Any) -> tuple[str, list[np.ndarray]]:
    answer = result.get_response()
    outputs = [result.as_numpy(output.name) for output in answer.outputs]
    return answer.model_version, [np.char.decode(one.astype(bytes)) if one.dtype == object else one for one in outputs]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    with blocks_folder(tmp_path_factory, "trained"):
        return [checkpoint_of(Experiment("MultVAE", seed=seed), f"{seed}") for seed in (1, 2, 3)]


def export(checkpoint: Path, repository: Path) -> None:
    assert main([str(checkpoint), "--triton", str(repository), "--filters", "--reasons", "--posterior"]) == 0


def add(repository: Path, model: Model, target: Target, name: str) -> None:
    """Write a model in a form that its checkpoint would need more for."""
    with ExitStack() as stack:
        folder = stack.enter_context(triton.model_folder(repository, replace(model, name=name, dataset="made")))
        working = stack.enter_context(working_folder(folder / triton.FILE, triton.WORKING))
        onnx_file.write(onnx_file.to_onnx(model, target), working / triton.FILE)
        if target.ranks:
            onnx_file.set_default_k(working / triton.FILE, triton.K)
        triton.publish(working, folder, target.precision)


@pytest.fixture(scope="module")
def server(installed: Path, checkpoints: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    export(checkpoints[0], repository := folder / "models")
    add(repository, synthetic(), Target("users"), "users")
    add(repository, golden.model(), Target("ids", options=ALL), "ids")
    add(repository, golden.model(), Target("dense"), "dense")
    add(repository, golden.model(), Target("tokens", "int8", NONE), "int8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = "--grpc-address=127.0.0.1", f"--grpc-port={port}", "--model-control-mode=poll", "--repository-poll-secs=1"
    with (folder / "log").open("w") as log:
        arguments = command(installed, installed / "backends", repository, *flags)
        process = subprocess.Popen(arguments, env=environment(), stdout=log, stderr=subprocess.STDOUT)
    served = Server(folder / "log", repository, f"127.0.0.1:{port}")
    try:
        until(partial(is_ready, served, process))
        yield served
    finally:
        served.client.close()
        process.terminate()
        process.wait(60)


def is_ready(served: Server, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, served.log.read_text()
    try:
        return bool(served.client.is_server_ready())
    except triton_client.InferenceServerException:  # It does not listen yet.
        return False


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def padded(histories: list[list[str]], length: int) -> list[list[str]]:
    return [[*history, *[""] * (length - len(history))] for history in histories]


def of_client(server: Server, version: str, histories: list[list[str]], **options: Any) -> Any:
    """What the Python client answers, with the same file."""
    session = client().load_model(str(server.repository / NAME / version / triton.FILE))
    return client().recommend(session, histories, triton.K, **options)


def inputs(histories: list[list[str]], **given: Any) -> dict[str, Any]:
    """All inputs of a request: without lists, ``among`` of length 0 ranks all items."""
    batch = len(histories)
    lists = {"exclude": np.zeros((batch, 0), object), "among": np.zeros((batch, 0), object)}
    return {"history": histories, **lists, "noise": np.zeros((batch, UNITS), np.float32), **given}


def ask(server: Server, histories: list[list[str]], version: str = "", **given: Any) -> tuple[str, list[np.ndarray]]:
    return server.ask(NAME, version, **inputs(histories, **given))


def is_same(found: list[np.ndarray], expected: Any) -> bool:
    """The reasons of padding, which the client's histories may lack, are left out."""
    items, scores, reasons = found
    length = expected.reasons.shape[-1]
    near = np.allclose(scores, expected.scores, atol=1e-5) and np.allclose(
        reasons[..., :length], expected.reasons, atol=1e-5
    )
    return bool(items.tolist() == expected.items.tolist() and near)


def test_every_form_is_loaded_and_warmed_up(server: Server) -> None:
    assert sorted(server.lines("LOADED")) == [f"{NAME} 1", "dense-made 1", "ids-made 1", "int8-made 1", "users-made 1"]
    assert sorted(server.lines("RAN")) == sorted(["1 1", f"1 {triton.MAX_BATCH}"] * 5)
    _, (items, _) = server.ask("users-made", user=[["bob"], ["nobody"]])
    assert items[0, 0] and set(items[1]) == {""}
    _, (items, *_) = server.ask("int8-made", history=[["42", ""]])
    assert set(items[0]) <= set(golden.TOKENS) - {"42"} | {""}


def test_rankings_are_those_of_the_python_client(server: Server) -> None:
    histories = [["i1", "i2", "i3"], ["i11"], [], ["nobody", "i4", "i4"]]
    expected = of_client(server, "1", histories)
    for length in (3, 16):
        version, found = ask(server, padded(histories, length))
        assert version == "1" and is_same(found, expected)
    for history, items in zip(histories, expected.items, strict=True):
        assert ask(server, [history])[1][0].tolist() == [items.tolist()]
    noise = np.random.default_rng(0).standard_normal((2, UNITS)).astype(np.float32)
    lists = {"exclude": [["i5", ""], ["i6", "i7"]], "among": [["i5", "i8", "i9", ""], ["i6", "i7", "i8", "i12"]]}
    _, found = ask(server, padded(histories[:2], 3), **lists, noise=noise)
    assert is_same(found, of_client(server, "1", histories[:2], **lists, noise=noise))
    assert [set(items) for items in found[0]] == [{"i8", "i9", ""}, {"i8", "i12", ""}]


def test_requests_at_once_are_one_batch(server: Server) -> None:
    histories = padded([[f"i{n % 20}", f"i{n * 7 % 20}"][: 1 + n % 2] for n in range(300)], 8)
    before, answers = statistics(server), Queue[Any]()
    for n, history in enumerate(histories):
        callback = partial(lambda n, result, error: answers.put((n, error or read(result)[1])), n)
        server.client.async_infer(NAME, tensors(inputs([history])), callback)
    found = dict(answers.get(timeout=60) for _ in histories)
    together = [np.concatenate([found[n][part] for n in range(len(histories))]) for part in range(3)]
    assert is_same(together, of_client(server, "1", histories))
    requests, runs = statistics(server) - before
    assert requests == len(histories) and runs < requests / 2


def statistics(server: Server) -> np.ndarray:
    """How many requests the first version has answered, and in how many runs."""
    (model,) = server.client.get_inference_statistics(NAME, "1").model_stats
    return np.array([model.inference_count, model.execution_count])


@contextmanager
def asked(server: Server, histories: list[list[str]]) -> Iterator[list[Any]]:
    """The answers to one request after the other, until the block ends."""
    answers, done = list[Any](), threading.Event()

    def run() -> None:
        while not done.is_set():
            answers.append(ask(server, histories))

    asking = threading.Thread(target=run)
    asking.start()
    try:
        yield answers
    finally:
        done.set()
        asking.join()


def test_a_new_version_is_loaded_once_and_no_request_is_lost(
    server: Server, checkpoints: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = exporter._verify

    def slowly(*arguments: Any) -> Any:
        for _ in range(3):  # The server polls meanwhile, and the working folder changes.
            time.sleep(1.2)
            (folder,) = (server.repository / NAME).glob(f"{triton.WORKING}*")
            (folder / "more").touch()
            (folder / "more").unlink()
        assert server.lines("LOADED") == before
        return verify(*arguments)

    monkeypatch.setattr(exporter, "_verify", slowly)
    before, history = server.lines("LOADED"), [["i1", "i2"]]
    with asked(server, history) as answers:
        export(checkpoints[1], server.repository)
        until(lambda: answers[-1][0] == "2")
        time.sleep(2.5)  # Further polls.
    assert server.lines("LOADED") == [*before, f"{NAME} 2"]
    versions = [version for version, _ in answers]
    assert sorted(versions) == versions and set(versions) == {"1", "2"} and versions[-1] == "2"
    expected = {version: of_client(server, version, history) for version in ("1", "2")}
    assert not is_same(answers[0][1], expected["2"])
    assert all(is_same(found, expected[version]) for version, found in answers)
    assert all(is_same(ask(server, history, version)[1], expected[version]) for version in ("1", "2"))


def test_going_back_to_the_version_before(server: Server, checkpoints: list[Path]) -> None:
    before = server.lines("LOADED")
    shutil.rmtree(server.repository / NAME / "2")
    until(lambda: ask(server, [["i1"]])[0] == "1")
    assert server.lines("LOADED") == before  # It was in memory.
    export(checkpoints[2], server.repository)
    until(lambda: ask(server, [["i1"]])[0] != "1")
    assert ask(server, [["i1"]])[0] == "3"


def test_without_the_backend_only_the_backend_is_missing(installed: Path, server: Server, tmp_path: Path) -> None:
    arguments = command(installed, tmp_path, server.repository, "--allow-grpc=false")
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, timeout=60)
    log = done.stdout + done.stderr
    failures = re.findall(r"failed to load '([\w-]+)' version \d+: (.*)", log)
    assert done.returncode and {name for name, _ in failures} == {path.name for path in server.repository.iterdir()}, log
    assert all("unable to find backend library for backend 'onnxruntime'" in reason for _, reason in failures), log
