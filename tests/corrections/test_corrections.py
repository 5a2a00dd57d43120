"""RecBole's models do what their papers say, where RecBole 1.2.1 does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from recbole.model.general_recommender.fism import FISM
from recbole.utils import ModelType
from torch import Tensor

from tests.conftest import QUIET, Experiment


def made(model: str, dataset: str, **keys: Any) -> Experiment:
    return Experiment(model, dataset, QUIET, data_path=".", **keys)


def scores(model: Any, *users: int) -> np.ndarray:
    with torch.no_grad():
        rows = model.full_sort_predict({model.USER_ID: torch.tensor(users)}).view(len(users), -1)
    return rows.numpy()


def clicks(experiment: Experiment) -> np.ndarray:
    return experiment.train_data.dataset.inter_matrix(form="csr").toarray()


def test_gcmc_ranks_by_the_probability(uneven: str) -> None:
    model = made("GCMC", uneven).model.eval()
    users = torch.tensor([3])
    with torch.no_grad():
        logits = model(model.user_features, model.item_features, users, None)
        pair = model.predict({model.USER_ID: users, model.ITEM_ID: torch.tensor([2])})
    probabilities = logits.softmax(dim=1)[:, 1].numpy()
    assert (np.argsort(scores(model, 3)[0]) == np.argsort(probabilities)).all()
    np.testing.assert_allclose(torch.sigmoid(pair), probabilities[2], rtol=1e-5)


def fism(model: FISM, history: list[int], item: int) -> Tensor:
    """The paper's prediction, without the bias of the user."""
    others = [click for click in history if click != item]
    vectors = model.item_src_embedding.weight[others].sum(dim=0)
    product = vectors @ model.item_dst_embedding.weight[item] / max(1, len(others)) ** model.alpha
    return product + model.item_bias[item]


@pytest.mark.parametrize("model_name", ["FISM", "NAIS"])
def test_a_click_is_predicted_from_the_other_clicks(uneven: str, model_name: str) -> None:
    experiment = made(model_name, uneven, alpha=0.5)
    model, rows = experiment.model, clicks(experiment)
    user = int(rows.sum(axis=1).argmax())
    item, other = np.flatnonzero(rows[user])[:2].tolist()
    pairs = torch.tensor([user]), torch.tensor([item])
    before = model.inter_forward(*pairs).detach()
    with torch.no_grad():
        model.item_src_embedding.weight[item] += 1
        assert model.inter_forward(*pairs).equal(before)
        model.item_src_embedding.weight[other] += 1
        assert not model.inter_forward(*pairs).equal(before)
    if model_name == "FISM":
        expected = fism(model, np.flatnonzero(rows[user]).tolist(), item) + model.user_bias[user]
        torch.testing.assert_close(model.inter_forward(*pairs)[0], expected)


def test_fism_s_loss_is_that_of_its_probabilities(uneven: str) -> None:
    experiment = made("FISM", uneven, reg_weights=[0, 0])
    batch = next(iter(experiment.train_data))
    probabilities = experiment.model.predict(batch)
    expected = torch.nn.functional.binary_cross_entropy(probabilities, batch[experiment.model.LABEL])
    torch.testing.assert_close(experiment.model.calculate_loss(batch), expected)


@pytest.mark.parametrize("model_name", ["FISM", "NAIS"])
def test_no_history_is_no_nan(uneven: str, model_name: str) -> None:
    model = made(model_name, uneven, alpha=0.5).model.eval()
    everything = torch.arange(model.n_items)
    pairs = {model.USER_ID: torch.zeros_like(everything), model.ITEM_ID: everything}  # The padding user has no clicks.
    assert np.isfinite(scores(model, 0)).all() and model.predict(pairs).isfinite().all()
    user = int((model.mask_mat.sum(dim=1) == 1).nonzero()[0])  # No other click is left to predict this one from.
    item = model.history_item_matrix[user, :1]
    assert model.inter_forward(torch.tensor([user]), item).isfinite().all()


def test_padding_is_no_click_of_enmf(uneven: str) -> None:
    experiment = made("ENMF", uneven, epochs=2)
    experiment.fit()
    model = experiment.model
    assert not model.item_embedding.weight[0].any() and not model.user_embedding.weight[0].any()


def test_random_is_the_same_for_any_number_of_users_at_once(uneven: str) -> None:
    model = made("Random", uneven).model
    together = scores(model, 1, 2, 3)
    np.testing.assert_array_equal(np.concatenate([scores(model, user) for user in (1, 2, 3)]), together)
    assert len(np.unique(together)) == together.size
    other_seed = made("Random", uneven, seed=7).model
    assert (scores(other_seed, 1) != together[0]).any()


@pytest.mark.parametrize("method", ["user", "item"])
@pytest.mark.parametrize(("q", "beta"), [(1, 1), (1, 0.5), (3, 1), (2, 0.3)])
def test_asymknn_weighs_neighbours_by_w_to_the_power_q(uneven: str, method: str, q: int, beta: float) -> None:
    experiment = made("AsymKNN", uneven, knn_method=method, q=q, beta=beta, k=4)
    model, x = experiment.model, clicks(experiment)
    w = model.w.toarray() ** q
    expected = w @ x if method == "user" else x @ w
    left, right = (w, x) if method == "user" else (x, w)
    users, items = np.linalg.norm(left, axis=1), np.linalg.norm(right, axis=0)
    expected = expected / (users[:, None] ** (2 * beta) * items ** (2 * (1 - beta)) + 1e-6)
    np.testing.assert_allclose(scores(model, 1, 2, 3), expected[1:4], rtol=1e-4, atol=1e-6)


def test_admmslim_scores_a_history_in_one_way(uneven: str) -> None:
    experiment = made("ADMMSLIM", uneven)
    model = experiment.model
    expected = clicks(experiment)[[1, 2]] @ model.item_similarity
    np.testing.assert_allclose(scores(model, 1, 2), expected, atol=1e-6)
    np.testing.assert_array_equal(scores(model, 1, 2), scores(model, 1, 2))


def test_nceplrec_is_computed_once(uneven: str) -> None:
    experiment = made("NCEPLRec", uneven, rank=5)
    assert experiment.config["MODEL_TYPE"] == ModelType.TRADITIONAL and experiment.trainer.epochs == 1
