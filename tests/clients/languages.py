"""The clients: what each needs of a machine, how it is installed and tested, and what its report says of a golden case."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import recbole

FOLDER = Path(__file__).parents[2] / "export/clients"
#: As in each package.json, go.mod, Cargo.toml and pom.xml.
NODE_VERSION = (20, 11)
GO_VERSION = (1, 26)
RUST_VERSION = (1, 92)
JAVA_VERSION = (17,)
CHROMIUM = "/usr/bin/chromium"
#: Where Debian and others put headers.
HEADERS = (Path("/usr/include"), Path("/usr/local/include"))

Missing = Callable[[], Iterator[str]]


def junit(report: str) -> int:
    """How many golden cases a JUnit report lists as passed."""
    cases = ElementTree.fromstring(report).iter("testcase")
    return sum(case.get("name", "").startswith(("golden: ", "test_golden[")) and len(case) == 0 for case in cases)


def lines(pattern: str) -> Callable[[str], int]:
    """How many lines say that a golden case passed."""
    return lambda report: len(re.findall(pattern, report, re.MULTILINE))


@dataclass(frozen=True)
class Client:
    """How a client is tested.

    Attributes:
        missing: what its test needs and this machine lacks.
        commands: run one after the other in its folder; in the last ``{report}`` is the path of the report.
        passed: how many golden cases a report, or without one what was printed, says have passed.
        report: where the report lies in the client's folder, where it cannot be given.
        variables: of the environment; in these ``{library}`` is onnxruntime's library, ``{root}`` a folder that has it and
            its header, as onnxruntime's release archive, and ``{ml_100k}`` the data set's folder in RecBole's package.
        fits: whether a golden case is for the client.
    """

    missing: Missing
    commands: tuple[tuple[str, ...], ...]
    passed: Callable[[str], int] = junit
    report: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    fits: Callable[[dict[str, Any]], bool] = lambda case: True

    def environment(self, folder: Path) -> dict[str, str]:
        """The variables with their values; what ``{root}`` stands for is made in an empty folder."""
        given = {"library": str(library()), "ml_100k": str(Path(recbole.__path__[0]) / "dataset_example" / "ml-100k")}
        if "{root}" in self.variables.values():
            given["root"] = str(release(folder))
        return {name: value.format(**given) for name, value in self.variables.items()}


def programs(*names: str) -> Iterator[str]:
    return (name for name in names if shutil.which(name) is None)


def newer(program: str, flag: str, wanted: tuple[int, ...]) -> Iterator[str]:
    """The program, if it is not there or older than wanted."""
    said = subprocess.run([program, flag], capture_output=True, text=True).stdout if shutil.which(program) else ""
    found = re.search(r"\d+(\.\d+)*", said)
    if found is None or tuple(map(int, found[0].split("."))) < wanted:
        yield f"{program} {'.'.join(map(str, wanted))} or newer"


def library() -> Path | None:
    """onnxruntime's library, as Python's package has it."""
    found = importlib.util.find_spec("onnxruntime")
    folder = Path(found.origin).parent / "capi" if found and found.origin else Path()
    return next(iter(folder.glob("libonnxruntime.*.dylib")), next(iter(folder.glob("libonnxruntime.so.*")), None))


def release(folder: Path) -> Path:
    """A folder as onnxruntime's release archive has it: the header lies in the source of the Go module."""
    module = "github.com/yalue/onnxruntime_go"
    subprocess.run(["go", "mod", "download", module], cwd=FOLDER / "go", check=True)
    found = subprocess.check_output(["go", "list", "-m", "-f", "{{.Dir}}", module], cwd=FOLDER / "go", text=True)
    for part in ("include", "lib"):
        (folder / part).mkdir()
    for header in Path(found.strip()).glob("onnxruntime*_c_api.h"):
        (folder / "include" / header.name).symlink_to(header)
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / "lib" / name).symlink_to(str(library()))
    return folder


def _library() -> Iterator[str]:
    if library() is None:
        yield "onnxruntime's library in the Python package"


def _python() -> Iterator[str]:
    if importlib.util.find_spec("onnxruntime") is None:
        yield "the Python package onnxruntime"


def _node() -> Iterator[str]:
    yield from newer("node", "--version", NODE_VERSION)
    yield from programs("npm")


def _web() -> Iterator[str]:
    yield from _node()
    if not Path(CHROMIUM).exists():
        yield CHROMIUM


def _java() -> Iterator[str]:
    yield from newer("java", "--version", JAVA_VERSION)
    yield from programs("javac", "mvn")


def _go() -> Iterator[str]:
    yield from newer("go", "version", GO_VERSION)
    yield from programs("gcc")
    yield from _library()


def _rust() -> Iterator[str]:
    yield from newer("cargo", "--version", RUST_VERSION)
    yield from _library()


def _cpp() -> Iterator[str]:
    yield from programs("cmake", "c++", "go")  # onnxruntime's header lies in the source of the Go module.
    for header in ("gtest/gtest.h", "nlohmann/json.hpp"):
        if not any((folder / header).exists() for folder in HEADERS):
            yield header
    yield from _library()


def _spark() -> Iterator[str]:
    yield from newer("java", "--version", JAVA_VERSION)


def _of_all_rows(case: dict[str, Any]) -> bool:
    """Whether a case has no noise, and lists for all its rows only."""
    return "noise" not in case and all(len(case.get(name, [])) < 2 for name in ("exclude", "among"))


_NODE_TEST = (
    *("node", "--test", "--test-reporter=spec", "--test-reporter-destination=stdout"),
    *("--test-reporter=junit", "--test-reporter-destination={report}"),
)
CLIENTS = {
    "python": Client(_python, (("{python}", "-m", "pytest", "-q", "--junitxml={report}", "test_recommend.py"),)),
    "node": Client(_node, ((*_NODE_TEST, "recommend.test.mjs"),)),
    "web": Client(_web, ((*_NODE_TEST, "web.test.mjs"),)),
    "java": Client(
        _java,
        (("mvn", "--quiet", "--batch-mode", "test"),),
        report="target/surefire-reports/TEST-multvae.RecommenderTest.xml",
    ),
    "go": Client(
        _go,
        (("go", "test", "-v", "./..."),),
        passed=lines(r"^ *--- PASS: TestGolden/"),
        variables={"ONNXRUNTIME_LIB": "{library}"},
    ),
    "rust": Client(
        _rust,
        (("cargo", "test", "--locked", "--test", "golden"),),
        passed=lines(r"^test golden: .* ok$"),
        variables={"ORT_DYLIB_PATH": "{library}"},
    ),
    "cpp": Client(
        _cpp,
        (
            ("cmake", "-S", ".", "-B", "build", "-U", "ONNXRUNTIME_*", "-DCMAKE_BUILD_TYPE=Debug"),
            ("cmake", "--build", "build", "--target", "test_recommend"),
            ("build/test_recommend", "--gtest_output=xml:{report}"),
        ),
        variables={"ONNXRUNTIME_ROOT": "{root}"},
    ),
    "spark": Client(
        _spark,
        (
            ("{python}", "-m", "venv", ".venv"),
            (".venv/bin/pip", "install", "--quiet", "--requirement", "requirements.txt"),
            (".venv/bin/python", "-m", "pytest", "-q", "--junitxml={report}", "test_score.py"),
        ),
        variables={"ML_100K": "{ml_100k}"},
        fits=_of_all_rows,
    ),
}
#: Those that take minutes: `make test-clients` runs them, `make test` does not.
SLOW = ("spark",)
