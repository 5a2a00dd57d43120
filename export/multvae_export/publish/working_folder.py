"""Writing a file whole or not at all: first into a folder beside its target, and moved when it has passed every check."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: What the name of a working folder begins with; so many digits follow.
PREFIX, DIGITS = ".multvae-export-", 12


@contextmanager
def working_folder(target: Path, prefix: str = PREFIX) -> Iterator[Path]:
    """A folder beside a target, removed when the block ends.

    A killed process leaves its folder behind. Such folders are removed first. A folder that is in use is locked, and the
    system releases the lock when its process ends, however it ends.
    """
    parent = target.absolute().parent
    with _locked(parent):
        _remove_abandoned(parent, prefix)
        folder = parent / f"{prefix}{secrets.randbelow(10**DIGITS):0{DIGITS}}"
        folder.mkdir()
        lock = _lock(folder, wait=False)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _unlock(lock)


def publish(folder: Path, target: Path) -> tuple[Path, ...]:
    """Move the files of a working folder to the target, and remove the weights of the export that it replaces.

    The graph is moved last. It names the file of its weights by a digest, so at every moment a graph has its weights.

    Returns:
        The files at their new places.
    """
    parent = target.absolute().parent
    parts = sorted(folder.iterdir(), key=lambda part: part.name == target.name)
    with _locked(parent):
        for part in parts:
            os.replace(part, parent / part.name)
        new = {part.name for part in parts}
        weights = re.compile(re.escape(target.name) + r"(\.[0-9a-f]{16})?\.data")
        for file in parent.iterdir():
            if weights.fullmatch(file.name) and file.name not in new:
                file.unlink(missing_ok=True)
    return tuple(target.parent / part.name for part in parts)


def _remove_abandoned(parent: Path, prefix: str) -> None:
    for folder in parent.glob(prefix + DIGITS * "[0-9]"):
        lock = _lock(folder, wait=False) if folder.is_dir() and not folder.is_symlink() else None
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            _unlock(lock)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time: a new working folder must be locked before another process takes it for abandoned."""
    lock = _lock(folder, wait=True)
    try:
        yield
    finally:
        _unlock(lock)


def _lock(folder: Path, wait: bool) -> int | None:
    """Lock a folder. None if another process holds the lock, or where folders cannot be locked: then nothing is removed."""
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


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
