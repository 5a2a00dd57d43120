"""How a command ends: with exit code 0, or with one sentence on stderr and another exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

from recbole_multvae.compatibility import ignore_recbole_deprecations
from recbole_multvae.errors import MultVAEError

#: The exit code of a user's mistake.
MISTAKE = 1
#: The exit code after Ctrl-C: 128 + SIGINT, as shells have it.
INTERRUPTED = 130


def run_command(work: Callable[[], None]) -> int:
    """Do the work of a command and return its exit code. Only a user's mistake is shown without a traceback."""
    ignore_recbole_deprecations()
    try:
        work()
    except MultVAEError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or "Interrupted.", file=sys.stderr)
        return INTERRUPTED
    return 0
