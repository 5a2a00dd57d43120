"""What a likelihood is to the models: settings of its own, and the loss of a batch together with the output layer.

``B`` users in the batch, ``I`` items, ``H`` hidden units, ``N`` interactions of the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from recbole_multvae.config.settings import Settings, setting


class LikelihoodSettings(Settings):
    """The settings of every likelihood."""

    precision: Literal["fp32", "bf16", "auto"] = setting(
        "auto",
        "fp32, bf16 or auto",
        "precision of products with the output layer in training; auto is bf16 where it is fast",
    )
    train_memory: int = setting(
        512, "a positive integer (MiB)", "memory of the logits of a training batch; more are computed in parts", gt=0
    )


class Likelihood(ABC):
    """A likelihood of the clicks; ``--likelihood`` knows it by the name of its class in lower case.

    Args:
        settings: its settings.
        dtype: of the products with the output layer.
        sparse: whether gradients of tables hold only the rows that occurred in a batch.
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
    def negative_log_likelihood(
        self, hidden: Tensor, output: nn.Linear, columns: Tensor, offsets: Tensor, generator: torch.Generator
    ) -> Tensor:
        """The mean over users of -log p(x_u | f), with the scores f = hidden weight^T + bias.

        Args:
            hidden: the last hidden layer of the decoder, [B, H].
            output: the last layer, weight [I, H], bias [I].
            columns: the clicked items, from 0 to I - 1, int64 [N].
            offsets: where each user's clicks begin and end, int64 [B + 1].
            generator: draws what is random in the loss.

        Returns:
            A float32 scalar.
        """
