"""What the models of the family share: the adapter between RecBole and a network of sparse click vectors.

``B`` users in the batch, ``I`` items without the padding item, ``K`` latent dimensions, ``N`` interactions of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_multvae.checkpoint import FORMAT_VERSION
from recbole_multvae.data.history import History
from recbole_multvae.errors import CheckpointError, ConfigurationError, DataError
from recbole_multvae.layers import SparseEncoder, describe
from recbole_multvae.likelihoods import likelihoods
from recbole_multvae.settings import ModelSettings, Settings
from recbole_multvae.training.hardware import product_dtype


class ClickAutoEncoder(GeneralRecommender):
    """A RecBole general recommender that maps a user's click vector to a score for every item.

    A subclass sets ``settings_class``, builds an ``encoder`` and a ``decoder``, and defines :meth:`encode` and :meth:`loss`.

    Attributes:
        likelihood: what the decoder's outputs stand for; it knows the loss.
        sparse: whether the gradients of the tables are sparse, for RecBole's ``learner: sparse_adam``.
        update: training updates made so far; saved, because the KL weight depends on it.
        generator: draws dropout masks and noise; its state is saved, so that a resumed run draws what an unbroken one
            would have.
    """

    input_type = InputType.LISTWISE
    settings_class: ClassVar[type[ModelSettings]] = ModelSettings
    #: The activation between the encoder's last layer and the decoder, by its name in :meth:`spec`.
    latent_activation: str = "none"
    encoder: SparseEncoder
    decoder: nn.Sequential
    #: DistributedDataParallel broadcasts buffers before every update; these never change.
    _ddp_params_and_buffers_to_ignore: ClassVar[tuple[str, ...]] = ("history.offsets", "history.columns")

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.settings = self.read_settings(config)
        self.sparse = config["learner"].lower() == "sparse_adam"
        self.dtype = product_dtype(self.settings.precision, self.device)
        self.likelihood = likelihoods()[self.settings.likelihood](self.settings, self.dtype, self.sparse)
        self.history = History(dataset)
        self.item_tokens = [str(token) for token in dataset.field2id_token[self.ITEM_ID]]
        self.dataset_name = config["dataset"]
        self.update = 0
        self.rank = config["local_rank"] + (config["offset"] or 0)
        self.generator = torch.Generator(device=self.device).manual_seed(config["seed"] + self.rank)
        self._order: torch.Generator | None = None
        self._saved_order: Tensor | None = None

    @classmethod
    def read_settings(cls, config: Mapping[str, Any]) -> Any:
        """The settings of the model and of its likelihood in one object.

        Raises:
            ConfigurationError: a key is out of range, or there is no such likelihood.
        """
        name = cls.settings_class.from_config(config).likelihood
        if name not in likelihoods():
            raise ConfigurationError(f"likelihood={name!r} is not allowed: expected {' or '.join(sorted(likelihoods()))}.")
        return cls.all_settings(name).from_config(config)

    @classmethod
    @cache
    def all_settings(cls, likelihood: str) -> type[Settings]:
        """The settings of the model together with those of a likelihood."""
        return type(f"{cls.__name__}Settings", (likelihoods()[likelihood].settings_class, cls.settings_class), {})

    def encode(self, columns: Tensor, offsets: Tensor) -> Tensor:
        """The latent representation used to rank, [B, K], of the histories ``columns`` [N], ``offsets`` [B + 1]."""
        raise NotImplementedError

    def loss(self, columns: Tensor, offsets: Tensor) -> Tensor:
        """The objective of one update, a scalar, for the histories ``columns`` [N], ``offsets`` [B + 1]."""
        raise NotImplementedError

    def calculate_loss(self, interaction: Any) -> Tensor:
        """The objective for the users of a batch. Counts the update: nothing else changes ``update`` in training."""
        loss = self.loss(*self.history(interaction[self.USER_ID]))
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

    def histories(self, interaction: Any) -> tuple[Tensor, Tensor]:
        """What the model is given of the users of a batch: columns [N] and offsets [B + 1].

        The evaluation loader may hand a history over with the batch. Otherwise it is the user's training history.
        """
        given = getattr(interaction, "histories", None)
        return self.history(interaction[self.USER_ID]) if given is None else given

    def forward(self, columns: Tensor, offsets: Tensor) -> Tensor:
        """The logits f(z_u), [B, I], of the histories ``columns`` [N], ``offsets`` [B + 1]."""
        return self.decoder(self.encode(columns, offsets))

    def predict(self, interaction: Any) -> Tensor:
        """Score pairs of a user and an item. Returns the logits, [number of pairs]; the padding item scores lowest."""
        users, pair_user = interaction[self.USER_ID].unique(return_inverse=True)
        items = interaction[self.ITEM_ID]
        hidden = self.decoder[:-1](self.encode(*self.history(users)))
        output: Any = self.decoder[-1]
        column = (items - 1).clamp(min=0)
        scores = (hidden[pair_user] * output.weight[column]).sum(dim=1) + output.bias[column]
        return scores.masked_fill(items == 0, torch.finfo(scores.dtype).min)

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Score every item for each user. Returns the logits, [users * n_items], in RecBole's order of ids."""
        return self._with_padding(self(*self.histories(interaction))).view(-1)

    @torch.no_grad()
    def score_into(self, columns: Tensor, offsets: Tensor, scores: Tensor) -> None:
        """Write the logits of every item into ``scores``, [B, I], for the histories ``columns`` [N], ``offsets`` [B + 1].

        The caller owns the memory of ``scores``, and reuses it from batch to batch.
        """
        output: Any = self.decoder[-1]
        hidden = self.decoder[:-1](self.encode(columns, offsets))
        torch.addmm(output.bias, hidden, output.weight.t(), out=scores)

    @torch.no_grad()
    def score_histories(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """Score every item for people who need not be in the data set.

        Args:
            histories: for each person, RecBole item ids; padding and repeats are ignored.

        Returns:
            Logits, [len(histories), n_items], in evaluation mode.

        Raises:
            DataError: an item id is outside the catalogue.
        """
        rows = [sorted(set(history) - {0}) for history in histories]
        unknown = [item for row in rows for item in row if not 0 < item < self.n_items]
        if unknown:
            raise DataError(f"Item id {unknown[0]} is not in the catalogue: expected 1 to {self.n_items - 1}.")
        lengths = torch.tensor([0] + [len(row) for row in rows], device=self.device)
        items = torch.tensor([item - 1 for row in rows for item in row], dtype=torch.long, device=self.device)
        training = self.training
        scores = self.eval()(items, lengths.cumsum(0))
        self.train(training)
        return self._with_padding(scores)

    @staticmethod
    def _with_padding(logits: Tensor) -> Tensor:
        # The lowest finite number: never recommended, and never NaN or infinite in what the caller does with it.
        return nn.functional.pad(logits, (1, 0), value=torch.finfo(logits.dtype).min)

    def spec(self) -> dict[str, Any]:
        """The description of the network in inference, from which ``multvae-export`` builds it: plain numbers and strings.

        ``layers`` lead from the clicks to the logits, without a row or column for the padding item; ``input`` is the scaling
        of the clicks (``l2``: x / ||x||_2), ``latent`` the number of layers before z.
        """
        encoder, decoder = describe(self.encoder, "encoder"), describe(self.decoder, "decoder")
        encoder[-1] |= {"units": self.settings.latent_dimension, "activation": self.latent_activation}
        return {
            "model": type(self).__name__,
            "architecture": "auto_encoder",
            "n_items": self.n_items,
            "mlp_hidden_size": list(self.settings.mlp_hidden_size),
            "latent_dimension": self.settings.latent_dimension,
            "input": "l2",
            "layers": encoder + decoder,
            "latent": len(encoder),
        }

    def follow(self, train_data: Any) -> None:
        """Save and restore the order of users with the model. The trainer calls this before training."""
        self._order = train_data.generator
        if self._saved_order is not None:
            self._order.set_state(self._saved_order)
            self._saved_order = None

    def other_parameter(self) -> dict[str, Any]:
        """RecBole's hook: what its checkpoint holds besides the weights."""
        return {
            "format_version": FORMAT_VERSION,
            "spec": self.spec(),
            "dataset": self.dataset_name,
            "item_tokens": self.item_tokens,
            "update": self.update,
            "generator": self.generator.get_state(),
            "order": None if self._order is None else self._order.get_state(),
        }

    def load_other_parameter(self, para: dict[str, Any] | None) -> None:
        """RecBole's hook: take up what :meth:`other_parameter` saved.

        Raises:
            CheckpointError: a newer version of this package wrote the checkpoint.
            DataError: the checkpoint was trained on other items than the data set has.
        """
        if para is None:
            return
        if para["format_version"] > FORMAT_VERSION:
            raise CheckpointError(
                f"The checkpoint is of format {para['format_version']}, and this version knows up to {FORMAT_VERSION}: "
                "update recbole-multvae."
            )
        if para["item_tokens"] != self.item_tokens:
            raise DataError(
                f"The checkpoint was trained on {len(para['item_tokens']) - 1} items of {para['dataset']}, the data set "
                f"{self.dataset_name} has {self.n_items - 1} or other ones: load it with the data it was trained on."
            )
        self.update = para["update"]
        self.generator.set_state(para["generator"].cpu())
        if self.rank != 0:  # The noise of rank 0 goes on as it was; the others must not draw the same.
            drawn = torch.randint(2**62, (), generator=self.generator, device=self.device)
            self.generator.manual_seed(int(drawn) + self.rank)
        self._saved_order = None if para["order"] is None else para["order"].cpu()
