"""AutoRec (Sedhain et al., WWW 2015), item-based: I-AutoRec.

The objective is that of :mod:`.autorec` with the roles changed: for every item the vector of its users' ratings or clicks is
encoded and predicted. The score of an item for a user is the user's entry of the predicted vector. The weights of that entry
are learned for each user, so that only users of the training data have scores.

``U`` users without the padding user; ``train_batch_size`` counts items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from typing_extensions import override

from recbole_multvae.clicks import Clicks, columns_of
from recbole_multvae.data.loaders import ClickUserDataLoader
from recbole_multvae.errors import DataError
from recbole_multvae.models.autorec import AutoRec


class ClickItemDataLoader(ClickUserDataLoader):
    """Batches of the items that somebody clicked."""

    id_field = "iid_field"


class ItemAutoRec(AutoRec):
    """I-AutoRec: layers U-K-U with a sigmoid between them, squared error, L2 penalty.

    Its training data are transposed: a row for each item, a column for each user.
    """

    training_loader = ClickItemDataLoader
    no_cold_items = "its weights belong to the users of its training: take AutoRec"
    no_warm_start = "its weights belong to the users of its training: take AutoRec"

    @staticmethod
    @override
    def training_matrix(dataset: Any, field: str | None = None) -> csr_matrix:
        return AutoRec.training_matrix(dataset, field).T.tocsr()

    @override
    def training_batch(self, interaction: Any) -> tuple[Clicks, Clicks]:
        clicks = self.training_clicks(interaction[self.ITEM_ID])
        return clicks, clicks

    @classmethod
    @override
    def no_histories_because(cls, settings: Any) -> str | None:
        return f"{cls.__name__} scores the users of its training data only"

    def histories(self, interaction: Any) -> Clicks:
        """The users of a batch, each as one click in the user's own column: [B, U]."""
        users = interaction[self.USER_ID]
        return Clicks(columns_of(users), torch.arange(len(users) + 1, device=users.device))

    def forward(self, clicks: Clicks) -> Tensor:
        """The entries of these users in the predicted vectors of all items, [B, I]."""
        output: Any = self.decoder[-1]
        users = clicks.columns.clamp(min=0)
        vectors = self.item_vectors(torch.arange(1, self.n_items, device=users.device))
        return torch.addmm(output.bias[users, None], output.weight[users], vectors.T)

    def item_vectors(self, items: Tensor) -> Tensor:
        """The hidden layer of each item, [number of items, K]."""
        return self.encode(self.training_clicks(items))

    @override
    def score_into(self, clicks: Clicks, scores: Tensor) -> None:
        scores.copy_(self(clicks))

    def predict(self, interaction: Any) -> Tensor:
        """Score pairs of a user and an item. Returns [number of pairs]; the padding item scores lowest."""
        items, pair_item = interaction[self.ITEM_ID].unique(return_inverse=True)
        users = columns_of(interaction[self.USER_ID]).clamp(min=0)
        output: Any = self.decoder[-1]
        scores = (self.item_vectors(items)[pair_item] * output.weight[users]).sum(dim=1) + output.bias[users]
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
        """The name and the sizes of the model, which ``multvae-export`` cannot export."""
        return {
            "model": type(self).__name__,
            "n_items": self.n_items,
            "latent_dimension": self.settings.latent_dimension,
        }
