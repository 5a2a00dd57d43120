"""A small data set in a file, with ratings, times and labels, and what the command makes of it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.experiment.preparation import Experiment, prepare
from tests.conftest import QUIET

COLUMNS = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
BY_TIME = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}


def write(name: str, rows: Iterable[Iterable[Any]], columns: Iterable[str] = COLUMNS, part: str = "") -> None:
    """Write rows as a data set that ``data_path: .`` finds."""
    Path(name).mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(columns), *("\t".join(map(str, row)) for row in rows)]
    Path(name, f"{Path(name).name}{part}.inter").write_text("\n".join(lines) + "\n", "utf-8")


def clicks(users: int = 20, items: int = 12, each: int = 6, seed: int = 0) -> list[tuple[str, str, int, int]]:
    """Users with as many clicks each, shuffled: (user, item, rating, time), no two times equal."""
    draw = random.Random(seed)
    pairs = [(f"u{user}", f"i{item}") for user in range(users) for item in draw.sample(range(items), each)]
    times = draw.sample(range(1_500_000_000, 1_500_000_000 + 3 * len(pairs)), len(pairs))
    return [(*pair, draw.randint(1, 5), time) for pair, time in zip(pairs, times, strict=True)]


def comings(start: int = 1_600_000_000) -> list[tuple[str, str, int]]:
    """40 users who come and go over the days, and items that appear with them; some times are equal."""
    draw = np.random.RandomState(3)
    days, users = np.sort(draw.randint(0, 100, 700)), draw.randint(0, 30, 700)
    items = draw.randint(0, 8, 700) + days // 9
    rows = [(f"u{u + d // 7}", f"i{i}", start + int(d) * 86_400) for u, d, i in zip(users, days, items, strict=True)]
    draw.shuffle(rows)
    return [tuple(row) for row in rows]


def prepared(model: str, dataset: str, **keys: Any) -> Experiment:
    """What the command makes before it trains."""
    keys = {"data_path": ".", "epochs": 2, "topk": [5], "valid_metric": "NDCG@5", **keys}
    keys = {"train_neg_sample_args": None, **keys} if model != "BPR" else keys
    return prepare(make_config(model, dataset, None, {**QUIET, **keys}, {}))


def rows_of(loader: Any, *fields: str) -> list[tuple[Any, ...]]:
    """The interactions of a loader: tokens of users and items, and numbers."""
    data = loader.dataset
    columns = []
    for field in fields or (data.uid_field, data.iid_field):
        values = data.inter_feat[field].numpy()
        columns.append(data.id2token(field, values).tolist() if field in data.field2id_token else values.tolist())
    return list(zip(*columns, strict=True))
