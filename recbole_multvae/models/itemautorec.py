"""AutoRec (Sedhain et al., WWW 2015), item-based: I-AutoRec.

The objective is that of :mod:`.autorec` with the roles changed: for every item the vector of its users' ratings or clicks is
encoded and predicted. The score of an item for a user is what is predicted at the user's place of the item's vector. That
place is learned, so that only users who are in training have scores.

``U`` users without the padding user; ``train_batch_size`` counts items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recbole_multvae.errors import ConfigurationError, DataError, NotApplicableError
from recbole_multvae.models.autorec import AutoRec


class ItemAutoRec(AutoRec):
    """I-AutoRec: U-K-U, a sigmoid between, squared error, L2 penalty.

    Its history of the users of a batch is their RecBole ids, int64 [B].
    """

    by_item = True

    @classmethod
    def check_new_users(cls, settings: Any, protocol: str) -> None:
        """Refuse users who are not in training. See the base class."""
        super().check_new_users(settings, protocol)
        raise NotApplicableError(
            f"eval_args split {protocol} evaluates users who are not in training, and {cls.__name__} scores the users of "
            "its training data only: take AutoRec, or split RS."
        )

    def histories(self, interaction: Any) -> tuple[Tensor, ...]:
        """The users of a batch.

        Raises:
            ConfigurationError: the users are not in training.
        """
        if getattr(interaction, "histories", None) is not None:
            raise ConfigurationError(
                "model='ItemAutoRec' scores the users of its training data only, and eval_args holds users out of it: take "
                "model=AutoRec, or another split."
            )
        return (interaction[self.USER_ID],)

    def item_vectors(self, items: Tensor) -> Tensor:
        """What the items' vectors are encoded into, [number of items, K]."""
        return self.encode(*self.history(items))

    def score_into(self, *history: Tensor, scores: Tensor) -> None:
        """Write what is predicted at the users' places into ``scores``, [B, I]. See the base class."""
        scores.copy_(self(*history))

    def forward(self, *history: Tensor) -> Tensor:
        """What is predicted at the users' places of all items' vectors, [B, I]."""
        (users,) = history
        output: Any = self.decoder[-1]
        place = (users - 1).clamp(min=0)
        vectors = self.item_vectors(torch.arange(1, self.n_items, device=users.device))
        return torch.addmm(output.bias[place, None], output.weight[place], vectors.T)

    def predict(self, interaction: Any) -> Tensor:
        """Score pairs of a user and an item. Returns [number of pairs]; the padding item scores lowest."""
        items, pair_item = interaction[self.ITEM_ID].unique(return_inverse=True)
        place = (interaction[self.USER_ID] - 1).clamp(min=0)
        output: Any = self.decoder[-1]
        scores = (self.item_vectors(items)[pair_item] * output.weight[place]).sum(dim=1) + output.bias[place]
        return scores.masked_fill(interaction[self.ITEM_ID] == 0, torch.finfo(scores.dtype).min)

    def score_histories(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """Not possible.

        Raises:
            DataError: always.
        """
        raise DataError(
            "ItemAutoRec scores the users of its training data only, and a history alone does not say who asks: take "
            "AutoRec."
        )

    def spec(self) -> dict[str, Any]:
        """The name and the sizes of the model, which ``multvae-export`` does not take."""
        return {
            "model": type(self).__name__,
            "n_items": self.n_items,
            "latent_dimension": self.settings.latent_dimension,
        }
