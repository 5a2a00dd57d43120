r"""The Gaussian likelihood (Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018, equation 3).

.. math:: \log p(x_u | z_u) = -\sum_i \frac{c_{ui}}{2} (x_{ui} - f_i(z_u))^2 + \text{const}

The confidence c_ui is c1 where the user clicked and c0 elsewhere, with c1 > c0, as in weighted matrix factorization (Hu,
Koren, Volinsky, ICDM 2008).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_multvae.likelihoods.base import Likelihood, LikelihoodSettings
from recbole_multvae.likelihoods.output_layer import fused_loss, itemwise
from recbole_multvae.settings import setting


class GaussianSettings(LikelihoodSettings):
    """The settings of the Gaussian likelihood."""

    confidence_c1: float = setting(2.0, "a number above 0", "the weight c1 of the squared error of a click", gt=0)
    confidence_c0: float = setting(
        1.0, "a number above 0", "the weight c0 of the squared error of an item that was not clicked", gt=0
    )


class Gaussian(Likelihood):
    """A normal distribution around each score, with its own precision for clicks and for the other items."""

    settings_class = GaussianSettings
    settings: GaussianSettings

    def negative_log_likelihood(
        self, hidden: Tensor, output: nn.Linear, columns: Tensor, offsets: Tensor, generator: torch.Generator
    ) -> Tensor:
        """See :meth:`.Likelihood.negative_log_likelihood` and :func:`gaussian_nll`."""
        c1, c0, memory = self.settings.confidence_c1, self.settings.confidence_c0, self.settings.train_memory * 2**20
        return gaussian_nll(hidden, output.weight, output.bias, columns, offsets, c1, c0, self.dtype, memory)


def gaussian_nll(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    columns: Tensor,
    offsets: Tensor,
    c1: float,
    c0: float,
    dtype: torch.dtype = torch.float32,
    memory: int = 2**29,
) -> Tensor:
    """Negative Gaussian log-likelihood without its constant, the mean over users (paper, equation 3).

    Args:
        hidden: the last hidden layer of the decoder, [B, H].
        weight: of the last layer, [I, H].
        bias: of the last layer, [I].
        columns: the clicked items, from 0 to I - 1, int64 [N].
        offsets: int64 [B + 1].
        c1: the confidence of a click.
        c0: the confidence of every other item.
        dtype: see :func:`.output_layer.fused_loss`.
        memory: see there.

    Returns:
        A float32 scalar.
    """

    def no_click(scores: Tensor) -> Tensor:
        loss = c0 / 2 * scores.square().sum(dtype=torch.float32)
        scores.mul_(c0)
        return loss

    def click(scores: Tensor) -> tuple[Tensor, Tensor]:
        error = scores - 1
        return c1 / 2 * error.square() - c0 / 2 * scores.square(), c1 * error - c0 * scores

    return fused_loss(itemwise(no_click, click), hidden, weight, bias, columns, offsets, dtype, memory)
