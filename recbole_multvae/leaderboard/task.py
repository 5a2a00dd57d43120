"""What a run of a leaderboard is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """What is to be run.

    Attributes:
        entry: the name of the row.
        model: the name of the model.
        dataset: the name of the data set.
        files: paths of configuration files.
        defaults: configuration keys that the row has where the user names none.
        keys: the keys of the command line, their values as text.
        seed: RecBole's.
        result: where to write; the metrics of each user lie beside it as ``.npz``.
        quantiles: groups of users by activity.
    """

    entry: str
    model: str
    dataset: str
    files: list[str]
    defaults: dict[str, Any]
    keys: dict[str, str]
    seed: int
    result: str
    quantiles: int
