"""Small data sets in RecBole's format, whose right answer is obvious by eye, and configurations for them."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from recbole.config import Config, configurator
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed, utils
from torch.utils.tensorboard import SummaryWriter

import recbole_multvae  # noqa: F401  (registers the models)
from tests.clients.languages import CLIENTS

# TensorBoard's thread writes when the next test may be in another folder already.
utils.SummaryWriter = lambda folder: SummaryWriter(Path(folder).absolute())


@cache
def _parsed(text: str, loader: Any) -> Any:
    return yaml.load(text, loader)


# RecBole parses the same defaults for each configuration, in 10 ms.
configurator.yaml = SimpleNamespace(FullLoader=yaml.FullLoader, load=lambda text, Loader: deepcopy(_parsed(text, Loader)))

#: No noise in the logs.
QUIET = {"show_progress": False, "state": "ERROR", "use_gpu": False}
#: Small enough to train in a blink, and the same numbers on every processor.
QUICK = {
    **QUIET,
    "precision": "fp32",
    "epochs": 2,
    "train_batch_size": 8,
    "learning_rate": 0.001,
    "eval_step": 1,
    "latent_dimension": 4,
    "mlp_hidden_size": [6],
    "decoder_hidden_size": "mirrored",
    "data_path": ".",
}


@pytest.fixture(autouse=True)
def _no_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # RecBole's Config reads sys.argv, and RecBole writes logs and checkpoints into the working folder.
    monkeypatch.setattr(sys, "argv", ["test"])
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    # RecBole's objective_function takes all handlers off the root logger, pytest's too, and sets another level.
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def write_inter(path: Path, name: str, pairs: Iterable[tuple[str, str]]) -> None:
    """Write (user, item) pairs as a data set that ``data_path: path`` finds."""
    (path / name).mkdir(exist_ok=True)
    rows = "".join(f"{user}\t{item}\n" for user, item in pairs)
    (path / name / f"{name}.inter").write_text("user_id:token\titem_id:token\n" + rows)


@pytest.fixture
def write_dataset(tmp_path: Path) -> Callable[[str, Iterable[tuple[str, str]]], None]:
    """Write (user, item) pairs as a data set that ``data_path: .`` finds."""

    return partial(write_inter, tmp_path)


def unlike_new_ones(folder: Path) -> list[Path]:
    """The files and folders in a folder whose permissions are not those of a new file and a new folder."""
    (probe := folder / "probe").mkdir()
    (probe / "file").touch()
    modes = {path.is_dir(): path.stat().st_mode for path in (probe, probe / "file")}
    return [path for path in folder.rglob("*") if path.stat().st_mode != modes[path.is_dir()]]


def block_pairs(users: int = 40, items: int = 20) -> list[tuple[str, str]]:
    """Two groups of users; each clicks most of its own half of the items and none of the other half."""
    half = items // 2
    return [
        (f"u{u}", f"i{i}") for u in range(users) for i in range(items) if (u % 2 == 0) == (i < half) and (7 * u + 3 * i) % 5
    ]


@pytest.fixture
def blocks(write_dataset: Callable[..., None]) -> str:
    """The name of a block-structured data set."""
    write_dataset("blocks", block_pairs())
    return "blocks"


def uneven_pairs(users: int = 70, items: int = 45) -> list[tuple[str, str]]:
    """Users with 1 to 20 clicks, many on popular items, some on items of their own; sorted by user."""
    random = np.random.RandomState(0)
    popularity = 1 / np.arange(1, items + 1)
    pairs = []
    for user in range(users):
        clicks = random.choice(items, random.randint(1, 21), replace=False, p=popularity / popularity.sum())
        pairs += [(f"u{user}", f"i{item}") for item in clicks] + [(f"u{user}", f"own{user}")] * (user % 4 == 0)
    return pairs


@pytest.fixture
def uneven(write_dataset: Callable[..., None]) -> str:
    """The name of a data set whose users differ in activity."""
    write_dataset("uneven", uneven_pairs())
    return "uneven"


def recbole_s(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of RecBole's as it was before registration, however often it is wrapped."""
    return inspect.unwrap(function, stop=lambda wrapped: not hasattr(wrapped, "_multvae"))


class Experiment:
    """What RecBole's quick start makes on its way: configuration, data, model and trainer."""

    def __init__(self, model: str, dataset: str = "blocks", defaults: dict[str, Any] = QUICK, **keys: Any) -> None:
        self.config = Config(model, dataset, config_dict={**defaults, **keys})
        init_seed(self.config["seed"], self.config["reproducibility"])
        self.dataset = create_dataset(self.config)
        self.train_data, self.valid_data, self.test_data = data_preparation(self.config, self.dataset)
        init_seed(self.config["seed"], self.config["reproducibility"])
        self.model = get_model(model)(self.config, self.train_data._dataset).to(self.config["device"])
        self.trainer = get_trainer(self.config["MODEL_TYPE"], model)(self.config, self.model)

    def fit(self) -> Any:
        return self.trainer.fit(self.train_data, self.valid_data, verbose=False)


class FakeWandb:
    """What RecBole's logger calls in W&B's package; ``lines`` are the logged ones."""

    run = None

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def init(self, **_: Any) -> None:
        self.run = SimpleNamespace(summary={})

    def define_metric(self, *_: Any, **__: Any) -> None: ...

    def log(self, line: dict[str, Any], commit: bool) -> None:
        self.lines.append(line)


#: What takes minutes starts first, so that no process is left with it at the end; the Makefile keeps this order.
LONG = ("tests/clients/", "tests/test_readme.py", "tests/leaderboard/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which clients ran: it stands in the reports of their tests, which may have run in other processes."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    outcomes = dict(pair for report in reports for pair in getattr(report, "user_properties", ()) if pair[0] in CLIENTS)
    if outcomes:
        terminalreporter.section("clients")
        for client in CLIENTS:
            terminalreporter.write_line(f"{client}: {outcomes.get(client, 'not run: not selected')}")
