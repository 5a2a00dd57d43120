"""One contestant in a process of its own. It works in turns: a number of users on stdin starts one, JSON on stdout ends it.

    echo 1000 | python benchmarks/contestants.py '{"kind": "floor", "precision": "fp32", "items": 20108, "batch": 500}'

Each contestant runs its library's own ``fit``; only the batches are handed out by :class:`Turns`. Two environments run this
file: its head imports only torch and NumPy, and each kind of contestant imports its own packages.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

HIDDEN, LATENT, RATE, BETA = 600, 200, 0.001, 0.2
FOREVER = 10**6
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Enough(Exception):  # noqa: N818
    """There are no more turns: the exception leaves a library's ``fit``."""


def memory(field: str, process: int | str = "self") -> float:
    """MiB of a process: ``VmRSS`` now, ``VmHWM`` at most."""
    return int(Path(f"/proc/{process}/status").read_text("utf-8").split(f"{field}:")[1].split()[0]) / 1024


class Turns:
    """Hands out batches until a turn has had its users, then answers and waits for the next. A turn may span epochs."""

    def __init__(self) -> None:
        self.answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # The output of libraries must not get between the answers.
        self.size = self.left = 0
        self.start = time.perf_counter()

    def __call__(self, batches: Iterable[Any]) -> Iterator[Any]:
        iterator = iter(batches)
        while True:
            if self.left <= 0:
                self.answer()
                self.wait()
            if (batch := next(iterator, None)) is None:
                return
            self.left -= len(batch)
            yield batch

    def answer(self) -> None:
        """Seconds and users of the turn; the MiB that this process has now and had at most since the preparation, and the
        most of the GPU. The turn before the first is the preparation.
        """
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self.start
        gpu = torch.cuda.max_memory_allocated() / 2**20 if DEVICE.type == "cuda" else 0
        taken = {"seconds": seconds, "users": self.size - self.left, "gpu": gpu}
        print(json.dumps({**taken, "peak": memory("VmHWM"), "resident": memory("VmRSS")}), file=self.answers, flush=True)

    def wait(self) -> None:
        """Read how many users the next turn has; 0 or the end of the input: there is none."""
        if not self.size:  # The preparation is over: from here on the peak is that of the turns, the warm-up included.
            Path("/proc/self/clear_refs").write_text("5")
        self.size = self.left = int(sys.stdin.readline() or 0)
        if not self.size:
            raise Enough
        self.start = time.perf_counter()


class Paced:
    """RecBole's training loader, its batches handed out in turns."""

    def __init__(self, loader: Any, turns: Turns) -> None:
        self.loader, self.turns = loader, turns

    def __iter__(self) -> Iterator[Any]:
        return self.turns(self.loader)

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def configure(model: str, keys: dict[str, Any], dataset: str, data_path: str) -> Any:
    """The configuration of a model, RecBole's or ours. RecBole's models run without this package."""
    import logging
    import warnings

    sys.argv = sys.argv[:1]
    warnings.simplefilter("ignore")
    from recbole.config import Config
    from recbole.utils import init_seed

    if model in ("MultVAE", "EDLAE"):
        import recbole_multvae  # noqa: F401

    logging.disable(logging.WARNING)
    config = Config(model, dataset, config_dict={"data_path": data_path, "epochs": FOREVER, **keys})
    init_seed(config["seed"], config["reproducibility"])
    return config


def recbole(turns: Turns, trained: bool, evaluated: int, **described: Any) -> None:
    """Train in turns if ``trained``, then evaluate that many users in turns. The rest are arguments of :func:`configure`."""
    config = configure(**described)
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer

    turns.start = time.perf_counter()
    train_data, _, test_data = data_preparation(config, create_dataset(config))
    model = get_model(config["model"])(config, train_data._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    if trained:
        with suppress(Enough):
            trainer.fit(Paced(train_data, turns), saved=False, verbose=False)
    if evaluated:
        loader = some_users(test_data, config, evaluated)
        for _ in turns(itertools.repeat(range(evaluated))):
            trainer.evaluate(loader, load_best_model=False)


def some_users(loader: Any, config: Any, number: int) -> Any:
    """A test loader of as many users, evenly spread over all."""
    clicks = loader._dataset.inter_feat
    users = clicks[config["USER_ID_FIELD"]]
    everyone = users.unique()
    chosen = everyone[torch.linspace(0, len(everyone) - 1, number).long()]
    some = loader._dataset.copy(clicks[torch.isin(users, chosen).nonzero()[:, 0]])
    return type(loader)(config, some, loader._sampler)


def cornac(turns: Turns, train: str, users: int, items: int, batch: int) -> None:
    """Train Cornac's VAECF on the clicks of a NumPy file, int64 [2, number of clicks]. It knows a constant beta only."""
    from cornac.data import Dataset
    from cornac.models import VAECF

    turns.start = time.perf_counter()
    owners, clicked = np.load(train)
    ids = {n: n for n in range(users)}, {n: n for n in range(items)}
    data = Dataset(users, items, *ids, (owners, clicked, np.ones(len(owners))))
    iterate = data.user_iter
    data.user_iter = lambda *args, **kwargs: turns(iterate(*args, **kwargs))
    sizes = {"k": LATENT, "autoencoder_structure": [HIDDEN], "act_fn": "tanh", "likelihood": "mult", "batch_size": batch}
    VAECF(**sizes, n_epochs=FOREVER, learning_rate=RATE, beta=BETA, use_gpu=True).fit(data)


def floor(turns: Turns, precision: str, items: int, batch: int) -> None:
    """The three products of the output layer alone: the logits, and the gradients of its weight and of its input."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    sizes = (batch, HIDDEN), (items, HIDDEN), (batch, items)
    hidden, weight, gradient = (torch.randn(*size, device=DEVICE).to(dtype) for size in sizes)
    outputs = torch.empty_like(gradient), torch.empty_like(weight), torch.empty_like(hidden)
    for _ in turns(itertools.repeat(range(batch))):
        torch.mm(hidden, weight.t(), out=outputs[0])
        torch.mm(gradient.t(), hidden, out=outputs[1])
        torch.mm(gradient, weight, out=outputs[2])


def product(turns: Turns, users: int, items: int) -> None:
    """The scores of as many users alone: the product of the output layer."""
    hidden, weight = torch.randn(users, HIDDEN, device=DEVICE), torch.randn(items, HIDDEN, device=DEVICE)
    out = torch.empty(users, items, device=DEVICE)
    for _ in turns(itertools.repeat(range(users))):
        torch.mm(hidden, weight.t(), out=out)


KINDS: dict[str, Callable[..., None]] = {"recbole": recbole, "cornac": cornac, "floor": floor, "product": product}


def main() -> None:
    """Run the contestant that the only argument describes."""
    described = json.loads(sys.argv[1])
    with suppress(Enough):
        KINDS[described.pop("kind")](Turns(), **described)


if __name__ == "__main__":
    main()
