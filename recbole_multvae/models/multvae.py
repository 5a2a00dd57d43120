r"""Mult-VAE (Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018).

The click vector x_u of a user is encoded into a Gaussian, from which the decoder computes a distribution over the items:

.. math::
    h_u &= g_\phi(\text{dropout}(x_u / \lVert x_u \rVert_2)), \quad (\mu_u, \log \sigma_u^2) = h_u        & (4) \\
    z_u &= \mu_u + \epsilon \odot \sigma_u, \quad \epsilon \sim \mathcal N(0, I_K)   & \text{(section 2.2.1)} \\
    \mathcal L_u &= \mathbb E_q[\log p(x_u | z_u)] - \beta \, \mathrm{KL}(q(z_u | x_u) \,\|\, p(z_u))    & (6)

At test time z_u = mu_u, and items are ranked by the decoder's logits f(z_u) (section 2.4). Initial weights and the schedule
of beta follow the authors' code (dawenl/vae_cf, VAE_ML20M_WWW2018.ipynb at ad103c5). ``--config_files=paper`` takes the
paper's sizes and schedule too. The defaults rank better (benchmarks/JOURNAL.md): beta in proportion to a user's clicks and a
decoder without hidden layers, both as in RecVAE (Shenbin et al., WSDM 2020, sections 3.2 and 3.3), and the average of the
weights.
"""

from __future__ import annotations

from math import ceil
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import override

from recbole_multvae.clicks import Clicks
from recbole_multvae.config.settings import ModelSettings, setting
from recbole_multvae.layers import SparseEncoder, mlp
from recbole_multvae.models.auto_encoder import ClickAutoEncoder


class MultVAESettings(ModelSettings):
    """The settings of :class:`MultVAE`."""

    alternatives: ClassVar[tuple[tuple[str, str], ...]] = (("total_anneal_steps", "anneal_epochs"),)
    anneal_cap: float = setting(0.5, "a number from 0 to 1", "the largest weight beta of the KL term", ge=0, le=1)
    total_anneal_steps: int = setting(
        500,
        "an integer, 0 or more",
        "updates over which beta would rise from 0 to 1; 0: beta is anneal_cap from the start",
        ge=0,
    )
    anneal_epochs: int | None = setting(
        None,
        "a positive integer or None",
        "epochs over which beta would rise from 0 to 1, in place of total_anneal_steps",
        gt=0,
    )
    kl_weighting: Literal["clicks", "equal"] = setting(
        "clicks",
        "clicks or equal",
        "clicks: a user's KL term is weighted in proportion to the user's clicks, by beta on average; equal: by beta",
    )
    choose_beta: bool = setting(
        False,
        "True or False",
        "choose anneal_cap as in the paper: train with beta up to 1, then again up to the beta of the best validation",
    )


class MultVAE(ClickAutoEncoder):
    """Mult-VAE: encoder I-H-2K, decoder K-I or K-H-I, by default a multinomial likelihood, annealed KL."""

    settings_class = MultVAESettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        hidden, latent = self.settings.mlp_hidden_size, self.settings.latent_dimension
        dropout, activation = self.input_dropout(), self.settings.hid_activation
        self.encoder = SparseEncoder([self.n_trained, *hidden, 2 * latent], dropout, self.sparse, activation)
        self.decoder = mlp([latent, *self.settings.decoder_sizes(), self.n_trained], activation)
        self.add_cold_items()
        counts = self.training_clicks.clicks.counts
        self.clicks_per_user = int(counts.sum()) / max(1, int((counts > 0).sum()))

    @property
    def anneal_steps(self) -> int:
        """The updates over which beta would rise from 0 to 1, whichever key says so."""
        epochs = self.settings.anneal_epochs
        return self.settings.total_anneal_steps if epochs is None else epochs * self.updates_per_epoch

    @property
    def beta(self) -> float:
        """The weight of the KL term at the next update."""
        return annealed_beta(self.update, self.settings.anneal_cap, self.anneal_steps)

    @override
    def go_on(self, updates: int) -> None:
        self.update = max(updates, ceil(self.settings.anneal_cap * self.anneal_steps))

    @override
    def refit_keys(self) -> dict[str, Any]:
        # The epochs of the refit may be longer.
        epochs = self.settings.anneal_epochs is not None
        return {"anneal_epochs": None, "total_anneal_steps": self.anneal_steps} if epochs else {}

    def posterior(self, clicks: Clicks) -> tuple[Tensor, Tensor]:
        """The mean and the log-variance of q(z_u | x_u), [B, K] each."""
        mu, logvar = self.encoder(clicks, self.generator).chunk(2, dim=1)
        return mu, logvar

    def encode(self, clicks: Clicks) -> Tensor:
        """The mean of q(z_u | x_u), [B, K]."""
        return self.posterior(clicks)[0]

    def sample(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """Draw z_u = mu + epsilon * sigma with epsilon ~ N(0, I), [B, K]."""
        epsilon = torch.randn(mu.shape, generator=self.generator, device=mu.device)
        return mu + epsilon * torch.exp(0.5 * logvar)

    def loss(self, clicks: Clicks, target: Clicks) -> Tensor:
        """The negative annealed ELBO, the mean over the users of the batch (paper, equation 6)."""
        mu, logvar = self.posterior(clicks)
        kl = gaussian_kl(mu, logvar)
        if self.settings.kl_weighting == "clicks":
            kl = kl * target.counts / self.clicks_per_user
        return self.negative_log_likelihood(self.sample(mu, logvar), target) + self.beta * kl.mean()


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    r"""KL(N(mu, diag exp(logvar)) || N(0, I)), summed over K (paper, equations 5 and 6).

    Args:
        mu: [B, K].
        logvar: the logarithm of the variance, [B, K].

    Returns:
        float32 [B].
    """
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(dim=1)


def annealed_beta(step: int, cap: float, total_steps: int) -> float:
    """The weight of the KL term at an update (paper, section 2.2.2; dawenl/vae_cf, VAE_ML20M_WWW2018.ipynb at ad103c5).

    Args:
        step: updates made before this one, from 0.
        cap: the largest weight.
        total_steps: updates over which the weight would rise from 0 to 1; 0 means no annealing.
    """
    return min(cap, step / total_steps) if total_steps > 0 else cap
