"""Each client's own test, where its tools are present; under CI a missing tool is a failure."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from filelock import FileLock

from tests.clients.languages import CLIENTS, FOLDER, SLOW

GOLDEN = json.loads((FOLDER / "golden.json").read_text(encoding="utf-8"))
CASES = [case for part in (GOLDEN, GOLDEN["options"], GOLDEN["ids"]) for case in part["cases"]]


def require(client: str) -> None:
    """Skip what a machine without the client's tools cannot run."""
    if lacking := ", ".join(CLIENTS[client].missing()):
        leave_out(f"missing {lacking}")


def leave_out(why: str) -> NoReturn:
    """Skip a test; under CI it fails."""
    if os.environ.get("CI"):
        pytest.fail(f"not run: {why}", pytrace=False)
    pytest.skip(f"not run: {why}")


def install(folder: Path) -> None:
    """Bring the npm packages to what the lock file says, unless they are there."""
    installed, wanted = folder / "node_modules/.package-lock.json", folder / "package-lock.json"
    if not wanted.exists():
        return
    with FileLock(folder / "node_modules.lock"):
        if not installed.exists() or installed.stat().st_mtime < wanted.stat().st_mtime:
            run(("npm", "ci", "--no-audit", "--no-fund"), folder, ONNXRUNTIME_NODE_INSTALL="skip")


def install_package(package: str, folder: Path, *flags: str) -> None:
    """Install a Python package, with its version, into a folder; leave the test out if it cannot be had."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), *flags, package]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        leave_out(f"{package} cannot be installed: {done.stderr.strip().splitlines()[-1]}")


def address_of(service: subprocess.Popen[str]) -> str:
    """The address of the service in Go that has just been started, once it is ready; its log is a pipe of text."""
    assert service.stderr is not None
    log = ""
    while not (ready := re.search(r"msg=ready addr=(\S+)", log)):
        line = service.stderr.readline()
        assert line, log
        log += line
    return ready[1]


def run(command: tuple[str, ...], folder: Path, **variables: str) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=900,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


@pytest.mark.parametrize("client", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in CLIENTS])
def test_client(client: str, record_property: Callable[[str, object], None], tmp_path: Path) -> None:
    tested, folder, report = CLIENTS[client], FOLDER / client, tmp_path / "report"
    if lacking := ", ".join(tested.missing()):
        record_property(client, f"not run: missing {lacking}")
    require(client)
    record_property(client, "failed")
    install(folder)
    variables = tested.environment(tmp_path)
    for command in tested.commands:
        said = run(tuple(part.format(report=report, python=sys.executable) for part in command), folder, **variables)
    report = folder / tested.report if tested.report else report
    passed = tested.passed(report.read_text("utf-8") if report.exists() else said)
    assert passed == sum(map(tested.fits, CASES)), said
    record_property(client, f"ran {passed} golden cases")
