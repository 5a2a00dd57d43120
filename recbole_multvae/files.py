"""Writing files atomically: at every moment there is the old file or the new one, even if the process is killed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(file: str | Path) -> Iterator[str]:
    """A path to write to, which replaces ``file`` if the block ends without an error."""
    part = f"{file}.{secrets.token_hex(4)}.part"  # Machines that train together may share the folder.
    try:
        yield part
        os.replace(part, file)
    finally:
        Path(part).unlink(missing_ok=True)
