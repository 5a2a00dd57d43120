r"""The terms of the objective of Mult-VAE (Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018).

Tensors and plain numbers in, scalars out. ``B`` users in the batch, ``I`` items, ``K`` latent dimensions, ``N``
interactions of the batch. A batch of click vectors x_u in {0,1}^I is sparse: ``items`` [N] holds the columns that are 1,
row after row, and ``offsets`` [B + 1] where each row begins and ends.
"""

from __future__ import annotations

import torch
from torch import Tensor


def multinomial_nll(logits: Tensor, items: Tensor, offsets: Tensor) -> Tensor:
    r"""Negative multinomial log-likelihood, the mean over users (paper, equation 2).

    .. math:: -\frac{1}{B} \sum_u \sum_i x_{ui} \log \mathrm{softmax}_i f(z_u)
        = \frac{1}{B} \sum_u \Big( N_u \log \sum_i e^{f_i(z_u)} - \sum_{i: x_{ui} = 1} f_i(z_u) \Big)

    Args:
        logits: f(z_u), [B, I].
        items: columns of the clicked items, int64 [N].
        offsets: int64 [B + 1].

    Returns:
        A float32 scalar. Users without interactions add nothing to the sum, but count in B.
    """
    logits = logits.float()
    counts = offsets.diff()
    rows = torch.repeat_interleave(counts)
    normaliser = logits.logsumexp(dim=1)
    return ((counts * normaliser).sum() - logits[rows, items].sum()) / len(counts)


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    r"""KL(N(mu, diag exp(logvar)) || N(0, I)), summed over K, the mean over users (paper, equations 5 and 6).

    Args:
        mu: [B, K].
        logvar: the logarithm of the variance, [B, K].
    """
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(dim=1).mean()


def annealed_beta(step: int, cap: float, total_steps: int) -> float:
    """The weight of the KL term at an update (paper, section 2.2.2; dawenl/vae_cf, VAE_ML20M_WWW2018.ipynb at ad103c5).

    Args:
        step: updates made before this one, from 0.
        cap: the largest weight.
        total_steps: updates over which the weight would rise from 0 to 1; 0 means no annealing.
    """
    return min(cap, step / total_steps) if total_steps > 0 else cap
