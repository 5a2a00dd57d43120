"""Each client's own test, where its runtime is present; under CI a missing runtime is a failure."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from filelock import FileLock

from tests.conftest import CLIENTS

FOLDER = Path(__file__).parents[2] / "export/clients"
CHROMIUM = "/usr/bin/chromium"
NODE_VERSION = (20, 11)  # As in each package.json; older ones cannot write the report below.
PYTEST = (sys.executable, "-m", "pytest", "-q", "--junitxml={report}")
NODE = (
    *("node", "--test", "--test-reporter=spec", "--test-reporter-destination=stdout"),
    *("--test-reporter=junit", "--test-reporter-destination={report}"),
)
COMMANDS = {"python": (*PYTEST, "test_recommend.py"), "node": (*NODE, "recommend.test.mjs"), "web": (*NODE, "web.test.mjs")}


def missing(client: str) -> Iterator[str]:
    """What the client's test needs and this machine lacks."""
    if client == "python":
        if importlib.util.find_spec("onnxruntime") is None:
            yield "the Python package onnxruntime"
        return
    if shutil.which("node") is None or node_version() < NODE_VERSION:
        yield "node {}.{} or newer".format(*NODE_VERSION)
    if shutil.which("npm") is None:
        yield "npm"
    if client == "web" and not Path(CHROMIUM).exists():
        yield CHROMIUM


def node_version() -> tuple[int, ...]:
    return tuple(map(int, run(["node", "--version"], FOLDER).stdout.strip("v\n").split(".")))


def install(folder: Path) -> subprocess.CompletedProcess[str] | None:
    """Bring the npm packages to what the lock file says, unless they are there."""
    installed, wanted = folder / "node_modules/.package-lock.json", folder / "package-lock.json"
    if not wanted.exists():
        return None
    with FileLock(folder / "node_modules.lock"):
        if installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime:
            return None
        return run(["npm", "ci", "--no-audit", "--no-fund"], folder, ONNXRUNTIME_NODE_INSTALL="skip")


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=600,
    )


def golden_cases_passed(report: Path) -> int:
    """How many golden cases a JUnit report lists as passed."""
    cases = ElementTree.parse(report).iter("testcase")
    return sum(case.get("name", "").startswith(("golden: ", "test_golden[")) and len(case) == 0 for case in cases)


@pytest.mark.parametrize("client", CLIENTS)
def test_client(client: str, record_property: Callable[[str, object], None], tmp_path: Path) -> None:
    if lacking := ", ".join(missing(client)):
        record_property(client, why := f"not run: missing {lacking}")
        if os.environ.get("CI"):
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    record_property(client, "failed")
    report = tmp_path / "report.xml"
    installed = install(FOLDER / client)
    assert installed is None or installed.returncode == 0, installed.stdout
    tested = run([part.format(report=report) for part in COMMANDS[client]], FOLDER / client)
    assert tested.returncode == 0, tested.stdout
    passed = golden_cases_passed(report)
    golden = json.loads((FOLDER / "golden.json").read_text(encoding="utf-8"))
    assert passed == sum(len(part["cases"]) for part in (golden, golden["options"], golden["ids"]))
    record_property(client, f"ran {passed} golden cases")
