r"""The logistic likelihood (Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018, section 2.1.1).

.. math:: \log p(x_u | z_u) = \sum_i x_{ui} \log \sigma(f_i(z_u)) + (1 - x_{ui}) \log(1 - \sigma(f_i(z_u)))
    = \sum_i x_{ui} f_i(z_u) - \log(1 + e^{f_i(z_u)})
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_multvae.likelihoods.base import Likelihood
from recbole_multvae.likelihoods.output_layer import fused_loss, itemwise


class Logistic(Likelihood):
    """A coin for each item, which says whether it was clicked."""

    def negative_log_likelihood(
        self, hidden: Tensor, output: nn.Linear, columns: Tensor, offsets: Tensor, generator: torch.Generator
    ) -> Tensor:
        """See :meth:`.Likelihood.negative_log_likelihood` and :func:`logistic_nll`."""
        return logistic_nll(hidden, output.weight, output.bias, columns, offsets, self.dtype, self.memory)


def logistic_nll(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    columns: Tensor,
    offsets: Tensor,
    dtype: torch.dtype = torch.float32,
    memory: int = 2**29,
) -> Tensor:
    """Negative logistic log-likelihood, the mean over users. The arguments are those of :func:`.output_layer.fused_loss`."""
    return fused_loss(itemwise(_no_click, _click), hidden, weight, bias, columns, offsets, dtype, memory)


def _no_click(scores: Tensor) -> Tensor:
    loss = F.softplus(scores).sum(dtype=torch.float32)
    scores.sigmoid_()
    return loss


def _click(scores: Tensor) -> tuple[Tensor, Tensor]:
    return -scores, torch.full_like(scores, -1)
