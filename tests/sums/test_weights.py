"""The choice of weights from made values of users."""

from __future__ import annotations

import numpy as np
import pytest

from recbole_multvae.sums.weights import MOST_WEIGHTS, Quality, Weights, _grid, alone, choose_weights


class Judge:
    """Each user's value falls with the distance of the weights from the user's own best weights."""

    def __init__(self, best: Weights, noise: float = 0.1, users: int = 400) -> None:
        self.targets = np.array(best) + noise * np.random.default_rng(0).standard_normal((users, len(best)))

    def __call__(self, weights: Weights) -> Quality:
        values = -((self.targets - np.array(weights)) ** 2).sum(axis=1)
        return Quality(float(values.mean()), values)


@pytest.mark.parametrize("best", [(0.7, 0.3), (0.2, 0.8), (0.5, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4)])
def test_the_best_weights_are_found(best: Weights) -> None:
    weights = choose_weights(len(best), Judge(best))
    np.testing.assert_allclose(weights, best, atol=0.03)
    assert sum(weights) == pytest.approx(1, abs=0.002)


@pytest.mark.parametrize("best", [(1.0, 0.0), (0.0, 1.0, 0.0), (0.6, 0.0, 0.4)])
def test_a_member_that_adds_nothing_gets_0(best: Weights) -> None:
    weights = choose_weights(len(best), Judge(tuple(weight or -0.05 for weight in best)))
    assert [weight > 0 for weight in weights] == [weight > 0 for weight in best]


def test_between_two_equal_members_one_is_left_out() -> None:
    def judge(weights: Weights) -> Quality:
        users = np.full(10, -abs(weights[0] + weights[1] - 0.8))
        return Quality(float(users.mean()), users)

    weights = choose_weights(3, judge)
    assert sorted(weights)[0] == 0 and weights[2] == pytest.approx(0.2, abs=0.01)


def test_metrics_of_no_single_user_are_taken_as_they_are() -> None:
    assert choose_weights(2, lambda weights: Quality(-abs(weights[1] - 0.35), None)) == (0.65, 0.35)


@pytest.mark.parametrize("members", range(2, 11))
def test_the_grid_has_every_member_alone(members: int) -> None:
    grid = list(_grid(members))
    assert len(grid) == len(set(grid)) <= MOST_WEIGHTS
    assert {alone(member, members) for member in range(members)} <= set(grid)
    assert all(sum(weights) == pytest.approx(1) for weights in grid)
