"""Which Python `make` takes: the newest that is supported and works, and a sentence where there is none."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

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
