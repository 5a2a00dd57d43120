from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from recbole_multvae.clicks import Clicks
from recbole_multvae.layers import popularity_dropout, sparse_dropout
from recbole_multvae.likelihoods import likelihoods, output_layer
from recbole_multvae.likelihoods.output_layer import fused_loss
from recbole_multvae.models.multvae import annealed_beta, gaussian_kl
from tests import reference

CLICKS = Clicks(torch.tensor([0, 3, 1, 2, 3, 6]), torch.tensor([0, 2, 2, 5, 6]))  # The second user has none.


def loss_of(
    name: str, hidden: Tensor, weight: Tensor, bias: Tensor, clicks: Clicks = CLICKS,
    dtype: torch.dtype = torch.float32, memory: int = 2**29, **keys: float,
) -> Tensor:  # fmt: skip
    """The loss of a likelihood by its name, with these settings."""
    likelihood = likelihoods()[name]
    add_part = likelihood(likelihood.settings_class(**keys), dtype, False).add_part
    return fused_loss(add_part, hidden, weight, bias, clicks, dtype, memory)


def layer() -> tuple[Tensor, Tensor, Tensor]:
    """The hidden layer of four users, the weight and the bias of seven items."""
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(4, 5), torch.randn(7, 5), torch.randn(7)
    return hidden.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


def of_logits(logits: list[list[float]], items: list[int], offsets: list[int]) -> float:
    hidden = torch.tensor(logits)
    weight = torch.eye(hidden.shape[1])
    clicks = Clicks(torch.tensor(items, dtype=torch.long), torch.tensor(offsets))
    return loss_of("multinomial", hidden, weight, torch.zeros(len(weight)), clicks).item()


def plain(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same loss with everything in memory, in float64."""
    clicks = torch.zeros(4, 7).double()
    clicks[CLICKS.rows, CLICKS.columns] = 1
    logits = hidden.double() @ weight.double().T + bias.double()
    return -(clicks * logits.log_softmax(dim=1)).sum(dim=1).mean()


def test_multinomial_by_hand() -> None:
    # Two items of equal probability, one of them clicked: log 2. No click: 0. The mean over both users: log(2) / 2.
    assert of_logits([[0.0, 0.0], [0.0, 0.0]], [1], [0, 1, 1]) == pytest.approx(np.log(2) / 2)


def test_multinomial_of_large_logits_does_not_overflow() -> None:
    assert of_logits([[1e4, -1e4, 0.0]], [1], [0, 1]) == pytest.approx(2e4)


@pytest.mark.parametrize("columns", [2, 3, 1024])
@pytest.mark.parametrize("memory", [1, 2 * 7 * 4, 3 * 7 * 4, 2**20])
@pytest.mark.parametrize("shift", [0, 30, 100, -100])
def test_multinomial_in_blocks_and_parts_is_the_plain_one(
    columns: int, memory: int, shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_layer, "CPU_COLUMNS", columns)
    plain_layer, tensors = layer(), layer()
    for *_, bias in (plain_layer, tensors):
        bias.data += shift
    expected = plain(*plain_layer)
    expected.backward()
    loss = loss_of("multinomial", *tensors, memory=memory)
    (3 * loss).backward()
    assert loss.item() == pytest.approx(expected.item())
    for tensor, reference_tensor in zip(tensors, plain_layer, strict=True):
        torch.testing.assert_close(tensor.grad, 3 * reference_tensor.grad)


@pytest.mark.parametrize("memory", [2 * 7 * 2, 2**20])
def test_bf16_rounds_the_products_alone(memory: int) -> None:
    expected = plain(*(plain_layer := layer()))
    expected.backward()
    loss = loss_of("multinomial", *(tensors := layer()), dtype=torch.bfloat16, memory=memory)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=0.02)
    for tensor, reference_tensor in zip(tensors, plain_layer, strict=True):
        assert tensor.grad.dtype == torch.float32
        torch.testing.assert_close(tensor.grad, reference_tensor.grad, rtol=0.05, atol=0.02)


def test_multinomial_under_autocast_is_float32() -> None:
    plain_layer, tensors = layer(), layer()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of("multinomial", *tensors)
    assert loss.item() == pytest.approx(plain(*plain_layer).item())


def test_gradients_are_handed_over_not_copied() -> None:
    hidden, weight, bias = layer()
    loss = loss_of("multinomial", hidden, weight, bias)
    addresses = [gradient.data_ptr() for gradient in loss.grad_fn.gradients]
    loss.backward()
    assert [tensor.grad.data_ptr() for tensor in (hidden, weight, bias)] == addresses


def test_a_second_backward_says_so() -> None:
    loss = loss_of("multinomial", *layer())
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_kl_by_hand() -> None:
    assert gaussian_kl(torch.zeros(3, 4), torch.zeros(3, 4)).tolist() == [0, 0, 0]
    assert gaussian_kl(torch.full((1, 2), 3.0), torch.zeros(1, 2)).tolist() == pytest.approx([9.0])


def test_kl_is_the_reference_s() -> None:
    mu, logvar = torch.randn(5, 3), torch.randn(5, 3)
    expected = reference.kl(mu.double().numpy(), logvar.double().numpy())
    np.testing.assert_allclose(gaussian_kl(mu, logvar).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("step", "cap", "total", "expected"),
    [(0, 0.2, 100, 0.0), (10, 0.2, 100, 0.1), (20, 0.2, 100, 0.2), (5000, 0.2, 100, 0.2), (0, 0.2, 0, 0.2)],
)
def test_beta(step: int, cap: float, total: int, expected: float) -> None:
    assert annealed_beta(step, cap, total) == pytest.approx(expected)
    assert reference.beta(step, cap, total) == pytest.approx(expected)


class TestPopularityDropout:
    counts = torch.tensor([400, 100, 25, 4, 0])

    @pytest.mark.parametrize("mean", [0.0, 0.1, 0.5, 0.9])
    def test_drops_that_share_of_all_clicks(self, mean: float) -> None:
        p = popularity_dropout(self.counts, mean)
        assert (p * self.counts).sum().item() / self.counts.sum().item() == pytest.approx(mean, abs=1e-6)
        assert ((p >= 0) & (p < 1)).all() and (p.diff() <= 0).all()  # The more clicks, the more are dropped.

    def test_keeps_in_inverse_proportion_to_the_root_of_clicks(self) -> None:
        kept = 1 - popularity_dropout(self.counts[:2], 0.7)
        assert kept[1].item() == pytest.approx(2 * kept[0].item(), rel=1e-5)

    def test_the_input_s_expectation_stays(self) -> None:
        clicks = Clicks(torch.arange(4).repeat(5000), torch.arange(0, 20001, 4))
        p = popularity_dropout(self.counts, 0.5)
        generator = torch.Generator().manual_seed(1)
        kept = sparse_dropout(clicks, p, generator)
        assert len(kept.columns) == len(kept.values) == kept.offsets[-1] < 20000
        sums = torch.zeros(4).index_add_(0, kept.columns, kept.values) / 5000
        torch.testing.assert_close(sums, torch.ones(4), rtol=0.06, atol=0)
