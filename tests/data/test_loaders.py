from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_multvae.data.csr import click_matrix
from recbole_multvae.data.loaders import TOP_K_BYTES, WHOLE_ROW_BYTES
from recbole_multvae.data.training_clicks import TrainingClicks
from tests.conftest import Experiment, block_pairs

#: A split made by hand: user "late" has no training interaction, "one" a single one, and u0's i1 occurs twice.
TRAIN = [("u0", "i1"), ("u0", "i0"), ("u0", "i1"), ("one", "i2"), *block_pairs()]
TEST = [("u0", "i2"), ("one", "i0"), ("late", "i1")]


def hand_split(write_dataset: Callable[..., None], **keys: object) -> Experiment:
    write_dataset("hand", [])
    for part, pairs in (("train", TRAIN), ("valid", TEST), ("test", TEST)):
        rows = "".join(f"{user}\t{item}\n" for user, item in pairs)
        Path("hand", f"hand.{part}.inter").write_text("user_id:token\titem_id:token\n" + rows)
    return Experiment("MultVAE", "hand", benchmark_filename=["train", "valid", "test"], **keys)


def test_training_clicks_are_csr_of_distinct_items(write_dataset: Callable[..., None]) -> None:
    experiment = hand_split(write_dataset)
    training_clicks = TrainingClicks(click_matrix(experiment.train_data._dataset))
    ids = experiment.dataset.field2token_id
    users = torch.tensor([ids["user_id"][user] for user in ("one", "late", "u0")] + [0])
    clicks = training_clicks(users)
    expected = {u: {ids["item_id"][i] - 1 for v, i in TRAIN if v == u} for u in ("one", "late", "u0")}
    assert clicks.offsets.tolist() == [0, 1, 1, 1 + len(expected["u0"]), 1 + len(expected["u0"])]
    assert set(clicks.columns[:1].tolist()) == expected["one"]
    assert sorted(clicks.columns[1:].tolist()) == sorted(expected["u0"])
    bytes_held = sum(buffer.nbytes for buffer in training_clicks.buffers())
    assert bytes_held == 4 * len(set(TRAIN)) + 8 * (experiment.dataset.user_num + 1)


def test_training_leaves_out_padding_and_users_without_history(write_dataset: Callable[..., None]) -> None:
    experiment = hand_split(write_dataset)
    ids = experiment.dataset.field2token_id["user_id"]
    seen = torch.cat([batch["user_id"] for batch in experiment.train_data])
    assert sorted(seen.tolist()) == sorted(set(ids.values()) - {0, ids["late"]})


def test_user_without_history_is_evaluated(write_dataset: Callable[..., None]) -> None:
    experiment = hand_split(write_dataset)
    experiment.fit()
    result = experiment.trainer.evaluate(experiment.test_data)
    assert all(np.isfinite(value) for value in result.values())


def test_order_of_users_changes_every_epoch(blocks: str) -> None:
    loader = Experiment("MultVAE").train_data
    first, second = (torch.cat([batch["user_id"] for batch in loader]).tolist() for _ in range(2))
    assert first != second
    assert sorted(first) == sorted(second)


#: Items, and hidden units of QUICK's network twice or three times, of one user of the blocks.
UNITS = 21 + 2 * 6 + 3 * 4


def test_evaluation_batches_are_sized_by_memory(blocks: str) -> None:
    default = Experiment("MultVAE").valid_data
    assert default.step == 512 * 2**20 // (TOP_K_BYTES * UNITS)
    assert len(default) == 1
    small = Experiment("MultVAE", eval_memory=1, eval_batch_size=1).valid_data
    assert small.step == 2**20 // (TOP_K_BYTES * UNITS)
    whole_rows = Experiment("MultVAE", eval_memory=1, metrics=["Recall", "GAUC"], valid_metric="Recall@10").valid_data
    assert whole_rows.step == 2**20 // (WHOLE_ROW_BYTES * UNITS)
    asked = Experiment("MultVAE", eval_memory=1, eval_batch_size=10**6).valid_data
    assert asked.step == 10**6 // 21


def test_metrics_do_not_depend_on_the_evaluation_batch(blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Experiment("MultVAE")
    monkeypatch.setattr("recbole_multvae.data.loaders.TOP_K_BYTES", 512 * 2**20 // (3 * UNITS))
    in_threes = Experiment("MultVAE", eval_batch_size=1)
    assert (len(whole.test_data), len(in_threes.test_data)) == (1, 14)
    assert whole.fit() == in_threes.fit()
    assert whole.trainer.evaluate(whole.test_data) == in_threes.trainer.evaluate(in_threes.test_data)
