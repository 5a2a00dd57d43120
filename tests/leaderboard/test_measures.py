"""The digest of a split, the breakdown of a test, and the bootstrap."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from recbole_multvae.data.split_digest import digest
from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.experiment.preparation import Experiment, prepare
from recbole_multvae.leaderboard import significance
from recbole_multvae.leaderboard.breakdown import HEAD, LIST_METRICS, DetailedEvaluator, _ages
from recbole_multvae.leaderboard.measuring import weights_bytes
from recbole_multvae.leaderboard.significance import UserScores, bootstrap_rows, compare, holm
from tests.conftest import QUIET, uneven_pairs, write_inter
from tests.evaluation.reference import masked_as_by_recbole, reference

KEYS = {**QUIET, "data_path": ".", "metric_decimal_place": 17, "topk": [1, 5, 10], "embedding_size": 8}


def prepared(model: str, **keys: Any) -> Experiment:
    return prepare(make_config(model, "uneven", keys={**KEYS, **keys}, command_line={}))


def digest_of(model: str = "BPR", **keys: Any) -> str:
    experiment = prepared(model, **keys)
    return digest([loader.dataset for loader in (experiment.train_data, experiment.valid_data, experiment.test_data)])


def test_digest_is_that_of_the_split(uneven: str) -> None:
    assert digest_of() == digest_of("MultVAE") == digest_of("EASE") != digest_of(seed=1)
    strong = {"eval_args": {"split": {"SG": {"valid_users": 10, "test_users": 10, "seed": 1}}}}
    assert digest_of("EASE", **strong) == digest_of("MultVAE", **strong)
    folded = {"eval_args": {"split": {"SG": {"valid_users": 10, "test_users": 10, "seed": 1, "fold_in": 0.5}}}}
    assert digest_of("EASE", **folded) != digest_of("EASE", **strong)


def test_digest_does_not_know_the_order_of_the_file(uneven: str) -> None:
    pairs = uneven_pairs()
    parts = {"a": pairs[::2], "b": pairs[1::4], "c": pairs[3::4]}
    digests = set()
    for order in (1, -1):
        for name, rows in parts.items():
            write_inter(Path(), "uneven", rows[::order])
            Path("uneven/uneven.inter").rename(f"uneven/uneven.{name}.inter")
        digests.add(digest_of(benchmark_filename=list(parts)))
    assert len(digests) == 1


def details_of(experiment: Experiment) -> tuple[DetailedEvaluator, dict[str, float]]:
    details = DetailedEvaluator(experiment.trainer, 3, experiment.train_data, experiment.test_data)
    experiment.trainer.evaluator = details
    return details, experiment.test(saved=False)


@pytest.mark.parametrize("model", ["EASE", "NeuMF", "MultVAE"])
def test_metrics_of_users_average_to_those_of_recbole(uneven: str, model: str) -> None:
    details, metrics = details_of(prepared(model))
    assert details.users.keys() == metrics.keys()
    for name, values in details.users.items():
        assert values.mean() == pytest.approx(metrics[name], abs=1e-15)
    assert sum(group.users for group in details.activity) == len(values)
    names = [name.partition("@")[0] for name in details.lists]
    assert names[:: len(KEYS["topk"])] == [name.lower() for name in LIST_METRICS]


def test_lists_are_those_of_the_documented_formulas(uneven: str) -> None:
    experiment = prepared("MultVAE", topk=[3], valid_metric="Recall@3")
    details, _ = details_of(experiment)
    loaders = (experiment.train_data, experiment.valid_data, experiment.test_data)
    train, valid, positives = (loader.dataset.inter_matrix(form="csr").toarray()[1:, 1:] for loader in loaders)
    users = {"user_id": torch.arange(1, len(train) + 1)}
    with torch.no_grad():
        scores = experiment.trainer.model.full_sort_predict(users).view(len(train), -1)[:, 1:].numpy()
    masked = masked_as_by_recbole((train + valid) > 0, positives > 0)
    for name in LIST_METRICS:
        expected = reference(name, scores, masked, positives > 0, train.sum(axis=0), train > 0, 3)
        assert details.lists[f"{name.lower()}@3"] == pytest.approx(expected), name


def test_head_and_tail_by_hand(uneven: str) -> None:
    experiment = prepared("EASE", metrics=["Recall", "ItemCoverage"], topk=[3], valid_metric="Recall@3")
    details, metrics = details_of(experiment)
    loaders = (experiment.train_data, experiment.valid_data, experiment.test_data)
    train, valid, test = (loader.dataset.inter_matrix(form="csr").toarray() > 0 for loader in loaders)
    clicks = train.sum(axis=0)[1:]
    head = set((np.argsort(-clicks, kind="stable") + 1)[: round(HEAD * len(clicks))].tolist())
    matrix = experiment.trainer.model.item_similarity
    recalls: dict[str, list[float]] = {"head": [], "tail": []}
    for user in range(1, len(train)):
        scores = np.asarray(train[user] @ matrix).ravel()
        scores[[0, *np.flatnonzero(train[user] | valid[user])]] = -np.inf
        best = set(np.argsort(-scores, kind="stable")[:3].tolist())
        positives = set(np.flatnonzero(test[user]).tolist())
        for name, items in (("head", positives & head), ("tail", positives - head)):
            if items:
                recalls[name].append(len(items & best) / len(items))
    for group in details.popularity:
        expected = recalls[group["items"]]
        assert group["users"] == len(expected)
        assert group["metrics"] == {"recall@3": pytest.approx(np.mean(expected))}
    assert metrics["itemcoverage@3"] == details.lists["itemcoverage@3"]


def test_ages_by_hand() -> None:
    day = 86_400.0
    first = np.array([np.nan, 8 * day, 1 * day, 2 * day, np.nan, 2 * day + 1, 5 * day, 2 * day])
    groups = [(name, np.flatnonzero(items).tolist()) for name, items in _ages(first)]
    assert groups == [
        ("1970-01-02", [2]), ("1970-01-03", [3, 7]), ("1970-01-03", [5]), ("1970-01-06 to 1970-01-09", [1, 6]),
    ]  # fmt: skip
    names = [name for name, _ in _ages(np.array([np.nan, 3.0, 1, 7, 5]))]
    assert names == ["1", "3", "5", "7"]
    assert _ages(np.array([np.nan, 3.0, 3])) == _ages(np.array([np.nan])) == _ages(None) == []


def test_weights_are_all_tensors_and_arrays_of_a_checkpoint() -> None:
    model = SimpleNamespace(
        state_dict=lambda: {"table": torch.zeros(4, 5), "sparse": torch.eye(3).to_sparse()},
        other_parameter=lambda: {"parts": [np.zeros(7), sparse.identity(6, "float32", "csr")], "name": "text", "k": 2},
    )
    matrix = 6 * 4 + 6 * 4 + 7 * 4  # Values, columns, and where the rows begin.
    assert weights_bytes(model) == 80 + 3 * (4 + 2 * 8) + 56 + matrix
    assert weights_bytes(SimpleNamespace(state_dict=dict, other_parameter=lambda: None)) == 0


def users(values: list[float], ids: list[int] | None = None) -> UserScores:
    return UserScores(np.array(ids or range(len(values))), np.array(values))


def test_compare_with_a_better_an_equal_and_a_like_one() -> None:
    random = np.random.default_rng(0)
    base = random.random(500)
    equal = compare([users(base)], [users(base)])
    assert equal == {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}
    clear = compare([users(base + 0.1)], [users(base + random.normal(0, 0.2, 500))])
    assert clear["low"] < clear["difference"] < clear["high"] and clear["low"] > 0
    assert clear["p"] == pytest.approx(2 / (significance.RESAMPLES + 1))
    noise = random.normal(0, 0.2, 500)
    like = compare([users(base)], [users(base + noise - noise.mean() + 0.001)])
    assert like["p"] > 0.5 and like["low"] < 0 < like["high"]
    # The interval is that of the mean: 1.96 standard errors on either side.
    assert clear["high"] - clear["low"] == pytest.approx(2 * 1.96 * 0.2 / 500**0.5, rel=0.1)


def test_compare_takes_users_with_all_of_their_seeds() -> None:
    best = [users([1.0, 0.0], [1, 2]), users([1.0, 0.0], [2, 3])]
    other = [users([0.0, 0.0], [1, 2]), users([0.0, 0.0], [2, 3])]
    assert compare(best, other)["difference"] == 0.5
    # Twice the same user is no more evidence than once.
    once = compare([users([0.3, -0.1, 0.2])], [users([0.0] * 3)])
    assert compare([users([0.3, -0.1, 0.2])] * 5, [users([0.0] * 3)] * 5) == pytest.approx(once)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_ties_are_with_the_best() -> None:
    base = np.random.default_rng(0).random(300)
    rows: list[dict[str, Any]] = [{"name": name} for name in ("best", "like", "worse", "unknown")]
    values = {"best": [users(base)], "like": [users(base[::-1] - 0.001)], "worse": [users(base - 0.3)]}
    bootstrap_rows(rows, values)
    assert [row.get("tie") for row in rows] == [None, True, False, None]
    assert "against_best" not in rows[0] and rows[2]["against_best"]["difference"] == pytest.approx(0.3)
