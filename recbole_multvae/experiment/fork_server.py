"""Processes that begin with everything imported: a server imports it once and forks them, on systems that can."""

from __future__ import annotations

import multiprocessing
from typing import Any

#: Unlike fork it suits CUDA, as the server only imports. Without it each process imports everything.
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
#: torch imports this when it makes the first optimizer: 1.7 s of each process, most of what a small run takes.
_LATE_IMPORT = "torch._dynamo"


def prepared(module: str) -> Any:
    """The context of ``multiprocessing`` for processes that need a module, which the server imports when it starts."""
    context = multiprocessing.get_context(METHOD)
    context.set_forkserver_preload([module, _LATE_IMPORT])
    return context
