"""The versions in the clients' README are those that the build files fix, and no older than what these need."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clients.languages import FOLDER, GO_VERSION, JAVA_VERSION, NODE_VERSION, RUST_VERSION

README = (FOLDER / "README.md").read_text("utf-8")
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
PACKAGES = r"^onnxruntime==(\S+) ; python_full_version >= '3.11'"
POM = r"<artifactId>\$\{onnxruntime\}</artifactId>\s*<version>(.+?)</version>"
#: Client, what its row names, and the file and the text in it that fix that version.
FIXED = [
    *((client, "onnxruntime", CONSTRAINTS, PACKAGES) for client in ("Python", "Go", "Rust", "C++")),
    ("Java", "onnxruntime", FOLDER / "java/pom.xml", POM),
    ("Node.js", "onnxruntime", FOLDER / "node/package.json", r'"onnxruntime-node": "(.+?)"'),
    ("browser", "onnxruntime", FOLDER / "web/package.json", r'"onnxruntime-web": "(.+?)"'),
    ("Spark", "onnxruntime", FOLDER / "spark/requirements.txt", r"^onnxruntime==(\S+)"),
    ("Spark", "PySpark", FOLDER / "spark/requirements.txt", r"^pyspark==(\S+)"),
    ("Go", "onnxruntime_go", FOLDER / "go/go.mod", r"onnxruntime_go v(\S+)"),
    ("Rust", "ort", FOLDER / "rust/Cargo.toml", r'^ort = \{ version = "=(.+?)"'),
]
#: Language, client, the file and the text in it with the oldest version that it takes, and that which the tests demand.
OLDEST = [
    ("Java", "Java", FOLDER / "java/pom.xml", r"<maven.compiler.release>(.+?)<", JAVA_VERSION),
    ("Go", "Go", FOLDER / "go/go.mod", r"^go (\d+\.\d+)", GO_VERSION),
    ("Rust", "Rust", FOLDER / "rust/Cargo.toml", r'^rust-version = "(.+?)"', RUST_VERSION),
    ("Node.js", "Node.js", FOLDER / "node/package.json", r'"node": ">=(.+?)"', NODE_VERSION),
]


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    assert match, pattern
    return match[1]


def version_of(client: str, part: str) -> str:
    """The version of a part in a client's row under "Versions"."""
    row = found(rf"^\| {re.escape(client)} (\|.+)$", README.split("## Versions")[1])
    return found(r"^\| (\S+)" if part == "onnxruntime" else rf"[|,] {re.escape(part)} ([^,\s]+)", row)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


@pytest.mark.parametrize(("client", "part", "file", "pattern"), FIXED)
def test_a_client_was_tested_with_what_is_fixed(client: str, part: str, file: Path, pattern: str) -> None:
    assert version_of(client, part) == found(pattern, file.read_text("utf-8"))


@pytest.mark.parametrize(("language", "client", "file", "pattern", "demanded"), OLDEST)
def test_a_client_was_tested_with_no_older_language(
    language: str, client: str, file: Path, pattern: str, demanded: tuple[int, ...]
) -> None:
    oldest = numbers(found(pattern, file.read_text("utf-8")))
    assert oldest == demanded <= numbers(version_of(client, language))
    assert f"{language} {'.'.join(map(str, oldest))}" in found(rf"^\| \[{re.escape(client)}\](.+)$", README)
