"""Contestants in processes of their own, one of which works at a time, and the data and the environment that they need."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from contestants import HIDDEN, LATENT, RATE
from made_data import write

HERE = Path(__file__).parent
#: Beside .venv, ignored by git as it is, and gone with the checkout.
PEERS = HERE.parent / ".peers"
#: They need NumPy 2, which RecBole does not work with.
REQUIREMENTS = ["cornac==3.0.1", "matplotlib==3.11.2"]
#: Seconds between turns: an OpenMP thread spins for some milliseconds after its last work.
PAUSE = 0.2
OURS, RECBOLE, CORNAC = "MultVAE", "MultiVAE (RecBole)", "VAECF (Cornac)"
SHARED = {
    "mlp_hidden_size": [HIDDEN],
    "decoder_hidden_size": "mirrored",  # As RecBole's, and without an average of the weights.
    "ema_decay": 0,
    "dropout_prob": 0.5,
    "learning_rate": RATE,
    "train_neg_sample_args": None,
    "show_progress": False,
    "state": "ERROR",
}
#: RecBole's ``latent_dimension`` counts mu and log-variance together.
LATENTS = {OURS: LATENT, RECBOLE: 2 * LATENT}

Answer = dict[str, float]


def peers_python(folder: Path = PEERS / "cornac") -> str:
    """The Python of an environment with the other libraries, which is made if missing; torch is that of this environment."""
    python, stamp = folder / "bin" / "python", folder / "installed"
    if not stamp.exists() or stamp.read_text("utf-8").split() != REQUIREMENTS:
        print(f"Installing {' and '.join(REQUIREMENTS)} into {folder}: 0.5 GB.", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
        packages = next(folder.glob("lib/python*/site-packages"))
        (packages / "torch.pth").write_text(f"{Path(torch.__file__).parent.parent}\n", "utf-8")
        stamp.write_text("\n".join(REQUIREMENTS), "utf-8")  # Last: an installation that was cut short is made again.
    return str(python)


def made(data_path: Path, users: int, items: int) -> str:
    """The name of a made data set in a folder. It is written if it is missing."""
    name = f"made-{users}-{items}"
    if not (data_path / name).is_dir():
        data_path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_path) as folder:
            write(Path(folder) / name, users, items)
            (Path(folder) / name).rename(data_path / name)
    return name


def recbole(name: str, dataset: str, data_path: Path, batch: int = 0, evaluated: int = 0, **keys: Any) -> dict[str, Any]:
    """The description of ``OURS`` or ``RECBOLE`` for contestants.py: it trains in batches of so many users, where there is
    one, and then evaluates so many."""
    keys = {**SHARED, "latent_dimension": LATENTS[name], **({"train_batch_size": batch} if batch else {}), **keys}
    described = {"model": name.split()[0], "keys": keys, "dataset": dataset, "data_path": str(data_path.resolve())}
    return {"kind": "recbole", **described, "trained": bool(batch), "evaluated": evaluated}


class Worker:
    """A contestant that waits.

    Attributes:
        ready: its answer before the first turn: the seconds and the peak memory of its preparation.
    """

    def __init__(self, name: str, described: dict[str, Any], python: str, folder: str) -> None:
        command = [python, "-W", "ignore", str(HERE / "contestants.py"), json.dumps(described)]
        self.name = name
        self.process: Any = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self.answer()

    def answer(self) -> Answer:
        """Wait for the end of a turn. Returns its seconds, users and memory."""
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with exit status {self.process.wait()} instead of an answer: see above.")
        return json.loads(line)

    def turn(self, users: int) -> Answer:
        """Let it work on as many users; 0 ends the training, and the evaluation is next."""
        print(users, file=self.process.stdin, flush=True)
        answer = self.answer()
        time.sleep(PAUSE)
        return answer


@contextmanager
def workers(described: dict[str, dict[str, Any]]) -> Any:
    """Start contestants one after the other, in a folder that is removed in the end. Yields them by name."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        started = {}
        for name, description in described.items():
            python = peers_python() if description["kind"] == "cornac" else sys.executable
            started[name] = Worker(name, description, python, folder)
            stack.callback(started[name].process.wait)
            stack.callback(started[name].process.kill)
        yield started


def rounds(started: dict[str, Worker], users: int, warm_up: int, repetitions: int) -> dict[str, list[Answer]]:
    """Let them take turns of as many users, after one of ``warm_up`` users that does not count."""
    for worker in started.values():
        worker.turn(warm_up)
    answers: dict[str, list[Answer]] = {name: [] for name in started}
    for _ in range(repetitions):
        for name, worker in started.items():
            answers[name].append(worker.turn(users))
    return answers


def spread(values: list[float], form: str = ".2f") -> str:
    """The median, the smallest and the largest value."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
