"""The process of RecBole alone, kept for many examples, and started again where one makes it hang."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.differential.made import NAME, SMALL_MULTVAE, Example
from tests.differential.outcome import Outcome

ROOT = Path(__file__).parents[2]


class RecBoleFailedError(Exception):
    """RecBole alone ended in an error, or in none for too long."""


class RecBoleAlone:
    """Runs examples in a process of its own.

    Args:
        folder: where the process writes its logs.
        seconds: after which an example counts as hanging.
    """

    def __init__(self, folder: Path, seconds: float = 20) -> None:
        self.folder, self.seconds = folder, seconds
        self._process: Any = None

    def run(self, example: Example, folder: Path) -> Outcome:
        """Run an example, whose files are in ``folder``; EASE stands for models that RecBole does not have.

        Raises:
            RecBoleFailedError: RecBole ends in an error.
        """
        keys = {key: value for key, value in example.keys.items() if key not in SMALL_MULTVAE}
        keys |= {"data_path": str(folder), "checkpoint_dir": str(folder / "saved")}
        model = "EASE" if example.model == "MultVAE" else example.model
        answer = self._ask({"model": model, "keys": keys, "dataset": NAME})
        if "error" in answer:
            raise RecBoleFailedError(answer["error"])
        answer["parts"] = [[tuple(record) for record in part] for part in answer["parts"]]
        return Outcome(**answer)

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        if self._process is None:
            self._start()
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline() if selector.select(self.seconds) else ""
        if not line:
            self.close()
            return {"error": "Hangs: no answer, or the process ended"}
        return json.loads(line)

    def _start(self) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "tests.differential.recbole_worker"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                pipe.close()
            self._process = None

    def __enter__(self) -> RecBoleAlone:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
