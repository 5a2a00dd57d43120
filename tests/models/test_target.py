"""Models that learn to predict later clicks from earlier ones: the order in time, the cut, and the objective."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recbole_multvae.clicks import Clicks
from recbole_multvae.data.csr import click_matrix
from recbole_multvae.errors import ConfigurationError, DataError
from recbole_multvae.layers import earlier_and_later
from tests.conftest import QUICK
from tests.data.made import BY_TIME, comings, prepared, write

COLUMNS = ("user_id:token", "item_id:token", "timestamp:float")
OURS = {key: value for key, value in QUICK.items() if key not in ("data_path", "epochs")}


def once() -> dict[tuple[str, str], int]:
    """The times of pairs of a user and an item, none of which repeats."""
    return {(user, item): time for user, item, time in comings()}


def experiment(model: str = "MultVAE", **keys: Any) -> Any:
    write("made", [(*pair, time) for pair, time in once().items()], COLUMNS)
    return prepared(model, "made", **{**OURS, "target": "later", "eval_args": {"split": {"GT": {}}}, **keys})


def lists(clicks: Clicks) -> list[list[int]]:
    return [part.tolist() for part in clicks.columns.split(clicks.counts.tolist())]


#: Users with four clicks, none, one and two, and the places of the clicks in time.
CLICKS = Clicks(torch.tensor([3, 5, 6, 9, 2, 4, 7]), torch.tensor([0, 4, 4, 5, 7]))
ORDER = torch.tensor([2, 0, 3, 1, 0, 1, 0])


def cut(last: bool, seed: int) -> tuple[list[list[int]], list[list[int]]]:
    earlier, later = earlier_and_later(CLICKS, ORDER, last, torch.Generator().manual_seed(seed))
    return lists(earlier), lists(later)


def test_the_last_click_follows_all_others() -> None:
    assert cut(last=True, seed=0) == ([[3, 5, 9], [], [2], [7]], [[6], [], [], [4]])


def test_every_place_between_two_clicks_is_as_likely_as_the_others() -> None:
    seen = [cut(last=False, seed=seed) for seed in range(300)]
    expected = [([5], [3, 6, 9]), ([5, 9], [3, 6]), ([3, 5, 9], [6])]
    counts = [sum((earlier[0], later[0]) == pair for earlier, later in seen) for pair in expected]
    assert sum(counts) == 300 and min(counts) > 70
    assert all((earlier[1:], later[1:]) == ([[], [2], [7]], [[], [], [4]]) for earlier, later in seen)


@pytest.mark.parametrize("split", [{"split": {"GT": {}}}, BY_TIME, {"split": {"RS": [8, 1, 1]}, "order": "RO"}], ids=str)
@pytest.mark.parametrize("refit", [False, True])
def test_the_order_is_that_of_the_file_s_times(split: dict[str, Any], refit: bool) -> None:
    data = experiment(eval_args={**split, "mode": "full"}, refit=refit).train_data.dataset
    matrix = click_matrix(data)
    for user in range(1, data.user_num):
        entries = slice(*matrix.indptr[user : user + 2])
        token, items = data.id2token("user_id", user), data.id2token("item_id", matrix.indices[entries])
        when = [once()[token, item] for item in items]
        order = data.click_order[entries]
        assert sorted(order) == list(range(len(items)))
        assert (np.diff(np.array(when)[np.argsort(order)]) >= 0).all()


def test_equal_times_are_in_the_order_of_the_rows_and_repeats_count_once() -> None:
    rows = [("u", "i1", 5), ("u", "i2", 5), ("v", "i1", 9), ("u", "i3", 1), ("u", "i2", 0), ("v", "i3", 9), ("v", "i2", 9)]
    write("made", [*rows, ("u", "i1", 98), ("v", "i1", 99)], COLUMNS)
    keys = {"eval_args": {"split": {"GT": {"valid_from": 98, "test_from": 99}}}, "topk": [1], "valid_metric": "NDCG@1"}
    data = prepared("MultVAE", "made", **OURS, target="last", **keys).train_data.dataset
    matrix = click_matrix(data)
    for user, expected in (("u", ["i2", "i3", "i1"]), ("v", ["i1", "i3", "i2"])):
        number = data.token2id("user_id", user)
        entries = slice(*matrix.indptr[number : number + 2])
        items = data.id2token("item_id", matrix.indices[entries])
        assert items[np.argsort(data.click_order[entries])].tolist() == expected


@pytest.mark.parametrize("model", ["MultVAE", "MultDAE"])
@pytest.mark.parametrize("likelihood", ["multinomial", "gaussian", "logistic"])
def test_the_objective_is_that_of_the_target_given_the_history(model: str, likelihood: str) -> None:
    keys = {"reg_weight": 0.0} if model == "MultDAE" else {"total_anneal_steps": 500}  # At first beta is 0.
    network = experiment(model, likelihood=likelihood, dropout_prob=0.0, **keys).trainer.model.eval()
    network.sample = lambda mu, logvar: mu
    given, target = (Clicks.from_lists(rows, network.device) for rows in ([[1, 2], [4]], [[3], [5, 6]]))
    f, x = network(given).detach().double().numpy(), np.zeros((2, network.n_items - 1))
    x[[0, 1, 1], [2, 4, 5]] = 1
    minus_log_p = {
        "multinomial": -x * (f - np.log(np.exp(f).sum(axis=1, keepdims=True))),
        "gaussian": np.where(x > 0, 2.0, 1.0) / 2 * (x - f) ** 2,
        "logistic": np.log1p(np.exp(f)) - x * f,
    }
    expected = minus_log_p[likelihood].sum(axis=1).mean()
    assert network.loss(given, target).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("target", ["later", "last"])
@pytest.mark.parametrize("model", ["MultVAE", "MultDAE"])
def test_training_reads_pairs_of_users_with_two_clicks(model: str, target: str) -> None:
    made = experiment(model, target=target)
    counts = made.train_data.dataset.inter_matrix(form="csr").getnnz(axis=1)
    users = torch.cat([batch["user_id"] for batch in made.train_data])
    assert sorted(users.tolist()) == np.flatnonzero(counts > 1).tolist()
    given, predicted = made.trainer.model.training_batch(next(iter(made.train_data)))
    assert (given.counts > 0).all() and (predicted.counts > 0).all()
    made.fit(saved=False)
    assert 0 < made.test(saved=False)["ndcg@5"] < 1


def test_the_same_seed_draws_the_same_cuts() -> None:
    states = []
    for _ in range(2):
        made = experiment(epochs=2)
        made.fit(saved=False)
        states.append(made.trainer.model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_mistakes() -> None:
    with pytest.raises(ConfigurationError, match="target='next' is not allowed: expected all, later or last"):
        experiment(target="next")
    with pytest.raises(ConfigurationError, match=r"learns from the order .* the column when is not loaded"):
        experiment(TIME_FIELD="when", eval_args={"split": {"RS": [8, 1, 1]}, "order": "RO", "mode": "full"})
    write("made", [(f"u{n}", f"i{n % 4}", n) for n in range(40)], COLUMNS)
    with pytest.raises(DataError, match="No user has clicks on two items in training"):
        prepared("MultVAE", "made", **OURS, target="last", topk=[1], valid_metric="NDCG@1", eval_args={"split": {"GT": {}}})
