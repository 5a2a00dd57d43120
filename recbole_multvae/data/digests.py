"""Digests of files and of configurations, which tell whether data or settings have changed."""

from __future__ import annotations

import functools
import glob
import hashlib
import json
from pathlib import Path
from typing import Any


def digest(value: Any) -> str:
    """The SHA-256 of values of a configuration, 64 hexadecimal digits. The order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def short_digest(value: Any) -> str:
    """The first eight digits of :func:`digest`."""
    return digest(value)[:8]


def files_of(dataset: str, data_path: str) -> dict[str, str]:
    """A digest of each file of a data set, by file name; empty if RecBole has not downloaded it yet."""
    folder = Path(data_path)
    folder = folder if folder.name == dataset else folder / dataset
    files = [file for file in sorted(folder.glob(f"{glob.escape(dataset)}*")) if file.is_file()]
    return {file.name: content_digest(file) for file in files}


def content_digest(file: Path) -> str:
    """The SHA-256 of a file's content. The file is read again only if its size or its time changed.

    Raises:
        OSError: the file cannot be read.
    """
    return _content_digest(file, file.stat().st_size, file.stat().st_mtime_ns)


@functools.cache
def _content_digest(file: Path, size: int, time_ns: int) -> str:
    sha = hashlib.sha256()
    with open(file, "rb") as stream:
        while block := stream.read(2**20):
            sha.update(block)
    return sha.hexdigest()
