"""How a command ends: with exit code 0, or with one sentence on stderr and another exit code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

from recbole_multvae.errors import MultVAEError

#: The exit code of a user's mistake.
MISTAKE = 1
#: The exit code after Ctrl-C: 128 + SIGINT, as shells have it.
INTERRUPTED = 130


def ignore_recbole_deprecations() -> None:
    """Hide the deprecation warnings of RecBole's own code: a user of the command cannot mend them."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")


def run_command(work: Callable[[], None]) -> int:
    """Do the work of a command and return its exit code. Any error but a user's mistake keeps its traceback."""
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
