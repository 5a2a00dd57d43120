r"""The Gaussian likelihood (Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018, equation 3).

.. math:: \log p(x_u | z_u) = -\sum_i \frac{c_{ui}}{2} (x_{ui} - f_i(z_u))^2 + \text{const}

The confidence c_ui is c1 where the user clicked and c0 elsewhere, with c1 > c0, as in weighted matrix factorization (Hu,
Koren, Volinsky, ICDM 2008). As there, the sum over all items needs no score of an item that was not clicked: with the last
hidden layer h and f = W h + b,

.. math:: \sum_i f_i^2 = h^\top (W^\top W) h + 2 h^\top W^\top b + b^\top b

which is used where it takes less time than all the scores: for large catalogues and narrow layers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from recbole_multvae.config.settings import setting
from recbole_multvae.likelihoods.base import Likelihood, LikelihoodSettings
from recbole_multvae.likelihoods.output_layer import Click, Part, itemwise

#: Clicks that are computed at once, so that the rows of their weights stay in the cache.
CLICKS = 4096
#: The cost of a click in :func:`_from_gram`, in products of two numbers for each hidden unit: measured on a CPU.
CLICK_COST = 250


class GaussianSettings(LikelihoodSettings):
    """The settings of the Gaussian likelihood."""

    confidence_c1: float = setting(2.0, "a number above 0", "the weight c1 of the squared error of a click", gt=0)
    confidence_c0: float = setting(
        1.0, "a number above 0", "the weight c0 of the squared error of an item that was not clicked", gt=0
    )


class Gaussian(Likelihood):
    """A normal distribution around each score, with one precision for clicks and one for the other items."""

    settings_class = GaussianSettings
    settings: GaussianSettings

    @override
    def add_part(self, part: Part) -> Tensor:
        if _gram_is_faster(part):
            return _from_gram(part, self.settings.confidence_c0, self.click)
        return itemwise(part, self.no_click, self.click)

    def no_click(self, scores: Tensor) -> Tensor:
        """The sum of c0/2 f^2, the terms of items that were not clicked; replaces the scores by the derivatives."""
        c0 = self.settings.confidence_c0
        loss = c0 / 2 * scores.square().sum(dtype=torch.float32)
        scores.mul_(c0)
        return loss

    def click(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """A click replaces c0/2 f^2 by c1/2 (f - 1)^2: the changes of the terms, and of their derivatives."""
        c1, c0 = self.settings.confidence_c1, self.settings.confidence_c0
        error = scores - 1
        return c1 / 2 * error.square() - c0 / 2 * scores.square(), c1 * error - c0 * scores


def _gram_is_faster(part: Part) -> bool:
    """Whether :func:`_from_gram` takes less time than all scores: two products [I, H, H] for three [B, I, H]."""
    if part.weight.is_cuda or part.weight.dtype != torch.float32:
        return False
    n_items, units = part.weight.shape
    return 2 * n_items * units + CLICK_COST * len(part.clicks.columns) < 3 * len(part.hidden) * n_items


def _from_gram(part: Part, c0: float, click: Click) -> Tensor:
    """Compute the loss of some users, and add their gradients, without the scores of the items that they did not click."""
    hidden, weight, bias, keep, share = part.hidden, part.weight, part.bias, int(part.accumulate), c0 / part.n_users
    total, shift = hidden.sum(dim=0), weight.T @ bias
    of_hidden = hidden @ (weight.T @ weight) + shift
    loss = c0 / 2 * (((of_hidden + shift) * hidden).sum() + len(hidden) * bias.dot(bias))
    part.grad_hidden.add_(of_hidden, alpha=share)
    part.grad_weight.addmm_(weight, hidden.T @ hidden, beta=keep, alpha=share).addr_(bias, total, alpha=share)
    part.grad_bias.addmv_(weight, total, beta=keep, alpha=share).add_(bias, alpha=share * len(hidden))
    for row, column in zip(part.clicks.rows.split(CLICKS), part.clicks.columns.split(CLICKS), strict=True):
        users, items = hidden[row], weight[column]
        terms, derivatives = click((users * items).sum(dim=1) + bias[column])
        loss += terms.sum()
        derivatives = derivatives / part.n_users
        part.grad_hidden.index_add_(0, row, items * derivatives[:, None])
        part.grad_weight.index_add_(0, column, users * derivatives[:, None])
        part.grad_bias.index_add_(0, column, derivatives)
    return loss
