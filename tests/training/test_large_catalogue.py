"""Sampled softmax and sparse gradients, for catalogues that are too large for dense ones."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from recbole_multvae.errors import ConfigurationError
from recbole_multvae.likelihoods.multinomial import sample_items
from tests.conftest import Experiment

SPARSE = {"learner": "sparse_adam", "sampled_softmax": 6}


def test_what_was_clicked_is_taken_and_the_rest_weighted() -> None:
    items = torch.tensor([7, 3, 7])
    columns, shift, position = sample_items(items, 1000, 100, torch.Generator().manual_seed(0))
    assert columns[:2].tolist() == [3, 7] and columns[position].tolist() == items.tolist()
    others = columns[2:]
    assert 80 < len(others) <= 100 and len(others.unique()) == len(others) and not set(others.tolist()) & {3, 7}
    assert shift[:2].tolist() == [0, 0]
    assert shift[2:].tolist() == pytest.approx([math.log(998 / len(others))] * len(others))


def test_the_normaliser_is_right_on_average() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, generator=generator)
    estimates = []
    for _ in range(4000):
        columns, shift, _ = sample_items(torch.tensor([4, 9]), 50, 10, generator)
        estimates.append((logits[columns] + shift).exp().sum())
    assert torch.stack(estimates).mean().item() == pytest.approx(logits.exp().sum().item(), rel=0.02)


def test_a_sample_of_everything_is_exact() -> None:
    columns, shift, _ = sample_items(torch.arange(5), 5, 100, torch.Generator())
    assert columns.tolist() == [0, 1, 2, 3, 4] and not shift.any()


@pytest.mark.parametrize("keys", [{}, SPARSE, {"sampled_softmax": 6}, {"learner": "sparse_adam"}])
@pytest.mark.parametrize("model", ["MultVAE", "MultDAE"])
def test_learns_the_blocks(model: str, keys: dict[str, Any], blocks: str) -> None:
    if model == "MultDAE":
        keys = {**keys, "reg_weight": 0.0}
    experiment = Experiment(model, epochs=40, learning_rate=0.01, **keys)
    experiment.fit()
    assert experiment.trainer.evaluate(experiment.test_data, show_progress=False)["recall@10"] > 0.9


def test_autorec_without_its_l2_penalty_has_sparse_gradients(blocks: str) -> None:
    Experiment("AutoRec", learner="sparse_adam", reg_weight=0.0).fit()


def test_only_the_items_of_a_batch_move(blocks: str) -> None:
    experiment = Experiment("MultVAE", **{**SPARSE, "sampled_softmax": 1, "train_batch_size": 1, "dropout_prob": 0.0})
    model, optimizer = experiment.model, experiment.trainer.optimizer
    batch = next(iter(experiment.train_data))
    clicked = set(model.training_clicks(batch["user_id"]).columns.tolist())
    tables = {"encoder": model.encoder.first.weight, "decoder": model.decoder[-1].weight}
    before = {name: table.clone() for name, table in tables.items()}
    model.calculate_loss(batch).backward()
    optimizer.step()
    moved = {name: set((table != before[name]).any(dim=1).nonzero().flatten().tolist()) for name, table in tables.items()}
    assert moved["encoder"] == clicked
    assert clicked <= moved["decoder"] and len(moved["decoder"] - clicked) <= 1


def test_a_resumed_run_equals_an_unbroken_one(blocks: str) -> None:
    unbroken = Experiment("MultVAE", epochs=4, **SPARSE)
    unbroken.fit()
    broken = Experiment("MultVAE", epochs=2, **SPARSE)
    broken.trainer.fit(broken.train_data, verbose=False)
    broken.trainer._save_checkpoint(1, verbose=False)
    resumed = Experiment("MultVAE", epochs=4, **SPARSE)
    resumed.trainer.resume_checkpoint(broken.trainer.saved_model_file)
    resumed.fit()
    for (name, ours), theirs in zip(resumed.model.state_dict().items(), unbroken.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize(("key", "value"), [("weight_decay", 0.1), ("clip_grad_norm", {"max_norm": 1.0})])
def test_what_does_not_go_with_sparse_gradients_says_so(key: str, value: Any, blocks: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{key}=.* does not go with learner=sparse_adam"):
        Experiment("MultVAE", **SPARSE, **{key: value})


def test_the_l2_penalty_does_not_go_with_sparse_gradients(blocks: str) -> None:
    with pytest.raises(ConfigurationError, match=r"reg_weight=0.01 does not go"):
        Experiment("MultDAE", **SPARSE)
