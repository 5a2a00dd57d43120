"""What the commands share: which of several checkpoints is meant, and how a command ends with an error."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from multvae_export.errors import ExportError

INTERRUPTED = 130


def run_command(action: Callable[[], None], verbose: bool = False) -> int:
    """Run a command; an error of ours or of the file system ends it with one sentence. Returns the exit code."""
    try:
        action()
    except (ExportError, OSError) as error:
        if verbose:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; nothing was written.", file=sys.stderr)
        return INTERRUPTED
    return 0


def newest(paths: Sequence[str]) -> str:
    """The file that was changed last, as ``saved/MultVAE-*.pth`` names all there are; a missing file is the oldest."""
    return max(paths, key=lambda path: Path(path).stat().st_mtime if Path(path).exists() else 0)
