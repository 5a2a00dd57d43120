"""RecBole's loaders for the family: users of a training batch, and many users of an evaluation batch at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader, UserDataLoader
from recbole.data.interaction import Interaction
from recbole.evaluator.register import Register
from torch import Tensor

from recbole_multvae.clicks import Clicks
from recbole_multvae.config.settings import RecommenderSettings
from recbole_multvae.data.click_order import reads_order
from recbole_multvae.data.csr import UserItems, clicks_from_sets, distinct_clicks, item_tensor, ones
from recbole_multvae.errors import DataError

#: Values that RecBole's collector gathers besides top-k lists. All of them need whole rows of scores.
BEYOND_TOP_K = ("rec.meanrank", "rec.score", "data.label")
#: Bytes in an evaluation batch for each user and item, or user and hidden unit: scores, layers and clicks.
TOP_K_BYTES = 6
#: The same where RecBole's collector sorts whole rows, as it does for ``rec.meanrank``.
WHOLE_ROW_BYTES = 56


def reads_top_k_only(config: Any) -> bool:
    """Whether the configured metrics read only the top-k lists of the scores."""
    needs = Register(config)
    return not any(needs.need(name) for name in BEYOND_TOP_K)


class ClickUserDataLoader(UserDataLoader):
    """RecBole's user-wise training loader without the padding user and without users from whom nothing is learned."""

    #: Which ids a batch holds, an attribute of RecBole's data set.
    id_field = "uid_field"

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False) -> None:
        self.uid_field = dataset.uid_field
        field = getattr(dataset, self.id_field)
        ids = _with_two_clicks(dataset) if reads_order(config) else np.unique(dataset.inter_feat[field].numpy())
        self.user_list = Interaction({field: torch.from_numpy(ids)})
        self.sample_size = len(ids)
        # Past UserDataLoader, whose __init__ would list every user again.
        super(UserDataLoader, self).__init__(config, dataset, sampler, shuffle=shuffle)


def _with_two_clicks(dataset: Any) -> np.ndarray:
    """The users with two items or more: of one there is nothing to predict."""
    users = np.flatnonzero(distinct_clicks(dataset).getnnz(axis=1) > 1)
    if not len(users):
        raise DataError("No user has clicks on two items in training, and target predicts later clicks: take target=all.")
    return users


class UsersWithHistories(Interaction):
    """Users of a batch, with the clicks by which the model scores them."""

    def __init__(self, interaction: dict[str, Tensor], histories: Clicks) -> None:
        super().__init__(interaction)
        self.histories = histories

    def to(self, device: Any, selected_field: Any = None) -> UsersWithHistories:
        """The same on another device."""
        return UsersWithHistories(super().to(device, selected_field).interaction, self.histories.to(device))


class BatchedFullSortEvalDataLoader(FullSortEvalDataLoader):
    """RecBole's full-ranking loader without a loop over users, with batches of as many users as fit in ``eval_memory`` MiB.

    RecBole ranks ``eval_batch_size // n_items`` users at once: one, for 4096 and any real catalogue. A batch has at least
    that number, so that raising ``eval_batch_size`` still works.
    """

    step: int  # Users in a batch.
    is_sequential = False

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False) -> None:
        self.uid_field, self.iid_field = dataset.uid_field, dataset.iid_field
        dataset.sort(by=self.uid_field, ascending=True)
        positives, used = distinct_clicks(dataset), sampler.used_ids
        seen = used.clicks if isinstance(used, UserItems) else clicks_from_sets(used, dataset.item_num)
        if (masked := getattr(dataset, "masked", None)) is not None:
            seen = ones(masked + positives)
        fold_in = getattr(dataset, "fold_in", None)
        self.fold_in = None if fold_in is None else Clicks.from_csr(fold_in)
        self.uid2positive_item = UserItems(positives, item_tensor)
        self.uid2history_item = UserItems((seen > positives).astype(np.int8), item_tensor)
        self.uid2items_num = np.diff(positives.indptr).astype(np.int64)
        self.uid_list = torch.from_numpy(np.flatnonzero(self.uid2items_num))
        sequences = getattr(dataset, "sequences", None)
        self.user_df = dataset.join(Interaction({self.uid_field: self.uid_list})) if sequences is None else sequences
        self.sample_size = len(self.user_df)
        # Past FullSortEvalDataLoader, whose __init__ would visit every interaction again.
        super(FullSortEvalDataLoader, self).__init__(config, dataset, sampler, shuffle=False)
        self.is_sequential = False  # For RecBole a sequential loader has a row for each click, not for each user.

    def collate_fn(self, index: list[int]) -> tuple[Interaction, tuple[Tensor, Tensor], Tensor, Tensor]:
        """The users of a batch, the pairs (row, item) not to recommend, and the rows and the items of their positives.

        The users are :class:`UsersWithHistories` where the data set has histories to fold in.
        """
        users = self.user_df[index]
        ids = users[self.uid_field]
        if self.fold_in is not None:
            users = UsersWithHistories(users.interaction, self.fold_in.select(ids))
        return users, self.uid2history_item.pairs(ids), *self.uid2positive_item.pairs(ids)

    def _init_batch_size_and_step(self) -> None:
        super()._init_batch_size_and_step()
        n_items = self._dataset.item_num
        self.step = max(self.step, self._users_per_batch(n_items))
        self.set_batch_size(self.step * n_items)

    def _users_per_batch(self, n_items: int) -> int:
        """How many users the model can rank at once in ``eval_memory`` MiB, at least 1."""
        config = self.config
        units = n_items + 2 * sum(config["mlp_hidden_size"] or []) + 3 * (config["latent_dimension"] or 0)
        unit = TOP_K_BYTES if reads_top_k_only(config) else WHOLE_ROW_BYTES
        return max(1, config["eval_memory"] * 2**20 // (unit * units))


class FullRowsEvalDataLoader(BatchedFullSortEvalDataLoader):
    """The same loader for RecBole's models, which compute whole rows of scores."""

    def _users_per_batch(self, n_items: int) -> int:
        memory = RecommenderSettings.from_config(self.config).eval_memory * 2**20
        return max(1, memory // (WHOLE_ROW_BYTES * n_items))
