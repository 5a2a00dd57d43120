"""The forms of the report, such as HTML and CSV: one module each. A module in this folder is a form, and no list names it.

A form has ``FILE``, the name of its file, and ``write(report, path)``.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from recbole_multvae.files import atomic_write
from recbole_multvae.leaderboard.report import Report


def write_all(report: Report, folder: Path) -> list[Path]:
    """Write the report in every form. Each file replaces the former one only when it is complete. Returns the paths."""
    files = []
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        form = importlib.import_module(f"{__name__}.{name}")
        with atomic_write(folder / form.FILE) as part:
            form.write(report, Path(part))
        files.append(folder / form.FILE)
    return files
