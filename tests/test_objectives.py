from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_multvae.objectives import annealed_beta, gaussian_kl, multinomial_nll
from tests import reference


def test_multinomial_by_hand() -> None:
    # Two items of equal probability, one of them clicked: log 2. No click: 0. The mean over both users: log(2) / 2.
    loss = multinomial_nll(torch.zeros(2, 2), torch.tensor([1]), torch.tensor([0, 1, 1]))
    assert loss.item() == pytest.approx(np.log(2) / 2)


def test_multinomial_of_large_logits_does_not_overflow() -> None:
    loss = multinomial_nll(torch.tensor([[1e4, -1e4, 0.0]]), torch.tensor([1]), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(2e4)


def test_kl_by_hand() -> None:
    assert gaussian_kl(torch.zeros(3, 4), torch.zeros(3, 4)).item() == 0
    assert gaussian_kl(torch.full((1, 2), 3.0), torch.zeros(1, 2)).item() == pytest.approx(9.0)


def test_kl_is_the_reference_s() -> None:
    mu, logvar = torch.randn(5, 3), torch.randn(5, 3)
    assert gaussian_kl(mu, logvar).item() == pytest.approx(reference.kl(mu.double().numpy(), logvar.double().numpy()))


@pytest.mark.parametrize(
    ("step", "cap", "total", "expected"),
    [(0, 0.2, 100, 0.0), (10, 0.2, 100, 0.1), (20, 0.2, 100, 0.2), (5000, 0.2, 100, 0.2), (0, 0.2, 0, 0.2)],
)
def test_beta(step: int, cap: float, total: int, expected: float) -> None:
    assert annealed_beta(step, cap, total) == pytest.approx(expected)
    assert reference.beta(step, cap, total) == pytest.approx(expected)
