"""Which of several checkpoints a command means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def newest(paths: Sequence[str]) -> str:
    """The file that was changed last: ``saved/MultVAE-*.pth`` names all checkpoints. A missing file counts as the oldest.

    Where there are several, it is printed which one is used.
    """
    path = max(paths, key=lambda path: Path(path).stat().st_mtime if Path(path).exists() else 0)
    if len(paths) > 1:
        print(f"Of {len(paths)} checkpoints the newest is used: {path}")
    return path
