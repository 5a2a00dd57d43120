"""Which Python `make` takes: the newest that is supported and works, and a sentence where there is none."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAKE = shutil.which("make") or "make"


def make(folder: Path, *arguments: str, **pythons: int) -> subprocess.CompletedProcess[str]:
    """Run make where these programs, of an exit code each, or else the real python3, are all that the machine has."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    programs = folder / "programs"
    programs.mkdir()
    for name, code in pythons.items():
        program = programs / name.replace("_", ".")
        program.write_text(f"#!/bin/sh\nexit {code}\n")
        program.chmod(0o755)
    if not pythons:
        (programs / "python3").symlink_to(Path(sys.executable).resolve())
    command = [MAKE, "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=folder, env={"PATH": str(programs)}, capture_output=True, text=True)


def test_newest_that_works_is_taken(tmp_path: Path) -> None:
    done = make(tmp_path, "--dry-run", "demo", python3_14=1, python3_12=0, python3_11=0, python3=0)
    assert f"\n{tmp_path}/programs/python3.12 -m venv" in done.stdout


def test_python3_is_taken_where_it_is_the_only_name(tmp_path: Path) -> None:
    assert f"\n{tmp_path}/programs/python3 -m venv" in make(tmp_path, "--dry-run", "test").stdout


def test_no_python_is_one_sentence(tmp_path: Path) -> None:
    done = make(tmp_path, "demo", python3_14=1, python3=1)
    assert done.returncode == 2 and not (tmp_path / ".venv").exists()
    assert done.stderr.splitlines()[0] == (
        "This needs Python 3.10 to 3.14 with its module venv (on Debian and Ubuntu: python3 and python3-venv), "
        "and found none: install one, or name one with PYTHON=/path/to/python3."
    )


def test_python_that_is_named_and_unfit_is_one_sentence(tmp_path: Path) -> None:
    done = make(tmp_path, "demo", "PYTHON=python3.9", python3_9=1, python3_12=0)
    assert done.returncode == 2
    assert "and found python3.9: install one" in done.stderr.splitlines()[0]


#: A Python for the Makefile: with its own standard library, an environment that it makes holds it, and it installs nothing.
FAKE = """#!/bin/sh
case "$1 $2" in
"-m venv") rm -rf "$4"; mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; cp "$0.library" "$4/bin/python.library" ;;
"-c import os"*) cat "$0.library" ;;
esac
"""


def fake(path: Path, library: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FAKE)
    path.chmod(0o755)
    path.with_name(f"{path.name}.library").write_text(f"{library}\n")
    return path


def install(folder: Path, target: str = ".venv/installed", named: str | None = None, *arguments: str) -> str:
    """What make says of the installation, with the Python that the environment names, or else the newest: python3.12."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        if not (folder / name).exists():
            shutil.copy(ROOT / name, folder)
    fake(folder / "programs/python3.12", "/twelve/os.py")
    variables = {
        "PATH": f"{folder}/programs:/usr/bin:/bin",
        "HOME": str(folder),
        **({} if named is None else {"PYTHON": named}),
    }
    command = [MAKE, "--no-print-directory", target, *arguments]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def library_of(environment: Path) -> str:
    return (environment / "bin/python.library").read_text().strip()


@pytest.mark.parametrize("environment", [".venv", ".venv-newest"])
def test_python_that_is_named_is_taken_from_the_environment_and_from_after_make(tmp_path: Path, environment: str) -> None:
    named = str(fake(tmp_path / "my python/3", "/mine/os.py"))
    assert f"Installing into {environment} with {named}" in install(tmp_path, f"{environment}/installed", named)
    assert library_of(tmp_path / environment) == "/mine/os.py"
    shutil.rmtree(tmp_path / environment)
    assert f"with {named}" in install(tmp_path, f"{environment}/installed", None, f"PYTHON={named}")
    assert library_of(tmp_path / environment) == "/mine/os.py"


def test_after_make_wins_over_the_environment_and_an_empty_name_is_none(tmp_path: Path) -> None:
    one, other = fake(tmp_path / "one", "/one/os.py"), fake(tmp_path / "other", "/other/os.py")
    assert f"with {other}:" in install(tmp_path, ".venv/installed", str(one), f"PYTHON={other}")
    shutil.rmtree(tmp_path / ".venv")
    assert f"with {tmp_path}/programs/python3.12:" in install(tmp_path, ".venv/installed", "")


@pytest.mark.parametrize("environment", [".venv", ".venv-newest"])
def test_environment_of_another_python_than_is_named_is_made_again(tmp_path: Path, environment: str) -> None:
    target, named = f"{environment}/installed", str(fake(tmp_path / "python", "/mine/os.py"))
    twelve = str(tmp_path / "programs/python3.12")
    install(tmp_path, target)
    assert "is up to date" in install(tmp_path, target)
    assert "is up to date" in install(tmp_path, target, twelve)
    said = install(tmp_path, target, named)
    assert f"The environment in {environment} is of another Python than {named}: it is made again." in said
    assert library_of(tmp_path / environment) == "/mine/os.py"
    assert "is up to date" in install(tmp_path, target, named)
    assert "is up to date" in install(tmp_path, target, f"{environment}/bin/python")
    assert "is up to date" in install(tmp_path, target)


def test_python_that_is_named_and_missing_leaves_the_environment_alone(tmp_path: Path) -> None:
    install(tmp_path)
    variables = {"PATH": "/usr/bin:/bin", "PYTHON": "/no/python"}
    done = subprocess.run([MAKE, "demo"], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.returncode == 2 and "and found /no/python: install one" in done.stderr.splitlines()[0]
    assert library_of(tmp_path / ".venv") == "/twelve/os.py"


def test_standard_library_tells_of_which_python_an_environment_is() -> None:
    """Of this test's own environment and of the Python that made it, by whatever link it is called."""
    question = "import os; print(os.path.realpath(os.__file__))"
    assert question in (ROOT / "Makefile").read_text()
    base = str(Path(sys.executable).resolve())
    found = {subprocess.check_output([python, "-c", question], text=True) for python in (sys.executable, base)}
    assert len(found) == 1
