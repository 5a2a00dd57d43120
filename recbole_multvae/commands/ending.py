"""What the commands have in common: how they end."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

from recbole_multvae.errors import MultVAEError


def ignore_recbole_s_deprecations() -> None:
    """Deprecations inside RecBole are nothing that a user of the command could mend."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")


def run_command(work: Callable[[], None]) -> int:
    """Do the work of a command. A user's mistake is one sentence on stderr. Returns the exit code."""
    ignore_recbole_s_deprecations()
    try:
        work()
    except MultVAEError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
