r"""EDLAE (Steck, "Autoencoders that don't overfit towards the Identity", NeurIPS 2020), the full-rank model in closed form.

A linear auto-encoder of clicks, trained to predict every item from the others under dropout of the input. With the dropout
probability p, and summed over infinitely many draws of the dropout, its objective has the minimum

.. math:: B = I - C \cdot \mathrm{dMat}(1 \oslash \mathrm{diag}(C)), \quad C = (X^\top X + \Lambda)^{-1}, \quad
    \Lambda = \tfrac{p}{1 - p} \mathrm{dMat}(\mathrm{diag}(X^\top X)) + \lambda I

with a diagonal of zeros; the scores of a click vector x are x B. Dropout is an L2 penalty that grows with the popularity of
an item. With p = 0 this is EASE (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from recbole.utils import ModelType
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from recbole_multvae.clicks import Clicks
from recbole_multvae.config.settings import RecommenderSettings, setting
from recbole_multvae.models.base import ClickRecommender


class EDLAESettings(RecommenderSettings):
    """The settings of :class:`EDLAE`."""

    dropout_prob: float = setting(
        0.5,
        "a number from 0 up to, but not including, 1",
        "p, the probability of dropping a click of the input; 0: EASE",
        ge=0,
        lt=1,
    )
    reg_weight: float = setting(200.0, "a number above 0", "lambda, the L2 penalty beside that of the dropout", gt=0)


class EDLAE(ClickRecommender):
    """Item similarities that are computed in the first and only epoch.

    Attributes:
        similarity: B, [I, I], without the padding item.
    """

    type = ModelType.TRADITIONAL
    settings_class = EDLAESettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.similarity = nn.Parameter(torch.zeros(self.n_items - 1, self.n_items - 1), requires_grad=False)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Compute the similarities, once. Returns a zero that RecBole's trainer can differentiate."""
        if self.update == 0:
            self.similarity.copy_(closed_form(self.gram(), self.settings.dropout_prob, self.settings.reg_weight))
        self.update += 1
        return torch.zeros((), device=self.device, requires_grad=True)

    def gram(self) -> Tensor:
        """X^T X of the training clicks, float32 [I, I]."""
        columns, offsets = self.training_clicks.columns.cpu().numpy(), self.training_clicks.offsets.cpu().numpy()
        clicks = csr_matrix((np.ones(len(columns), np.float32), columns, offsets), (len(offsets) - 1, self.n_items - 1))
        return torch.from_numpy((clicks.T @ clicks).toarray()).to(self.device)

    def forward(self, clicks: Clicks) -> Tensor:
        """The scores x B, [B, I]."""
        return F.embedding_bag(clicks.columns, self.similarity, clicks.offsets, mode="sum", include_last_offset=True)

    def predict(self, interaction: Any) -> Tensor:
        """Score pairs of a user and an item. Returns [number of pairs]; the padding item scores lowest."""
        users, pair_user = interaction[self.USER_ID].unique(return_inverse=True)
        return self._with_padding(self(self.training_clicks(users)))[pair_user, interaction[self.ITEM_ID]]

    def spec(self) -> dict[str, Any]:
        """The description of the model: ``similarity`` names B, which has no row or column for the padding item."""
        return {
            "model": type(self).__name__,
            "architecture": "linear",
            "n_items": self.n_items,
            "similarity": "similarity",
        }


def closed_form(gram: Tensor, dropout: float, l2: float) -> Tensor:
    """The similarities B of the module's equation.

    Args:
        gram: X^T X, [I, I]; its memory is overwritten.
        dropout: p.
        l2: lambda, above 0.

    Returns:
        [I, I], with a diagonal of zeros.
    """
    gram.diagonal().mul_(1 + dropout / (1 - dropout)).add_(l2)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
    similarity = inverse.div_(-inverse.diagonal().clone())
    similarity.fill_diagonal_(0)
    return similarity
