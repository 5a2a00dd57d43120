"""RecBole's loaders for the family: users of a training batch, and many users of an evaluation batch at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader, UserDataLoader
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_multvae.data.csr import UserItems, clicks_from_sets, distinct_clicks, item_tensor
from recbole_multvae.evaluation.ranking import users_per_batch


class ClickUserDataLoader(UserDataLoader):
    """RecBole's user-wise training loader without the padding user and without users who have no history."""

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False) -> None:
        self.uid_field = dataset.uid_field
        users = torch.from_numpy(np.unique(dataset.inter_feat[self.uid_field].numpy()))
        self.user_list = Interaction({self.uid_field: users})
        self.sample_size = len(users)
        # Past UserDataLoader, whose __init__ would list every user again.
        super(UserDataLoader, self).__init__(config, dataset, sampler, shuffle=shuffle)


class BatchedFullSortEvalDataLoader(FullSortEvalDataLoader):
    """RecBole's full-ranking loader with batches of as many users as ``eval_memory`` MiB hold; no loop over users.

    RecBole ranks ``eval_batch_size // n_items`` users at once: one, for 4096 and any real catalogue. That number is kept
    as the least, so that raising ``eval_batch_size`` still works.
    """

    step: int  # Users in a batch.
    is_sequential = False

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False) -> None:
        self.uid_field, self.iid_field = dataset.uid_field, dataset.iid_field
        dataset.sort(by=self.uid_field, ascending=True)
        positives, used = distinct_clicks(dataset), sampler.used_ids
        seen = used.clicks if isinstance(used, UserItems) else clicks_from_sets(used, dataset.item_num)
        self.uid2positive_item = UserItems(positives, item_tensor)
        self.uid2history_item = UserItems((seen > positives).astype(np.int8), item_tensor)
        self.uid2items_num = np.diff(positives.indptr).astype(np.int64)
        self.uid_list = torch.from_numpy(np.flatnonzero(self.uid2items_num))
        self.user_df = dataset.join(Interaction({self.uid_field: self.uid_list}))
        self.sample_size = len(self.user_df)
        # Past FullSortEvalDataLoader, whose __init__ would visit every interaction again.
        super(FullSortEvalDataLoader, self).__init__(config, dataset, sampler, shuffle=False)

    def collate_fn(self, index: list[int]) -> tuple[Interaction, tuple[Tensor, Tensor], Tensor, Tensor]:
        """The users of a batch, the pairs (row, item) of their history, and the rows and the items of their positives."""
        users = self.user_df[index]
        ids = users[self.uid_field]
        return users, self.uid2history_item.pairs(ids), *self.uid2positive_item.pairs(ids)

    def _init_batch_size_and_step(self) -> None:
        super()._init_batch_size_and_step()
        n_items = self._dataset.item_num
        self.step = max(self.step, users_per_batch(self.config, n_items))
        self.set_batch_size(self.step * n_items)
