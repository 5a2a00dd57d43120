"""The likelihoods that are a sum over items: their values, their gradients, and the same in blocks, parts and bf16."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_multvae.clicks import Clicks
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.likelihoods import gaussian, likelihoods, output_layer
from recbole_multvae.likelihoods.output_layer import Part
from tests import reference
from tests.conftest import QUICK, Experiment
from tests.likelihoods.test_objectives import CLICKS, layer, loss_of
from tests.models.parity import clicks, compare_gradients, draws, layers_of

C1, C0 = 3.0, 0.25
KEYS: dict[str, dict[str, Any]] = {"gaussian": {"confidence_c1": C1, "confidence_c0": C0}, "logistic": {}}
#: Ours, and the reference.
OURS = {name: partial(loss_of, name, **keys) for name, keys in KEYS.items()}
REFERENCE = {"gaussian": partial(reference.gaussian, c1=C1, c0=C0), "logistic": reference.logistic}


def expected(name: str, hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[float, list[np.ndarray]]:
    """The reference's loss, and its gradients of the three tensors."""
    h, W, b = (tensor.detach().double().numpy() for tensor in (hidden, weight, bias))
    X = np.zeros((4, 7))
    X[CLICKS.rows.numpy(), CLICKS.columns.numpy()] = 1
    loss, d = REFERENCE[name](h @ W.T + b, X)
    return loss, [d @ W, d.T @ h, d.sum(axis=0)]


def test_all_three_of_the_paper_are_there() -> None:
    assert set(likelihoods()) == {"multinomial", "gaussian", "logistic"}


def test_by_hand() -> None:
    # One user, two items with the scores 0 and 2, the second clicked.
    scores = torch.tensor([[0.0, 2.0]]), torch.eye(2), torch.zeros(2), Clicks(torch.tensor([1]), torch.tensor([0, 1]))
    assert loss_of("gaussian", *scores, confidence_c1=4.0, confidence_c0=10.0).item() == pytest.approx(4 / 2 * 1)
    assert loss_of("logistic", *scores).item() == pytest.approx(np.log(2) + np.log(1 + np.exp(-2)))


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("columns", [2, 3, 1024])
@pytest.mark.parametrize("memory", [1, 2 * 7 * 4, 3 * 7 * 4, 2**20])
def test_blocks_and_parts_are_the_reference_s(name: str, columns: int, memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_layer, "CPU_COLUMNS", columns)
    tensors = layer()
    value, gradients = expected(name, *tensors)
    loss = OURS[name](*tensors, memory=memory)
    (3 * loss).backward()
    assert loss.item() == pytest.approx(value)
    for tensor, gradient in zip(tensors, gradients, strict=True):
        np.testing.assert_allclose(tensor.grad, 3 * gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clicks_at_once", [1, 4, 4096])
@pytest.mark.parametrize("memory", [1, 2 * 7 * 4, 2**20])
def test_the_gaussian_without_scores_is_the_reference_s(
    clicks_at_once: int, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaussian, "_gram_is_faster", lambda part: True)
    monkeypatch.setattr(gaussian, "CLICKS", clicks_at_once)
    monkeypatch.setattr(output_layer, "score", None)
    tensors = layer()
    value, gradients = expected("gaussian", *tensors)
    loss = OURS["gaussian"](*tensors, memory=memory)
    (3 * loss).backward()
    assert loss.item() == pytest.approx(value)
    for tensor, gradient in zip(tensors, gradients, strict=True):
        np.testing.assert_allclose(tensor.grad, 3 * gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("users", "units", "faster"), [(500, 200, True), (100, 200, False), (500, 800, False)])
def test_narrow_layers_of_large_catalogues_take_the_gram_matrix(users: int, units: int, faster: bool) -> None:
    def part(dtype: torch.dtype) -> Part:
        hidden, weight = torch.empty(users, units), torch.empty(20000, units, dtype=dtype)
        clicks, unread = Clicks(torch.zeros(27500), torch.empty(0)), torch.empty(0)
        return Part(hidden, weight, unread, clicks, users, unread, unread, unread, False)

    assert gaussian._gram_is_faster(part(torch.float32)) is faster
    assert not gaussian._gram_is_faster(part(torch.bfloat16))


@pytest.mark.parametrize("name", OURS)
def test_the_reference_s_gradient_is_that_of_its_value(name: str) -> None:
    hidden, weight, bias = (tensor.detach().double() for tensor in layer())
    _, (gradient, *_) = expected(name, hidden, weight, bias)
    for place in ((0, 0), (1, 2), (3, 4)):
        up, down = hidden.clone(), hidden.clone()
        up[place] += 1e-5
        down[place] -= 1e-5
        slope = (expected(name, up, weight, bias)[0] - expected(name, down, weight, bias)[0]) / 2e-5
        assert gradient[place] == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("memory", [2 * 7 * 2, 2**20])
def test_bf16_rounds_the_products_alone(name: str, memory: int) -> None:
    tensors = layer()
    value, gradients = expected(name, *tensors)
    loss = OURS[name](*tensors, dtype=torch.bfloat16, memory=memory)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(value, rel=0.02)
    for tensor, gradient in zip(tensors, gradients, strict=True):
        assert tensor.grad.dtype == torch.float32
        np.testing.assert_allclose(tensor.grad, gradient, rtol=0.05, atol=0.03)


@pytest.mark.parametrize("score", [-200.0, 200.0])
def test_logistic_of_large_scores_is_finite(score: float) -> None:
    clicks = Clicks(torch.tensor([1]), torch.tensor([0, 1]))
    assert loss_of("logistic", torch.full((1, 2), score), torch.eye(2), torch.zeros(2), clicks).item() == pytest.approx(200)


@pytest.mark.parametrize("name", OURS)
def test_nobody_clicked(name: str) -> None:
    tensors = layer()
    loss = OURS[name](*tensors, Clicks(CLICKS.columns[:0], torch.zeros(5, dtype=torch.long)))
    loss.backward()
    assert loss > 0 and all(tensor.grad.isfinite().all() for tensor in tensors)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("hidden", [[], [6]])
def test_the_models_losses_and_gradients_are_the_reference_s(blocks: str, name: str, hidden: list[int]) -> None:
    keys = {"likelihood": name, "mlp_hidden_size": hidden, **KEYS[name]}
    users = torch.tensor([3, 0, 1, 17])  # 0, the padding user, has no history.
    for model in ("MultVAE", "MultDAE"):
        model_keys = {"anneal_cap": 0.2, "kl_weighting": "equal"} if model == "MultVAE" else {"reg_weight": 0.01}
        network = Experiment(model, **model_keys, **keys).model.train()
        network.update = 10**6
        X = clicks(network, users)
        M, E = draws(network, users, noise=4)
        encoder, decoder = layers_of(network)
        if model == "MultVAE":
            loss, _, *gradients = reference.multvae(X, M, 0.5, E, encoder, decoder, 0.2, REFERENCE[name])
        else:
            loss, _, *gradients = reference.multdae(X, M, 0.5, encoder, decoder, 0.01 / 8, REFERENCE[name])
        ours = network.calculate_loss(Interaction({"user_id": users}))
        ours.backward()
        assert ours.item() == pytest.approx(loss, rel=1e-5)
        compare_gradients(network, *gradients)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("model", ["MultVAE", "MultDAE"])
def test_learns_the_blocks(blocks: str, model: str, name: str) -> None:
    annealing = {"anneal_cap": 0.1} if model == "MultVAE" else {}
    experiment = Experiment(model, epochs=40, learning_rate=0.02, likelihood=name, mlp_hidden_size=[], **annealing)
    experiment.fit()
    assert experiment.trainer.evaluate(experiment.test_data, show_progress=False)["recall@10"] > 0.9


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"likelihood": "gaussian", "confidence_c1": 0.0}, "confidence_c1=0.0 is not allowed: expected a number above 0"),
        ({"confidence_c0": 2.0}, "confidence_c0=2.0 is a setting of likelihood=gaussian, and this run has likelihood=multi"),
        ({"likelihood": "gaussian", "sampled_softmax": 5}, "sampled_softmax=5 is a setting of likelihood=multinomial"),
        ({"likelihood": "gaussian", "confidence_c": 5.0}, "confidence_c=5.0 is not a configuration key: did you mean conf"),
    ],
)
def test_settings(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Config("MultVAE", "blocks", config_dict={**QUICK, **keys})
