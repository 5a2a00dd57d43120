"""What trackers are told, and what a tracker can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import recbole
from recbole.config import Config

import recbole_multvae
from recbole_multvae.data.digests import digest

#: The validations of a training in their order: the number of the epoch, from 0, and the metrics by name.
Curve = Sequence[tuple[int, Mapping[str, float]]]
#: How a run ended.
State = Literal["finished", "failed", "interrupted"]
#: Keys on which no result depends, and what RecBole keeps beside the keys.
_HIDDEN = frozenset({
    "gpu_id", "use_gpu", "device", "worker", "state", "show_progress", "save_dataset", "save_dataloaders", "log_wandb",
    "wandb_project", "single_spec", "local_rank", "ip", "port", "offset", "eval_type", "MODEL_TYPE", "MODEL_INPUT_TYPE",
})  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A run, or a row of a report over several runs.

    Attributes:
        name: for people.
        keys: the configuration; a number, a switch or a text each.
        tags: what was run, see :func:`tags`.
        number: tells it from all other entries, see :func:`number`, so that it is told once; None: it is a new one.
        group: the row of a report; None: it is a run alone.
        runs: the numbers of a row's runs; empty for a run.
    """

    name: str
    keys: Mapping[str, Any]
    tags: Mapping[str, Any]
    number: str | None = None
    group: str | None = None
    runs: Sequence[str] = ()


class Session(ABC):
    """An entry while it is written."""

    @abstractmethod
    def log_curve(self, curve: Curve) -> None:
        """Add validations."""

    @abstractmethod
    def end(self, metrics: Mapping[str, float], checkpoint: str | None, state: State) -> None:
        """Add the results, and the file of the checkpoint if there is one."""


class Tracker(ABC):
    """A tracker. All errors of its package may be raised, from the constructor on.

    Args:
        dataset: the name of the data set: the experiment, unless the user's environment names one.

    Attributes:
        rival: the configuration key by which RecBole itself tells this tracker; None: there is none.
    """

    rival: str | None = None

    @abstractmethod
    def __init__(self, dataset: str) -> None: ...

    @abstractmethod
    def begin(self, entry: Entry) -> Session | None:
        """Begin an entry; None if one with this number is there and complete."""

    def add(self, entry: Entry, curve: Curve, metrics: Mapping[str, float], checkpoint: str | None) -> None:
        """Add an entry that is over, unless it is there."""
        if session := self.begin(entry):
            session.log_curve(curve)
            session.end(metrics, checkpoint, "finished")

    @abstractmethod
    def add_onnx(self, entry: Entry, file: str) -> None:
        """Add the ONNX file of an entry that is complete, once."""


def effective_keys(config: Config) -> dict[str, Any]:
    """The configuration keys of a run that its result may depend on; lists and dictionaries are texts."""
    plain = (bool, int, float, str)
    return {
        key: value if isinstance(value, plain) else str(value)
        for key, value in sorted(config.final_config_dict.items())
        if value is not None and key not in _HIDDEN
    }


def number(*parts: str) -> str:
    """A number for an entry, 16 hexadecimal digits, that follows from texts."""
    return digest(parts)[:16]


def tags(model: str, row: str, dataset: str, seed: int | str, split: str) -> dict[str, Any]:
    """The tags of an entry: ``row`` names a sum by its members, and ``split`` is the digest of the clicks."""
    versions = {"recbole": recbole.__version__, "recbole_multvae": recbole_multvae.__version__}
    return {"model": model, "row": row, "dataset": dataset, "seed": seed, "split": split, **versions}


def named(prefix: str, metrics: Mapping[str, float | None] | None) -> dict[str, float]:
    """Metrics with ``prefix/`` before their names, without those that have no value."""
    return {f"{prefix}/{name}": value for name, value in (metrics or {}).items() if value is not None}
