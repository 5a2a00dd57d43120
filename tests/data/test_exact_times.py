"""Splits by time, against the times of the file."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch

from recbole_multvae.errors import ConfigurationError, DataError
from tests.data.made import BY_TIME, clicks, prepared, rows_of, write

COLUMNS = ("user_id:token", "item_id:token", "timestamp:float")


def sessions(step: Any, start: int = 1_427_760_000, users: int = 30, each: int = 6) -> list[tuple[str, str, Any]]:
    """Rows in which a user's times differ by ``step`` only, in an order of their own."""
    draw = random.Random(1)
    pairs = [(u, n, i) for u in range(users) for n, i in enumerate(draw.sample(range(12), each))]
    rows = [(f"u{u}", f"i{i}", start + u * 86_400 + n * step) for u, n, i in pairs]
    draw.shuffle(rows)
    return rows


def by_user(rows: list[tuple[str, str, Any]]) -> dict[str, list[str]]:
    """The items of each user in order of time, then of the file: Python's own sort."""
    items = defaultdict(list)
    for user, item, _ in sorted(rows, key=lambda row: row[2]):
        items[user].append(item)
    return items


def one(loader: Any) -> dict[str, str]:
    return dict(rows_of(loader))


CASES = {
    "seconds": sessions(1),
    "fractions of a second": sessions(0.001),
    "nanoseconds": sessions(1, start=1_600_000_000_000_000_000),
    "all equal": sessions(0),
    "a time of 0": [*sessions(5), ("u0", "i99", 0)],
    "negative": sessions(1, start=-2_000_000_000),
}


@pytest.mark.parametrize("model", ["MultVAE", "EASE"])
@pytest.mark.parametrize("case", CASES)
def test_leave_one_out_takes_the_latest(case: str, model: str) -> None:
    rows = CASES[case]
    write("made", rows, COLUMNS)
    experiment = prepared(model, "made", eval_args=BY_TIME)
    items = by_user(rows)
    assert one(experiment.test_data) == {user: history[-1] for user, history in items.items()}
    assert one(experiment.valid_data) == {user: history[-2] for user, history in items.items()}
    assert experiment.train_data._dataset.inter_feat["timestamp"].dtype == torch.float32  # As RecBole's models expect.


@pytest.mark.parametrize("group", ["user", "none"])
def test_ratios_in_order_of_time(group: str) -> None:
    rows = [(user, item, 1_427_760_000 + n) for n, (user, item, _) in enumerate(sessions(1))]
    random.Random(3).shuffle(rows)
    write("made", rows, COLUMNS)
    args = {"split": {"RS": [4, 1, 1]}, "order": "TO", "group_by": group, "mode": "full"}
    experiment = prepared("EASE", "made", eval_args=args)
    in_order = sorted(rows, key=lambda row: row[2])
    if group == "none":
        assert set(rows_of(experiment.test_data)) == {row[:2] for row in in_order[-30:]}
    else:
        assert one(experiment.test_data) == {user: history[-1] for user, history in by_user(rows).items()}


def test_sequences_are_in_order_of_time() -> None:
    rows = sessions(1)
    write("made", rows, COLUMNS)
    experiment = prepared("GRU4Rec", "made", eval_args=BY_TIME, MAX_ITEM_LIST_LENGTH=5, loss_type="CE")
    data = experiment.test_data.dataset
    items = by_user(rows)
    for user, item, history in rows_of(experiment.test_data, "user_id", "item_id", "item_id_list"):
        assert items[user] == [*data.id2token("item_id", history), item]
    assert experiment.train_data._dataset.inter_feat["timestamp_list"].dtype == torch.float32


@pytest.mark.parametrize("args", [{"split": {"TS": [8, 1, 1]}}, {"split": {"TS": [8, 1, 1]}, "order": "TO"}])
@pytest.mark.parametrize("model", ["MultVAE", "BPR"])
def test_a_split_at_a_time(model: str, args: dict[str, Any]) -> None:
    rows = [(user, item, time) for user, item, _, time in clicks(each=8)]
    write("made", rows, COLUMNS)
    experiment = prepared(model, "made", eval_args=args)
    times = {row[:2]: row[2] for row in rows}
    boundary = np.percentile(list(times.values()), 100 * (1 - 0.1))
    train, valid, test = ({row: times[row] for row in rows_of(loader)} for loader in loaders(experiment))
    assert set(test) == {row for row, time in times.items() if time > boundary}
    assert len(train) + len(valid) + len(test) == len(rows)
    for user in {user for user, _ in valid}:
        assert max(t for (u, _), t in train.items() if u == user) < min(t for (u, _), t in valid.items() if u == user)


@pytest.mark.parametrize("key", ["normalize_field", "normalize_all"])
def test_times_that_are_normalized_keep_their_order(key: str) -> None:
    keys: dict[str, Any] = {key: ["timestamp"] if key == "normalize_field" else True, "eval_args": BY_TIME}
    rows = [*sessions(1), ("u0", "i99", 0)]
    write("made", rows, COLUMNS)
    experiment = prepared("EASE", "made", **keys)
    assert one(experiment.test_data) == {user: history[-1] for user, history in by_user(rows).items()}
    write("made", CASES["nanoseconds"], COLUMNS)
    with pytest.raises(DataError, match=f"{key} would make different times of made equal, and the order of time decides"):
        prepared("EASE", "made", **keys)


def test_a_split_at_a_time_in_nanoseconds_is_exact() -> None:
    """The boundary is between two nanoseconds that are one float64."""
    rows = [(f"u{n % 4}", f"i{n % 11}", 1_600_000_000_000_000_000 + n) for n in range(40)]
    write("made", rows, COLUMNS)
    experiment = prepared("EASE", "made", eval_args={"split": {"TS": [8, 1, 1]}})
    assert set(rows_of(experiment.test_data)) == {row[:2] for row in rows[-4:]}


def loaders(experiment: Any) -> list[Any]:
    class Part:
        dataset = experiment.train_data._dataset

    return [Part, experiment.valid_data, experiment.test_data]


def test_recbole_s_split_at_a_time_mixes_past_and_future() -> None:
    """The mistake that is corrected: with its default order, RecBole puts records before the boundary into the test."""
    from recbole.data.dataset import Dataset

    from tests.conftest import recbole_s

    write("made", [(user, item, time % 10_000) for user, item, _, time in clicks(each=8)], COLUMNS)
    data = prepared("BPR", "made", eval_args={"split": {"TS": [8, 1, 1]}}).train_data._dataset
    data.shuffle()
    train, _, test = recbole_s(Dataset.time_based_split)(data, [8, 1, 1], "user_id")
    assert train.inter_feat["timestamp"].max() > test.inter_feat["timestamp"].min()


@pytest.mark.parametrize("keep", ["first", "last"])
def test_repeated_clicks_keep_the_first_or_the_last(keep: str) -> None:
    rows = [(f"u{n % 5}", f"i{n % 5 + n // 5 % 4}", 1_427_760_000 + n) for n in range(90)]
    random.Random(2).shuffle(rows)
    write("made", rows, COLUMNS)
    experiment = prepared("EASE", "made", rm_dup_inter=keep, eval_args={"split": {"RS": [1, 0, 0]}, "order": "RO"})
    expected: dict[Any, int] = {}
    for user, item, time in sorted(rows, key=lambda row: row[2], reverse=keep == "first"):
        expected[user, item] = time
    kept = rows_of(loaders(experiment)[0], "user_id", "item_id", "timestamp")
    assert {(u, i): t for u, i, t in kept} == {pair: np.float32(time) for pair, time in expected.items()}


@pytest.mark.parametrize(
    ("column", "time", "args", "message"),
    [
        ("timestamp:float", "", BY_TIME, "made lacks the timestamp of 1 interaction, and the order of time decides"),
        (
            "timestamp:token",
            "5",
            BY_TIME,
            "The column timestamp of made is of type token, .* make it numbers, timestamp:float",
        ),
        ("time:float", "5", BY_TIME, "sorts by the column timestamp, which is not loaded"),
        ("timestamp:float", "5", {"split": {"TS": [8, 1, 1]}, "order": "RO"}, "order='RO' is not allowed: expected TO with"),
        ("timestamp:float", "5", {"split": {"TS": [8, 1, 0]}}, "TS=.8, 1, 0. is not allowed: expected a share of the test"),
    ],
)
def test_times_that_cannot_decide_are_refused(column: str, time: str, args: dict[str, Any], message: str) -> None:
    rows = [(user, item, time) for user, item, _, time in clicks()]
    write("made", [*rows, ("u0", "i99", time)], (*COLUMNS[:2], column))
    with pytest.raises((DataError, ConfigurationError), match=message):
        prepared("EASE", "made", eval_args=args)
