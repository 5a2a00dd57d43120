"""A data set's folder that is either complete or absent: it is made in a hidden folder and then renamed in one step.

Other files of a folder that exists already are kept. A killed process leaves its unfinished folder behind; the next import
of the same name removes it.
"""

from __future__ import annotations

import ctypes
import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from recbole_multvae.errors import ConfigurationError, DataError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: The old data set in a working folder. No data set has a name that begins with a dot.
_OLD = ".old"
#: Flags of Linux's renameat2: it exchanges two folders, with paths relative to the working folder.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def check_name(name: str) -> None:
    """Refuse a name that no data set can have.

    Raises:
        ConfigurationError: the name has a slash or the like, or is that of RecBole's own data.
    """
    if not name or set(name) & set('/\\\0\n\r\t,"') or name[0] in ".-" or name != name.strip():
        raise ConfigurationError(
            f"The data set cannot be named {name!r}: expected a name without slashes, such as mine; --dataset-path says "
            "where its folder will be."
        )
    if name == "ml-100k":
        raise ConfigurationError(
            "The data set cannot be named ml-100k: RecBole reads its own files for it; choose another name."
        )


@contextmanager
def new_files(data_path: Path, name: str, names: Sequence[str], overwrite: bool) -> Iterator[Path]:
    """A folder to write a data set's files into. It becomes the data set's folder if the block ends without an error.

    Args:
        data_path: the folder of all data sets.
        name: of the data set.
        names: the files that will be written.
        overwrite: whether they may exist already.

    Raises:
        DataError: the files exist already, or the folder cannot be written.
    """
    target = (data_path / name).resolve()
    try:
        with _made(target.parent), _working_folder(target) as folder:
            _check_target(data_path / name, name, names, overwrite)
            yield folder
            _publish(folder, target, names)
    except OSError as error:
        raise DataError(f"Cannot write {data_path / name} ({error.strerror or error}): look at its folder.") from None


def _check_target(target: Path, name: str, names: Sequence[str], overwrite: bool) -> None:
    if target.exists() and not target.is_dir():
        raise DataError(f"{target} is a file: remove it, or choose another name for the data set.")
    existing = [file for file in (f"{name}.inter", f"{name}.item") if os.path.lexists(target / file)]
    if existing and not overwrite:
        raise DataError(f"{target / existing[0]} exists already: add --overwrite, or choose another name.")
    if stale := [file for file in existing if file not in names]:
        raise DataError(f"{target / stale[0]} is of an older import: add --items to replace it too, or remove it.")


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder, and remove it again if the block fails."""
    new = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # Another process may use it already.
            for parent in new:
                parent.rmdir()
        raise


@contextmanager
def _working_folder(target: Path) -> Iterator[Path]:
    """A folder that will become the target, inside a hidden one that is removed when the block ends."""
    parent = _lock(target.parent, wait=True)  # Until the new folder is locked, another import would remove it.
    try:
        _remove_abandoned(target)
        hidden = Path(tempfile.mkdtemp(dir=target.parent, prefix=_prefix(target)))
        lock = _lock(hidden)
    finally:
        _unlock(parent)
    try:
        (hidden / target.name).mkdir()
        yield hidden / target.name
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        _unlock(lock)


def _publish(new: Path, target: Path, names: Sequence[str]) -> None:
    if not target.exists():
        os.rename(new, target)
        return

    def replaced_files(folder: str, _: list[str]) -> list[str]:
        return [*names] if folder == str(target) else []

    shutil.copytree(target, new, symlinks=True, ignore=replaced_files, copy_function=_link, dirs_exist_ok=True)
    if not _exchange(new, target):
        _exchange_in_two_steps(new, target)


def _link(source: str, place: str) -> None:
    try:
        os.link(source, place, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, place, follow_symlinks=False)


def _exchange(folder: Path, other: Path) -> bool:
    """Exchange two folders in one step; False if the system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    paths = os.fsencode(folder), os.fsencode(other)
    return rename is not None and rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0


def _exchange_in_two_steps(new: Path, target: Path) -> None:
    """Exchange two folders with a moment between. If the process is killed then, the next import restores the old one."""
    old = new.with_name(_OLD)
    os.rename(target, old)
    try:
        os.rename(new, target)
    except BaseException:
        os.rename(old, target)
        raise


def _prefix(target: Path) -> str:
    return f".{target.name}.import-"


def _remove_abandoned(target: Path) -> None:
    """Remove the folders of killed processes. A running process holds a lock on its folder."""
    for folder in target.parent.glob(f"{glob.escape(_prefix(target))}*"):
        lock = _lock(folder)
        if lock is not None:
            if (folder / _OLD).is_dir() and not target.exists():
                os.rename(folder / _OLD, target)
            shutil.rmtree(folder, ignore_errors=True)
            _unlock(lock)


def _lock(folder: Path, wait: bool = False) -> int | None:
    """Lock a folder. None if another process holds the lock, or if the system cannot lock folders."""
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(handle)
        return None
    return handle


def _unlock(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)
