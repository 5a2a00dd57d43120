"""Training and validation as one part: all of their interactions, the same test, and what the test's users are shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recbole_multvae.data.csr import distinct_clicks
from recbole_multvae.experiment.preparation import Experiment
from tests.data.made import clicks, prepared, rows_of, write

FIELDS = ("user_id", "item_id", "rating", "timestamp")
COLUMNS = {"load_col": {"inter": list(FIELDS)}}
TIMES = {"order": "TO", "mode": "full"}
HELD_OUT = {"split": {"SG": {"valid_users": 5, "test_users": 5, "seed": 3}}, "mode": "full"}
#: Every way of splitting.
SPLITS: dict[str, dict[str, Any]] = {
    "RS": {},
    "RS, all users together": {"eval_args": {"split": {"RS": [6, 2, 2]}, "group_by": "none", "mode": "full"}},
    "RS in time": {"eval_args": {"split": {"RS": [6, 2, 2]}, **TIMES}},
    "LS": {"eval_args": {"split": {"LS": "valid_and_test"}, **TIMES}},
    "TS": {"eval_args": {"split": {"TS": [6, 2, 2]}}},
    "WG": {"eval_args": {"split": {"WG": {"ratios": [6, 2, 2]}}, "mode": "full"}},
    "SG": {"eval_args": HELD_OUT},
    "files": {"benchmark_filename": ["a", "b", "c"]},
}


@pytest.fixture(autouse=True)
def _data() -> None:
    rows = clicks()
    rows += [(user, item, 1, time + 10_000) for user, item, _, time in rows[::7]]  # Some clicks twice.
    write("base", rows)
    for part, some in zip("abc", (rows[:80], rows[80:100], rows[100:]), strict=True):
        write("base", some, part=f".{part}")


def both(model: str, split: str, **keys: Any) -> tuple[Experiment, Experiment]:
    """What is made of the data with and without ``refit: True``."""
    experiments = (prepared(model, "base", **COLUMNS, **SPLITS[split], **keys, refit=refit) for refit in (False, True))
    plain, merged = experiments
    return plain, merged


def masked(loader: Any) -> np.ndarray:
    """The items that are not recommended to each user, bool [users, items]."""
    result = np.zeros((loader.dataset.user_num, loader.dataset.item_num), dtype=bool)
    for users, (rows, items), *_ in loader:
        result[users["user_id"].numpy()[rows], items] = True
    return result


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("model", ["MultVAE", "EASE"])
def test_training_is_training_and_validation_and_the_test_stays(model: str, split: str) -> None:
    plain, merged = both(model, split)
    held_out = plain.valid_data
    if split == "SG":
        users = {token for (token,) in rows_of(held_out, "user_id")}
        known = set(plain.train_data.dataset.field2id_token["item_id"])
        validation = [row for row in clicks() if row[0] in users and row[1] in known]
        validation += [(*row[:2], 1, row[3] + 10_000) for row in clicks()[::7] if row[0] in users and row[1] in known]
        assert len(validation) > len(rows_of(held_out))
    else:
        validation = rows_of(held_out, *FIELDS)
    expected = rows_of(plain.train_data, *FIELDS) + validation
    rows = rows_of(merged.train_data, *FIELDS)
    assert sorted(row[:3] for row in rows) == sorted(row[:3] for row in expected)
    times = [sorted(np.float32(row[3]) for row in some) for some in (rows, expected)]
    assert times[0] == times[1]
    assert len(merged.valid_data.dataset) == 0 and not merged.valid_data
    for name, column in plain.test_data.dataset.inter_feat.interaction.items():
        assert (merged.test_data.dataset.inter_feat[name] == column).all()
        assert merged.train_data.dataset.inter_feat[name].dtype == column.dtype
    assert merged.test_data.dataset.field2id_token["item_id"].tolist() == known_items(plain)


def known_items(experiment: Experiment) -> list[str]:
    return experiment.train_data.dataset.field2id_token["item_id"].tolist()


@pytest.mark.parametrize("split", ["RS", "LS", "WG", "files"])
@pytest.mark.parametrize("model", ["MultVAE", "EASE"])
def test_the_clicks_of_validation_are_not_recommended(model: str, split: str) -> None:
    _, merged = both(model, split)
    training, positives = (distinct_clicks(loader.dataset).toarray() > 0 for loader in (merged.train_data, merged.test_data))
    tested = positives.any(axis=1)
    assert (masked(merged.test_data)[tested] == (training & ~positives)[tested]).all()


def test_held_out_users_of_the_test_are_shown_the_same_clicks() -> None:
    plain, merged = both("MultVAE", "SG")
    assert (plain.test_data.dataset.fold_in != merged.test_data.dataset.fold_in).nnz == 0
    assert (masked(plain.test_data) == masked(merged.test_data)).all()


def test_negative_items_are_those_of_neither_part() -> None:
    plain, merged = both("BPR", "RS")
    clicked = distinct_clicks(merged.train_data.dataset).toarray() > 0
    test = distinct_clicks(plain.test_data.dataset).toarray() > 0
    assert merged.train_data._sampler.used_ids[1] == set(np.flatnonzero(clicked[1]))
    assert merged.test_data._sampler.used_ids[1] == set(np.flatnonzero(clicked[1] | test[1]))
