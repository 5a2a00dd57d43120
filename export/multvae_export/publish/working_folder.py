"""Writing a file that is complete or not there: beside its target first, renamed when it has passed every check."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PREFIX = ".multvae-export-"


@contextmanager
def working_folder(target: Path) -> Iterator[Path]:
    """A folder beside a target, gone when the block ends.

    A process that is killed leaves its folder behind. Folders that nobody works in any more are removed first: whoever works
    in one holds a lock on it, which the system takes back when the process ends, however it ends.
    """
    parent = target.absolute().parent
    with _locked(parent):
        _remove_abandoned(parent)
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=PREFIX))
        held = _lock(folder, wait=False)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _unlock(held)


def publish(folder: Path, target: Path) -> tuple[Path, ...]:
    """Move what was written from a working folder to its target, and remove the weights of the export that stood there.

    The graph comes last: it names its weights by their contents, so whoever sees it finds them, at every moment.

    Returns:
        The files at their new places.
    """
    parent = target.absolute().parent
    parts = sorted(folder.iterdir(), key=lambda part: part.name == target.name)
    with _locked(parent):
        for part in parts:
            os.replace(part, parent / part.name)
        kept = {part.name for part in parts}
        old = re.compile(re.escape(target.name) + r"(\.[0-9a-f]{16})?\.data")
        for file in parent.iterdir():
            if old.fullmatch(file.name) and file.name not in kept:
                file.unlink(missing_ok=True)
    return tuple(target.parent / part.name for part in parts)


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        held = _lock(folder, wait=False) if folder.is_dir() and not folder.is_symlink() else None
        if held is not None:
            shutil.rmtree(folder, ignore_errors=True)
            _unlock(held)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time: a new folder must be locked before another process takes it for abandoned."""
    held = _lock(folder, wait=True)
    try:
        yield
    finally:
        _unlock(held)


def _lock(folder: Path, wait: bool) -> int | None:
    """Lock a folder; None if another process holds it, or where folders cannot be locked: then nothing is removed."""
    if fcntl is None:
        return None
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(handle)
        return None
    return handle


def _unlock(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)
