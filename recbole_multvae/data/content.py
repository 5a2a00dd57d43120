"""Digests of what files and configurations say, by which the same data are known again."""

from __future__ import annotations

import functools
import glob
import hashlib
import json
from pathlib import Path
from typing import Any


def digest(value: Any) -> str:
    """64 hexadecimal digits that tell values of a configuration apart, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def short_digest(value: Any) -> str:
    """The first eight of them."""
    return digest(value)[:8]


def files_of(dataset: str, data_path: str) -> dict[str, str]:
    """A digest of each file of a data set, by name; none for one that RecBole has not downloaded yet."""
    folder = Path(data_path)
    folder = folder if folder.name == dataset else folder / dataset
    found = {file.name: file for file in sorted(folder.glob(f"{glob.escape(dataset)}*")) if file.is_file()}
    return {name: _content(file, file.stat().st_size, file.stat().st_mtime_ns) for name, file in found.items()}


@functools.cache
def _content(file: Path, size: int, time_ns: int) -> str:
    """A digest of what a file holds, read again when its size or time is another: a copy of it counts as the same."""
    whole = hashlib.sha256()
    with open(file, "rb") as stream:
        while block := stream.read(2**20):
            whole.update(block)
    return whole.hexdigest()
