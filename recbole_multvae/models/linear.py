"""The base of the linear models: they score a click vector x as x B, with item similarities B in closed form.

``I`` items without the padding item, ``U`` users.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from recbole.utils import ModelType
from scipy.sparse import csr_matrix, diags
from torch import Tensor
from typing_extensions import override

from recbole_multvae.data.cold_items import ColdItems
from recbole_multvae.models.base import ClickRecommender


class LinearRecommender(ClickRecommender):
    """Item similarities that are computed in the first and only epoch, by the processor and from there to the device.

    A subclass defines :meth:`fit`, :meth:`forward` and :meth:`spec`, and with ``no_cold_items = None`` also
    :meth:`add_cold_items`.
    """

    type = ModelType.TRADITIONAL
    no_warm_start = "it is computed at once, without updates: add new clicks with multvae-update"

    def fit(self, clicks: csr_matrix) -> None:
        """Compute B from the training clicks, float32 ones, [U, I]. Each of the users has one at least."""
        raise NotImplementedError

    def add_cold_items(self, cold: ColdItems) -> None:
        """Add rows and columns for items that are unseen in training to B, which :meth:`fit` has computed without them.

        The rows follow from those of the other items, then the columns from theirs. No new item raises its own score.
        """
        raise NotImplementedError

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Compute the similarities, once. Returns a zero that RecBole's trainer can differentiate.

        Raises:
            TrainingError: EDLAE's ``reg_weight`` is too small for float32.
        """
        if self.update == 0:
            self.fit_training_clicks()
        self.update += 1
        return torch.zeros((), device=self.device, requires_grad=True)

    def fit_training_clicks(self) -> None:
        """Compute B from the data set of the model. Raises the errors of :meth:`calculate_loss`."""
        clicks = self.training_clicks
        columns, offsets = clicks.columns.cpu().numpy(), clicks.offsets.unique().cpu().numpy()
        shape = (len(offsets) - 1, self.n_trained)
        self.fit(csr_matrix((np.ones(len(columns), np.float32), columns, offsets), shape))
        if self.cold_items:
            self.add_cold_items(self.cold_items)

    def recompute(self, saved: Mapping[str, Any]) -> None:
        """Compute the model from its data set, which has the clicks of a checkpoint and further ones.

        Args:
            saved: ``other_parameter`` of the checkpoint.

        Raises:
            TrainingError: see :meth:`calculate_loss`, or there is not enough memory.
        """
        self.check_memory()
        self.fit_training_clicks()
        self.update = saved["update"]

    @override
    def other_parameter(self) -> dict[str, Any]:
        # B does not tell the clicks that it was computed from, and with those of another day it must be computed again from
        # all. They are small beside B, and RecBole's EASE saves them too.
        return {**super().other_parameter(), "clicks": self.saved_clicks()}

    def saved_clicks(self) -> dict[str, Tensor]:
        """The training clicks as in :class:`.Clicks`: ``columns``, int32 [N], and ``offsets``, int64 [U + 2]."""
        return {name: getattr(self.training_clicks, name).cpu() for name in ("columns", "offsets")}

    def predict(self, interaction: Any) -> Tensor:
        """Score pairs of a user and an item. Returns [number of pairs]; the padding item scores lowest."""
        users, pair_user = interaction[self.USER_ID].unique(return_inverse=True)
        return self._with_padding(self(self.training_clicks(users)))[pair_user, interaction[self.ITEM_ID]]


def weigh_users(clicks: csr_matrix, exponent: float) -> csr_matrix:
    r"""Weight the squared errors of users, so that those with long histories do not decide alone.

    With n clicks of a user, the weights are

    .. math:: w_u \propto n_u^{-a}, \quad \sum_u w_u n_u = \sum_u n_u.

    The exponent is that of users in normalised linear models (Park et al., "Turbo-CF: Matrix Decomposition-Free Graph
    Filtering for Fast Recommendation", SIGIR 2024; github.com/psm1206/DAN).

    Args:
        clicks: X, ones, float32 [U, I].
        exponent: a; 0: all alike.

    Returns:
        W^(1/2) X, float32 [U, I]. Its Gram matrix is X^T W X.
    """
    lengths = np.diff(clicks.indptr)
    weights = np.maximum(lengths, 1.0) ** -exponent
    weights *= lengths.sum() / max(weights @ lengths, 1e-30)
    return (diags(np.sqrt(weights)) @ clicks).astype(np.float32).tocsr()
