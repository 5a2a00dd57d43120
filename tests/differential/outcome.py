"""What a run made of an example, in tokens: the same for this package and for RecBole alone. It knows RecBole only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction


@dataclass
class Outcome:
    """A run.

    Attributes:
        parts: the records (user, item, time or None) for training, validation and test.
        time: the type of the numbers of time.
        users: the tokens of all users; items: of all items.
        test_metrics: by name; valid_metrics: of the one epoch.
        scores: of every user and item, [users, items], after the training.
        candidates: where items are sampled, those that were ranked for each user, by ``valid`` and ``test``.
    """

    parts: list[list[tuple[str, str, float | None]]]
    time: str
    users: list[str]
    items: list[str]
    test_metrics: dict[str, float] = field(default_factory=dict)
    valid_metrics: dict[str, float] = field(default_factory=dict)
    scores: list[list[float]] = field(default_factory=list)
    candidates: dict[str, dict[str, list[str]]] = field(default_factory=dict)


def of_data(loaders: list[Any]) -> Outcome:
    """What is known before training."""
    datasets = [loader.dataset for loader in loaders]
    first = datasets[0]
    users, items = (list(map(str, first.field2id_token[name])) for name in ("user_id", "item_id"))
    parts = [_records(dataset, users, items) for dataset in datasets]
    times = first.inter_feat.interaction.get("timestamp")
    return Outcome(parts, "" if times is None else str(times.numpy().dtype), users[1:], items[1:])


def _records(dataset: Any, users: list[str], items: list[str]) -> list[tuple[str, str, float | None]]:
    columns = dataset.inter_feat.interaction
    times = columns["timestamp"].tolist() if "timestamp" in columns else [None] * len(columns["user_id"])
    ids = zip(columns["user_id"].tolist(), columns["item_id"].tolist(), times, strict=True)
    return [(users[user], items[item], time) for user, item, time in ids]


class Candidates:
    """Takes note of the items that RecBole's collector is given finite scores of, batch by batch."""

    def __init__(self, trainer: Any) -> None:
        self._rows: list[torch.Tensor] = []
        collect = trainer.eval_collector.eval_batch_collect

        def noted(scores: Any, *rest: Any) -> None:
            if isinstance(scores, torch.Tensor):
                self._rows.append(torch.isfinite(scores))
            collect(scores, *rest)

        trainer.eval_collector.eval_batch_collect = noted

    def take(self, phase: str, loader: Any, outcome: Outcome) -> None:
        """Put down the items that were ranked for each user of a loader, where they were sampled, and start anew."""
        if loader.config["eval_args"]["mode"][phase] != "full" and self._rows:
            outcome.candidates[phase] = self._by_user(loader, outcome)
        self._rows.clear()

    def _by_user(self, loader: Any, outcome: Outcome) -> dict[str, list[str]]:
        users = [outcome.users[user - 1] for user in np.asarray(loader.uid_list).tolist()]
        items = ["[PAD]", *outcome.items]
        rows = [row for batch in self._rows for row in batch]
        return {user: [items[n] for n in row.nonzero().flatten()] for user, row in zip(users, rows, strict=True)}


@torch.no_grad()
def scores_of(model: Any, outcome: Outcome) -> list[list[float]]:
    """The model's scores of every user and item, a user at a time."""
    model.eval()
    n_items = len(outcome.items) + 1
    rows = [
        model.full_sort_predict(Interaction({"user_id": torch.tensor([user + 1])})) for user in range(len(outcome.users))
    ]
    return [row.view(-1, n_items)[0, 1:].tolist() for row in rows]


class NoBoard:
    """Stands for TensorBoard's writer, whose thread and files a run of milliseconds does not need."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None
