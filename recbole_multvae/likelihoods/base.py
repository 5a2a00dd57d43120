"""The base of the likelihoods: each has its settings, and computes the loss of a batch together with the output layer.

``B`` users in the batch, ``I`` items, ``H`` hidden units.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from recbole_multvae.clicks import Clicks
from recbole_multvae.config.settings import Settings, setting
from recbole_multvae.likelihoods.output_layer import Part, fused_loss


class LikelihoodSettings(Settings):
    """The settings of every likelihood."""

    precision: Literal["fp32", "bf16", "auto"] = setting(
        "auto",
        "fp32, bf16 or auto",
        "precision of products with the output layer in training; auto: bf16 where it is fast",
    )
    train_memory: int = setting(
        512,
        "a positive integer (MiB)",
        "memory for the scores of a training batch; a larger batch is computed in parts",
        gt=0,
    )


class Likelihood(ABC):
    """A likelihood of the clicks; its name for ``--likelihood`` is that of the class in lower case.

    A subclass defines :meth:`add_part`, and may set ``settings_class``.

    Args:
        settings: an instance of ``settings_class``.
        dtype: the type in which the products with the output layer are computed.
        sparse: whether the gradients of tables hold only the rows that occurred in a batch.
    """

    settings_class: ClassVar[type[LikelihoodSettings]] = LikelihoodSettings

    def __init__(self, settings: LikelihoodSettings, dtype: torch.dtype, sparse: bool) -> None:
        self.settings, self.dtype, self.sparse = settings, dtype, sparse
        self.memory = settings.train_memory * 2**20  # Bytes.

    @property
    def sparse_output(self) -> bool:
        """Whether the gradient of the output layer's weight is sparse."""
        return False

    @abstractmethod
    def add_part(self, part: Part) -> Tensor:
        """Compute the loss of some users, from the scores of their items, and its gradients.

        Args:
            part: the users and the output layer; the gradients are added to it.

        Returns:
            The sum of -log p(x_u | f) over these users, up to a constant; a float32 scalar.
        """

    def scored_items(
        self, output: nn.Linear, clicks: Clicks, generator: torch.Generator, n_items: int
    ) -> tuple[Tensor, Tensor, Clicks]:
        """The items whose scores the loss reads: the weight and the bias of each, and the clicks in their columns.

        By default these are all ``n_items`` that come first.
        """
        if n_items == len(output.weight):
            return output.weight, output.bias, clicks
        return output.weight[:n_items], output.bias[:n_items], clicks

    def negative_log_likelihood(
        self, hidden: Tensor, output: nn.Linear, clicks: Clicks, generator: torch.Generator, n_items: int | None = None
    ) -> Tensor:
        """The mean over users of -log p(x_u | f), with the scores f = hidden weight^T + bias.

        Args:
            hidden: the last hidden layer of the decoder, [B, H].
            output: the last layer, weight [I, H], bias [I].
            clicks: those of the B users.
            generator: draws the random numbers of the loss.
            n_items: how many items, the first ones, training knows; None: all.

        Returns:
            A float32 scalar.
        """
        n_items = len(output.weight) if n_items is None else n_items
        weight, bias, clicks = self.scored_items(output, clicks, generator, n_items)
        return fused_loss(self.add_part, hidden, weight, bias, clicks, self.dtype, self.memory)
