"""How long the threads of a matrix product wait for each other before they give their core away."""

from __future__ import annotations

import os

#: Rounds of waiting: some microseconds. On an idle machine training is as fast as with more, and beside a busy program
#: seven times as fast as with GNU OpenMP's default (benchmarks/JOURNAL.md, Beside another program).
SPINS = 5000


def wait_briefly() -> None:
    """Let waiting threads leave their core to other programs. Call this before torch is imported, which reads it once.

    A training has many small products. After each one, the threads that are ready wait for the last thread. By default they
    wait for milliseconds without rest: beside another busy program they keep the core that the last thread needs.
    A ``GOMP_SPINCOUNT`` or ``OMP_WAIT_POLICY`` of the user's own is left as it is.
    Source: https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
