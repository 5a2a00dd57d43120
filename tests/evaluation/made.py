"""Small made data with odd shapes, and the experiment of the command on them with scores that are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.experiment.preparation import Experiment, prepare
from tests.conftest import QUIET
from tests.evaluation.reference import masked_as_by_recbole

PARTS = ("train", "valid", "test")


class Data(NamedTuple):
    """A data set of users u0, u1, ... and items a, b, ..., and a score for each pair of them."""

    parts: tuple[list[tuple[str, str]], ...]
    scores: np.ndarray


class Arrays(NamedTuple):
    """The same in RecBole's order of ids, without its padding: [U, I], and the records in training, int [I]."""

    scores: np.ndarray
    masked: np.ndarray
    positives: np.ndarray
    counts: np.ndarray
    trained: np.ndarray


def odd_data(seed: int, decimals: int = 6, spare: int = 0) -> Data:
    """User 0 has more than ten relevant items. User 1 has two items left to rank. For user 2 all items that are left are
    relevant, except ``spare`` of them. User 3 is not in the test. The last three items are not in training. Some records
    occur twice."""
    random = np.random.default_rng(seed)
    items = [chr(ord("a") + item) for item in range(20)]
    drawn = [{(user, item) for user in range(4, 12) for item in items if random.random() < p} for p in (0.3, 0.1, 0.2)]
    train, valid, test = drawn
    train = {(user, item) for user, item in train if item not in items[-3:]}
    train |= {(0, "a"), (3, "b")} | {(1, item) for item in items[:-3]} | {(2, item) for item in items[4:-3]}
    valid |= {(1, items[-3]), (3, "c")}
    test |= {(0, item) for item in items[3:17]} | {(1, items[-1])} | {(2, item) for item in (*items[spare:4], *items[-3:])}
    parts = tuple(
        [(f"u{user}", item) for user, item in sorted(pairs) for _ in range(random.choice([1, 1, 1, 2]))]
        for pairs in (train, valid, test)
    )
    return Data(parts, random.normal(size=(12, 20)).round(decimals))


def write(data: Data) -> None:
    """Write the records, with a column ``shown``, and the items, with ``seen``, ``kinds`` and ``place``."""
    folder = Path("made")
    folder.mkdir(exist_ok=True)
    for part, pairs in zip(PARTS, data.parts, strict=True):
        rows = "".join(f"{user}\t{item}\t{shown(user, item)}\n" for user, item in pairs)
        folder.joinpath(f"made.{part}.inter").write_text("user_id:token\titem_id:token\tshown:float\n" + rows)
    items = sorted({item for pairs in data.parts for _, item in pairs})
    rows = "".join(f"{item}\t{seen(item)}\t{' '.join(kinds(item))}\t{' '.join(map(str, place(item)))}\n" for item in items)
    folder.joinpath("made.item").write_text("item_id:token\tseen:float\tkinds:token_seq\tplace:float_seq\n" + rows)


def shown(user: str, item: str) -> float:
    """The propensity of a click."""
    return (7 * int(user[1:]) + 3 * ord(item)) % 10 / 10 + 0.1


def seen(item: str) -> float:
    """The propensity of an item."""
    return ord(item) % 8 / 8 + 0.125


def kinds(item: str) -> list[str]:
    """A feature: from none to three of five values; one of them is there twice."""
    return [str(ord(item) * factor % 5) for factor in range(1, ord(item) % 4 + 1)] + ["0"] * (item == "b") * 2


def place(item: str) -> list[int]:
    """A feature of numbers; that of one item is zero."""
    return [ord(item) % 3 - 1, ord(item) % 2]


def tokens(experiment: Experiment) -> tuple[list[str], list[str]]:
    """The users and the items in RecBole's order of ids, without its padding."""
    names = experiment.train_data.dataset.field2id_token
    return list(names["user_id"][1:]), list(names["item_id"][1:])


def arrays(data: Data, experiment: Experiment) -> Arrays:
    """The inputs of the transcription, from the records that were written into the files."""
    users, items = tokens(experiment)
    records = np.zeros((3, len(users), len(items)), dtype=int)
    for part, pairs in enumerate(data.parts):
        for user, item in pairs:
            records[part, users.index(user), items.index(item)] += 1
    scores = data.scores[np.ix_([int(user[1:]) for user in users], [ord(item) - ord("a") for item in items])]
    train, valid, positives = records > 0
    return Arrays(scores, masked_as_by_recbole(train | valid, positives), positives, records[0].sum(axis=0), train)


def prepared(model: str, data: Data, metrics: list[str], topk: list[int], **keys: Any) -> Experiment:
    """The experiment of the command, with a model that gives the scores of ``data``."""
    write(data)
    keys = {"train_neg_sample_args": None, "epochs": 0, "metric_decimal_place": 12, **keys}
    keys |= {"data_path": ".", "benchmark_filename": list(PARTS), "metrics": metrics, "topk": topk}
    experiment = prepare(make_config(model, "made", keys={**QUIET, **keys}, command_line={}))
    network = experiment.trainer.model
    table = torch.from_numpy(np.pad(arrays(data, experiment).scores, ((1, 0), (1, 0)), constant_values=np.nan)).float()
    network.full_sort_predict = lambda users: table[users["user_id"]].reshape(-1)
    network.predict = lambda pairs: table[pairs["user_id"], pairs["item_id"]]
    network.histories = lambda users: users["user_id"]
    network.score_into = lambda users, scores: scores.copy_(table[users, 1:])
    experiment.trainer.eval_collector.data_collect(experiment.train_data)
    return experiment
