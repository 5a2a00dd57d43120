"""Writing a folder whole or not at all: a complete folder takes the place of the old one in one step."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from multvae_export.errors import OptionError

#: Of Linux: paths from the working folder; exchange two paths (include/uapi/linux/fcntl.h and fs.h).
AT_FDCWD, RENAME_EXCHANGE = -100, 2


def check_folder(target: Path, option: str, names: Sequence[str]) -> None:
    """Refuse a target whose replacement would lose something.

    Args:
        target: the folder to write.
        option: that names it.
        names: what a folder of the exporter holds, as patterns.

    Raises:
        OptionError: it is a file, its parent is missing, or it holds something else.
    """
    if not target.resolve().parent.is_dir():
        raise OptionError(f"cannot write {target}: there is no folder {target.resolve().parent}.")
    if target.exists() and not target.is_dir():
        raise OptionError(f"{option}={target} is a file: expected a folder, which is written.")
    held = sorted(path.name for path in target.iterdir()) if target.is_dir() else []
    if foreign := [name for name in held if not any(fnmatch(name, pattern) for pattern in names)]:
        raise OptionError(f"{option}={target} holds {foreign[0]}, which would be lost: name a new folder.")


def replace_folder(new: Path, target: Path) -> None:
    """Move a complete folder to its target. An old one there is then where the new one was, or beside it as ``old``.

    Whatever happens, the target is the old folder or the new one. Only where the system cannot exchange two folders (other
    systems than Linux, some network file systems) it is missing for a moment.
    """
    if not target.exists():
        new.rename(target)
    elif not _exchange(new, target):
        old = target.rename(new.with_name("old"))
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step. False where the system cannot: Python has no call for it."""
    call = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    paths = os.fsencode(one), os.fsencode(other)
    return call is not None and call(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE) == 0
