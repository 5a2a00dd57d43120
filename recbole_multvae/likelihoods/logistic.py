r"""The logistic likelihood (Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018, section 2.1.1).

.. math:: \log p(x_u | z_u) = \sum_i x_{ui} \log \sigma(f_i(z_u)) + (1 - x_{ui}) \log(1 - \sigma(f_i(z_u)))
    = \sum_i x_{ui} f_i(z_u) - \log(1 + e^{f_i(z_u)})
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from recbole_multvae.likelihoods.base import Likelihood
from recbole_multvae.likelihoods.output_layer import Part, itemwise


class Logistic(Likelihood):
    """A Bernoulli distribution for each item: clicked or not."""

    @override
    def add_part(self, part: Part) -> Tensor:
        return itemwise(part, _no_click, _click)


def _no_click(scores: Tensor) -> Tensor:
    loss = F.softplus(scores).sum(dtype=torch.float32)
    scores.sigmoid_()
    return loss


def _click(scores: Tensor) -> tuple[Tensor, Tensor]:
    return -scores, torch.full_like(scores, -1)
