"""The base of the auto-encoders: an encoder of sparse click vectors, a decoder, and a likelihood.

``B`` users in the batch, ``I`` items without the padding item, ``K`` latent dimensions.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from recbole_multvae.clicks import Clicks, columns_of
from recbole_multvae.config.settings import ModelSettings, RecommenderSettings
from recbole_multvae.data.click_order import order_of, reads_order
from recbole_multvae.hardware import product_dtype
from recbole_multvae.layers import SparseEncoder, describe, earlier_and_later, popularity_dropout
from recbole_multvae.likelihoods import Likelihood, likelihoods
from recbole_multvae.models.base import ClickRecommender


class ClickAutoEncoder(ClickRecommender):
    """A network that maps a user's click vector to a score for every item.

    A subclass sets ``settings_class``, builds an ``encoder`` and a ``decoder``, and defines :meth:`encode` and :meth:`loss`.

    Attributes:
        likelihood: the distribution of the clicks given the decoder's outputs; it computes the loss.
        sparse: whether the gradients of the tables are sparse, for RecBole's ``learner: sparse_adam``.
        cuts: whether the model learns to predict later clicks from earlier ones.
    """

    settings_class: ClassVar[type[RecommenderSettings]] = ModelSettings
    no_warm_start: ClassVar[str | None] = None
    no_cold_items: ClassVar[str | None] = None
    #: How :meth:`encode` scales the clicks, by its name in :meth:`spec`: ``l2``, x / ||x||_2, or ``none``.
    input_scaling: str = "l2"
    #: The activation between the encoder's last layer and the decoder, by its name in :meth:`spec`.
    latent_activation: str = "none"
    encoder: SparseEncoder
    decoder: nn.Sequential

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.sparse = config["learner"].lower() == "sparse_adam"
        self.dtype = product_dtype(self.settings.precision, self.device)
        self.likelihood = self.make_likelihood()
        self.cuts = reads_order(config)
        if self.cuts:
            self.training_clicks.set_order(order_of(dataset))

    def add_cold_items(self) -> None:
        """Widen the first layer and the last, made for the items of training, by those that are unseen in it.

        Training has then the same initial weights, whether there are such items or not.
        """
        if self.cold_items is None:
            return
        output: Any = self.decoder[-1]
        for table in (self.encoder.first.weight, output.weight, output.bias):
            table.data = torch.cat([table.data, table.data.new_zeros(self.cold_items.count, *table.shape[1:])])
        output.out_features = len(output.bias)

    @override
    @torch.no_grad()
    def fill_cold_items(self) -> None:
        if self.cold_items is None:
            return
        output: Any = self.decoder[-1]
        known, first = self.n_trained, self.encoder.first.weight
        first[known:] = self.cold_items.rows(first[:known])
        rows = self.cold_items.rows(torch.cat([output.weight, output.bias[:, None]], dim=1)[:known])
        output.weight[known:], output.bias[known:] = rows[:, :-1], rows[:, -1]

    def make_likelihood(self) -> Likelihood:
        """The likelihood that the configuration names."""
        return likelihoods()[self.settings.likelihood](self.settings, self.dtype, self.sparse)

    def encode(self, clicks: Clicks) -> Tensor:
        """The latent representation by which users are scored, [B, K]."""
        raise NotImplementedError

    def loss(self, clicks: Clicks, target: Clicks) -> Tensor:
        """The objective of one update, a scalar.

        Args:
            clicks: those that the model is given.
            target: those that it predicts, by default the same.
        """
        raise NotImplementedError

    def training_batch(self, interaction: Any) -> tuple[Clicks, Clicks]:
        """The clicks that the model is given for the rows of a training batch, and those that it predicts."""
        if not self.cuts:
            clicks = self.training_clicks(interaction[self.USER_ID])
            return clicks, clicks
        clicks, order = self.training_clicks.with_order(interaction[self.USER_ID])
        return earlier_and_later(clicks, order, self.settings.target == "last", self.generator)

    def input_dropout(self) -> float | Tensor:
        """The probability of dropping a click of the input: one for all, or one for each item, float32 [I]."""
        mean = self.settings.dropout_prob
        if not self.settings.popularity_dropout:
            return mean
        return popularity_dropout(torch.bincount(self.training_clicks.columns, minlength=self.n_items - 1), mean)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """The objective for the rows of a batch. Counts the update: nothing else changes ``update`` in training."""
        loss = self.loss(*self.training_batch(interaction))
        self.update += 1
        return loss

    def go_on(self, updates: int) -> None:
        """Count on from the updates of an earlier training, with all schedules at their ends."""
        self.update = updates

    def negative_log_likelihood(self, z: Tensor, clicks: Clicks) -> Tensor:
        """The mean over users of -log p(x_u | z_u), for latent representations ``z``, [B, K]."""
        output: Any = self.decoder[-1]
        known = self.n_trained if self.cold_items else None
        return self.likelihood.negative_log_likelihood(self.decoder[:-1](z), output, clicks, self.generator, known)

    @override
    def sparse_parameters(self) -> list[nn.Parameter]:
        if not self.sparse:
            return []
        output: Any = self.decoder[-1]
        return [self.encoder.first.weight, *([output.weight] if self.likelihood.sparse_output else [])]

    def forward(self, clicks: Clicks) -> Tensor:
        """The logits f(z_u), [B, I]."""
        return self.decoder(self.encode(clicks))

    def predict(self, interaction: Any) -> Tensor:
        """Score pairs of a user and an item. Returns the logits, [number of pairs]; the padding item scores lowest."""
        users, pair_user = interaction[self.USER_ID].unique(return_inverse=True)
        items = interaction[self.ITEM_ID]
        hidden = self.decoder[:-1](self.encode(self.training_clicks(users)))
        output: Any = self.decoder[-1]
        column = columns_of(items).clamp(min=0)
        scores = (hidden[pair_user] * output.weight[column]).sum(dim=1) + output.bias[column]
        return scores.masked_fill(items == 0, torch.finfo(scores.dtype).min)

    @override
    @torch.no_grad()
    def score_into(self, clicks: Clicks, scores: Tensor) -> None:
        output: Any = self.decoder[-1]
        hidden = self.decoder[:-1](self.encode(clicks))
        torch.addmm(output.bias, hidden, output.weight.t(), out=scores)

    def spec(self) -> dict[str, Any]:
        """The description of the network.

        ``layers`` lead from the clicks to the logits, without a row or column for the padding item. ``input`` is the scaling
        of the clicks (``l2``: x / ||x||_2), and ``latent`` the number of layers up to z.
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
