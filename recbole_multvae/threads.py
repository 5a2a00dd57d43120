"""How long the threads of a product wait for each other before they give their core away."""

from __future__ import annotations

import os

#: Rounds of waiting: some microseconds. On an idle machine training is as fast as with more, and beside another busy program
#: ten times as fast (benchmarks/JOURNAL.md).
SPINS = 5000


def wait_briefly() -> None:
    """Let waiting threads leave their core to other programs. Call this before torch is imported, which reads it once.

    A training has many small products, and after each one its threads wait for the last of them. GNU OpenMP waits for
    milliseconds by default: where another program is busy too, the waiting thread keeps the core that the last one needs.
    A ``GOMP_SPINCOUNT`` or ``OMP_WAIT_POLICY`` of the user's own is left as it is.
    Source: https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
