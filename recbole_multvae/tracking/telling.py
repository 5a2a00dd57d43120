"""Telling a tracker, whose errors cost neither a training nor a report."""

from __future__ import annotations

import sys
import textwrap
import threading
from collections.abc import Callable
from typing import TypeVar

from recbole.config import Config

from recbole_multvae.errors import ConfigurationError, TrackingError
from recbole_multvae.tracking import tracker_class
from recbole_multvae.tracking.base import Tracker

_T = TypeVar("_T")
_LONGEST = 300


class Telling:
    """A tracker, or nobody. After its first error, which is printed at once, it is told nothing more.

    Args:
        name: of the tracker; None: nobody is told.
        config: RecBole's, of one of the runs.

    Raises:
        ConfigurationError: there is no such tracker, its package is missing, or RecBole tells it already.
    """

    def __init__(self, name: str | None, config: Config) -> None:
        self._name, self._error = name, ""
        self._lock = threading.Lock()
        self._tracker: Tracker | None = None
        if name is None:
            return
        cls = tracker_class(name)
        if cls.rival and config[cls.rival]:
            raise ConfigurationError(f"--track={name} and {cls.rival}=True say the same thing: leave one of them out.")
        self._tracker = self._attempt(lambda: cls(config["dataset"]))

    def attempt(self, action: Callable[[Tracker], _T]) -> _T | None:
        """What ``action`` does with the tracker; None if there is none, or if it failed now or before."""
        tracker = self._tracker
        return None if tracker is None else self._attempt(lambda: action(tracker))

    def _attempt(self, action: Callable[[], _T]) -> _T | None:
        with self._lock:
            if self._error:
                return None
            try:
                return action()
            except Exception as error:  # Whatever a network and a package of others may raise.
                reason = textwrap.shorten(f"{type(error).__name__}: {error}", _LONGEST, placeholder=" ...")
                self._error = f"--track={self._name} failed ({reason})"
                print(f"warning: {self._error}; the work goes on without it.", file=sys.stderr, flush=True)
                return None

    def close(self, remedy: str) -> None:
        """Say at the end that the tracker was not told everything.

        Args:
            remedy: the end of the message: what is complete all the same, and what to do.

        Raises:
            TrackingError: so it is.
        """
        if self._error:
            raise TrackingError(f"{self._error}: {remedy}")
