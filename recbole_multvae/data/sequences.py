"""The parts of a split as RecBole's sequential models read them: rows with the clicks before a click, in order of time.

RecBole makes such rows from all interactions, and splits them: a row of the test then has clicks of the test in its history,
and every click is a query of its own. Here the split comes first. Training has RecBole's rows. In validation and test every
user is one query, with the clicks before the part begins as the history, as for every other model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_multvae.data.csr import ones
from recbole_multvae.data.exact_times import first_clicks
from recbole_multvae.errors import DataError


def as_sequences(dataset: Any, parts: Sequence[Any]) -> list[Any]:
    """Give RecBole's sequential data sets what their models read.

    Args:
        dataset: of all interactions, RecBole's ``SequentialDataset``, its rows in order of time; it is changed.
        parts: training, validation and test of a protocol by time, with ``history_rows``; they are changed.

    Returns:
        The parts. Their distinct clicks are in ``clicks``, the number of interactions of training and the first clicks on
        items in ``interactions`` and ``first_clicks``, and for each user of validation and test there is a row in
        ``sequences``.

    Raises:
        DataError: no user has two interactions in training.
    """
    train, *held_out = parts
    for part in parts:
        part.clicks = _clicks(part)
    for part in held_out:
        part.sequences = _sequences(dataset, part)
    users = train.inter_feat[train.uid_field].numpy()
    if not len(users) or np.bincount(users).max() < 2:
        raise DataError("No user has two interactions in training, and a sequential model learns from the next one.")
    counts = {field: train.counter(field) for field in (train.uid_field, train.iid_field)}
    train.interactions, train.first_clicks = len(train), first_clicks(train)
    train.data_augmentation()
    train.counter = counts.__getitem__  # Metrics of popularity count the clicks, not the rows.
    dataset.inter_feat = train.inter_feat  # RecBole's get_flops reads a row of it.
    for part in held_out:
        part._aug_presets()
    return list(parts)


def _clicks(part: Any) -> csr_matrix:
    """The distinct clicks of interactions that are no rows of sequences yet."""
    clicks = Dataset.inter_matrix(part, form="csr")
    clicks.sort_indices()
    return ones(clicks)


def _sequences(dataset: Any, part: Any) -> Interaction:
    """A row for each user of a part: the newest clicks of the history in order of time, and how many they are.

    A user without a history has one click on the padding item, as RecBole's models need one at least.
    """
    known = dataset.inter_feat[dataset.uid_field].numpy()[part.history_rows]
    users = np.unique(part.inter_feat[part.uid_field].numpy())
    order = np.argsort(known, kind="stable")
    rows, known = part.history_rows[order], known[order]
    ends = np.searchsorted(known, users, side="right")
    lengths = np.minimum(ends - np.searchsorted(known, users), part.max_item_list_len)
    columns = np.arange(part.max_item_list_len)
    filled = torch.from_numpy(columns < lengths[:, None])
    places = np.minimum((ends - lengths)[:, None] + columns, len(rows) - 1)
    index = torch.from_numpy(rows[places])
    lists = {
        f"{name}{part.config['LIST_SUFFIX']}": _filled(values[index], filled)
        for name, values in dataset.inter_feat.interaction.items()
        if name != part.uid_field
    }
    counts = torch.from_numpy(np.maximum(lengths, 1))
    return Interaction({part.uid_field: torch.from_numpy(users), part.item_list_length_field: counts, **lists})


def _filled(values: Tensor, filled: Tensor) -> Tensor:
    """The values in the places that are filled, and zeros in the others."""
    return torch.where(filled.view(*filled.shape, *[1] * (values.dim() - 2)), values, 0)
