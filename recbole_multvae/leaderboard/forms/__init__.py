"""The forms of the report: one file each, found by where it lies.

A form is a module with ``FILE``, the name of what it writes, and ``write(report, path)``.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from recbole_multvae.files import atomic_write
from recbole_multvae.leaderboard.report import Report


def write_all(report: Report, folder: Path) -> list[Path]:
    """Write the report in every form, each file beside its place and renamed when it is whole. Returns their paths."""
    files = []
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda found: found.name):
        form = importlib.import_module(f"{__name__}.{found.name}")
        with atomic_write(folder / form.FILE) as part:
            form.write(report, Path(part))
        files.append(folder / form.FILE)
    return files
