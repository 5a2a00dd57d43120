"""Pop counts every click of the training, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.conftest import QUIET, Experiment


@pytest.mark.parametrize("keys", [{}, {"train_neg_sample_args": None}, {"LABEL_FIELD": "liked"}])
def test_an_item_counts_once_a_click(uneven: str, keys: dict[str, Any]) -> None:
    experiment = Experiment("Pop", uneven, QUIET, data_path=".", train_batch_size=64, **keys)
    experiment.fit()
    clicks = experiment.train_data.dataset.inter_feat["item_id"].numpy()
    counts = np.bincount(clicks, minlength=experiment.model.n_items)
    assert counts.max() > len(clicks) / 64  # More than there are batches.
    assert experiment.model.item_cnt.flatten().tolist() == counts.tolist() and experiment.model.max_cnt == counts.max()
