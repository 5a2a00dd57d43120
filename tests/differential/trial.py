"""One example, tried in all three ways."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole_multvae.errors import MultVAEError
from tests.differential import our_path
from tests.differential.made import Example
from tests.differential.outcome import Outcome
from tests.differential.recbole_path import RecBoleAlone, RecBoleFailedError
from tests.differential.verdict import Verdict, judge

#: A run takes a tenth of one, and on a busy machine one or two.
SECONDS = 20


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise ``TimeoutError`` in what takes longer: a loop in Python without end, in the main thread."""

    def ring(*_: Any) -> None:
        raise TimeoutError(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Trials:
    """Tries examples, one after the other, in one folder.

    Args:
        folder: to write in.
        alone: the process of RecBole alone.
    """

    def __init__(self, folder: Path, alone: RecBoleAlone) -> None:
        self.folder, self.alone = folder, alone

    def __call__(self, example: Example) -> Verdict:
        """Try an example."""
        our_path.write(example, self.folder)
        return judge(example, self._ours(example), self._recbole(example))

    def _ours(self, example: Example) -> Outcome | Exception:
        try:
            with limited(SECONDS):
                return our_path.run(example, self.folder)
        except MultVAEError as error:
            return error
        except Exception as error:  # A traceback, which the verdict reports.
            return error

    def _recbole(self, example: Example) -> Outcome | RecBoleFailedError:
        try:
            return self.alone.run(example, self.folder)
        except RecBoleFailedError as error:
            return error
