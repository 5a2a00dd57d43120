"""Where runs take place, several at a time: on this machine (``--jobs``) or on a Ray cluster (``--ray``)."""

from __future__ import annotations

import os
import warnings
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Protocol

from recbole_multvae.errors import ConfigurationError
from recbole_multvae.leaderboard.local_jobs import LocalJobs
from recbole_multvae.leaderboard.run_inputs import Measure, Run, RunInputs


class Jobs(Protocol):
    """Performs runs. Its methods are called from several threads, one for each run."""

    @property
    def number(self) -> int:
        """How many runs there may be at a time."""

    def place(self, row: str) -> AbstractContextManager[None]:
        """The time in which a run of a row takes place; before it begins, this waits for others to end."""

    def learn(self, run: Run) -> None:
        """Remember from the result of a run what the next ones of its row need."""

    def run(self, inputs: RunInputs, measure: Measure) -> Run:
        """Perform a run in a process of its own. The result and the log are in their files when this returns."""

    def stop(self) -> None:
        """End all runs; no run begins any more."""


def start_jobs(number: int | None, ray: str | None) -> Jobs:
    """The jobs that a command line asks for.

    Args:
        number: ``--jobs``, how many at a time; None: as many as the machine or the cluster allows.
        ray: ``--ray``, the address of a Ray cluster; None: on this machine.

    Raises:
        ConfigurationError: the package ray is missing, nobody answers at the address, or the nodes do not suit.
    """
    if ray is None:
        return LocalJobs(number)
    if find_spec("ray") is None:
        raise ConfigurationError(
            f"--ray={ray} needs the package ray, which is not installed: install this package with [ray]."
        )
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "2")  # Ray asks 20 times for a cluster that is gone, for minutes.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own: it imports what other packages have deprecated.
        from recbole_multvae.leaderboard.ray_jobs import RayJobs

        return RayJobs(ray, number)
