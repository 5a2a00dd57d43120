"""What the commands share: how they end with an error."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

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
