r"""Mult-DAE, the denoising auto-encoder of the Mult-VAE paper (Liang et al., WWW 2018, section 2.2.3).

.. math:: \mathcal L_u = \log p_\theta(x_u \mid g_\phi(\text{dropout}(x_u / \lVert x_u \rVert_2)))

One tanh layer between the items and back, and an L2 penalty of the weights instead of the KL term; sizes and the scale of
the penalty follow the authors' code (dawenl/vae_cf, VAE_ML20M_WWW2018.ipynb at ad103c5).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from recbole_multvae.clicks import Clicks
from recbole_multvae.config.settings import ModelSettings, Size, setting
from recbole_multvae.layers import ACTIVATIONS, SparseEncoder, mlp
from recbole_multvae.models.auto_encoder import ClickAutoEncoder


class MultDAESettings(ModelSettings):
    """The settings of :class:`MultDAE`."""

    mlp_hidden_size: list[Size] | Literal["auto"] = ModelSettings.with_default("mlp_hidden_size", [])
    decoder_hidden_size: list[Size] | Literal["mirrored"] = ModelSettings.with_default("decoder_hidden_size", "mirrored")
    reg_weight: float = setting(
        0.01, "a number, 0 or more", "L2 penalty of the weights, divided by train_batch_size as in the paper's code", ge=0
    )


class MultDAE(ClickAutoEncoder):
    """Mult-DAE: encoder I-H-K, decoder K-H-I, tanh between all layers, multinomial likelihood, L2 penalty, by default."""

    settings_class = MultDAESettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        hidden, latent = self.settings.mlp_hidden_size, self.settings.latent_dimension
        dropout, self.latent_activation = self.input_dropout(), self.settings.hid_activation
        self.encoder = SparseEncoder([self.n_trained, *hidden, latent], dropout, self.sparse, self.latent_activation)
        self.activation = ACTIVATIONS[self.latent_activation]()
        self.decoder = mlp([latent, *self.settings.decoder_sizes(), self.n_trained], self.latent_activation)
        self.add_cold_items()
        # The authors' code: lam = 0.01 / batch_size, and lam * ||W||^2 is added to the mean over the users of a batch.
        self.l2 = self.settings.reg_weight / config["train_batch_size"]

    def encode(self, clicks: Clicks) -> Tensor:
        """The activation of the encoder's output, by default tanh, [B, K]."""
        return self.activation(self.encoder(clicks, self.generator))

    def loss(self, clicks: Clicks, target: Clicks) -> Tensor:
        """The negative log-likelihood, the mean over the users of the batch, and the L2 penalty of the weights."""
        loss = self.negative_log_likelihood(self.encode(clicks), target)
        if not self.l2:
            return loss
        weights = [weight for name, weight in self.named_parameters() if name.endswith("weight")]
        penalty = torch.stack([weight.square().sum() for weight in weights]).sum()
        return loss + self.l2 * penalty
