"""What the auto-encoders of the family share: a network of sparse click vectors, and a likelihood.

``B`` users in the batch, ``I`` items without the padding item, ``K`` latent dimensions, ``N`` interactions of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from recbole_multvae.config.settings import ModelSettings, RecommenderSettings
from recbole_multvae.hardware import product_dtype
from recbole_multvae.layers import SparseEncoder, describe, popularity_dropout
from recbole_multvae.likelihoods import Likelihood, likelihoods
from recbole_multvae.models.base import ClickRecommender


class ClickAutoEncoder(ClickRecommender):
    """A network that maps a user's click vector to a score for every item.

    A subclass sets ``settings_class``, builds an ``encoder`` and a ``decoder``, and defines :meth:`encode` and :meth:`loss`.

    Attributes:
        likelihood: what the decoder's outputs stand for; it knows the loss.
        sparse: whether the gradients of the tables are sparse, for RecBole's ``learner: sparse_adam``.
    """

    settings_class: ClassVar[type[RecommenderSettings]] = ModelSettings
    #: How :meth:`encode` scales the clicks, by its name in :meth:`spec`: ``l2``, x / ||x||_2, or ``none``.
    input_scaling: str = "l2"
    #: The activation between the encoder's last layer and the decoder, by its name in :meth:`spec`.
    latent_activation: str = "none"
    encoder: SparseEncoder
    decoder: nn.Sequential
    #: The latent representation used to rank, [B, K], of a history: columns [N], offsets [B + 1].
    encode: Callable[..., Tensor]
    #: The objective of one update, a scalar, for a history: columns [N], offsets [B + 1].
    loss: Callable[..., Tensor]

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.sparse = config["learner"].lower() == "sparse_adam"
        self.dtype = product_dtype(self.settings.precision, self.device)
        self.likelihood = self.make_likelihood()

    def make_likelihood(self) -> Likelihood:
        """The likelihood that the configuration names."""
        return likelihoods()[self.settings.likelihood](self.settings, self.dtype, self.sparse)

    def input_dropout(self) -> float | Tensor:
        """The probability of dropping a click of the input: one for all, or one for each item, float32 [I]."""
        mean = self.settings.dropout_prob
        if not self.settings.popularity_dropout:
            return mean
        return popularity_dropout(torch.bincount(self.history.columns, minlength=self.n_items - 1), mean)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """The objective for the rows of a batch. Counts the update: nothing else changes ``update`` in training."""
        loss = self.loss(*self.history(interaction[self.ITEM_ID if self.by_item else self.USER_ID]))
        self.update += 1
        return loss

    def negative_log_likelihood(self, z: Tensor, columns: Tensor, offsets: Tensor) -> Tensor:
        """The likelihood's, the mean over users, of latent representations [B, K]."""
        output: Any = self.decoder[-1]
        return self.likelihood.negative_log_likelihood(self.decoder[:-1](z), output, columns, offsets, self.generator)

    def sparse_parameters(self) -> list[nn.Parameter]:
        """The tables whose gradients are sparse: a row for each item that occurred in the batch."""
        if not self.sparse:
            return []
        output: Any = self.decoder[-1]
        return [self.encoder.first.weight, *([output.weight] if self.likelihood.sparse_output else [])]

    def forward(self, *history: Tensor) -> Tensor:
        """The logits f(z_u), [B, I]."""
        return self.decoder(self.encode(*history))

    def predict(self, interaction: Any) -> Tensor:
        """Score pairs of a user and an item. Returns the logits, [number of pairs]; the padding item scores lowest."""
        users, pair_user = interaction[self.USER_ID].unique(return_inverse=True)
        items = interaction[self.ITEM_ID]
        hidden = self.decoder[:-1](self.encode(*self.history(users)))
        output: Any = self.decoder[-1]
        column = (items - 1).clamp(min=0)
        scores = (hidden[pair_user] * output.weight[column]).sum(dim=1) + output.bias[column]
        return scores.masked_fill(items == 0, torch.finfo(scores.dtype).min)

    @torch.no_grad()
    def score_into(self, *history: Tensor, scores: Tensor) -> None:
        """Write the logits into ``scores``, [B, I]. See the base class."""
        output: Any = self.decoder[-1]
        hidden = self.decoder[:-1](self.encode(*history))
        torch.addmm(output.bias, hidden, output.weight.t(), out=scores)

    def spec(self) -> dict[str, Any]:
        """The description of the network. See the base class.

        ``layers`` lead from the clicks to the logits, without a row or column for the padding item; ``input`` is the scaling
        of the clicks (``l2``: x / ||x||_2), ``latent`` the number of layers before z.
        """
        encoder, decoder = describe(self.encoder, "encoder"), describe(self.decoder, "decoder")
        encoder[-1] |= {"units": self.settings.latent_dimension, "activation": self.latent_activation}
        return {
            "model": type(self).__name__,
            "architecture": "auto_encoder",
            "n_items": self.n_items,
            "mlp_hidden_size": [layer["units"] for layer in encoder[:-1]],
            "latent_dimension": self.settings.latent_dimension,
            "input": self.input_scaling,
            "layers": encoder + decoder,
            "latent": len(encoder),
        }
