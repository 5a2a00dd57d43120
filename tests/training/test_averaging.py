"""The average of the weights: how it moves; validation, checkpoint and test use it, and training does not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recbole_multvae import checkpoint
from recbole_multvae.training.averaging import FIRST, STRIDE, AveragedWeights
from tests.conftest import Experiment


def test_average_of_made_weights() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    average = AveragedWeights(layer, decay=0.98)
    expected, averaged = 0.0, 0
    for update in range(1, FIRST + 20 * STRIDE + 1):
        nn.init.constant_(layer.weight, update)
        average.update()
        if update <= FIRST or update % STRIDE == 0:
            averaged += 1
            kept = min(0.98**STRIDE, (1 + averaged) / (10 + averaged))
            expected = kept * expected + (1 - kept) * update
        with average.in_place():
            assert layer.weight.item() == pytest.approx(expected, rel=1e-5)
        assert layer.weight.item() == update


@pytest.fixture
def experiment(blocks: str) -> Experiment:
    return Experiment("MultVAE", epochs=6, ema_decay=0.9)


def test_validation_and_checkpoint_take_the_average(experiment: Experiment) -> None:
    validated = []
    experiment.trainer._full_sort_batch_eval = lambda batch: validated.append(weight.clone()) or original(batch)
    original = type(experiment.trainer)._full_sort_batch_eval.__get__(experiment.trainer)
    weight = experiment.model.decoder[-1].weight
    experiment.fit()
    saved = checkpoint.load(experiment.trainer.saved_model_file)
    best, last = (weights["decoder.2.weight"] for weights in (saved["state_dict"], saved["averaging"]["weights"]))
    assert any(torch.equal(best, seen) for seen in validated)
    assert best.shape == last.shape and not torch.equal(best, last)


def test_the_model_ends_with_the_average(experiment: Experiment) -> None:
    experiment.trainer.fit(experiment.train_data, experiment.valid_data, verbose=False, saved=False)
    for name, parameter in experiment.model.named_parameters():
        assert torch.equal(parameter, experiment.trainer._average.average[name]), name


def test_without_a_decay_there_is_no_average(blocks: str) -> None:
    experiment = Experiment("MultVAE", ema_decay=0)
    experiment.fit()
    assert "averaging" not in checkpoint.load(experiment.trainer.saved_model_file)


def test_a_run_without_an_average_can_be_resumed_with_one(blocks: str) -> None:
    first = Experiment("MultVAE", ema_decay=0)
    first.fit()
    second = Experiment("MultVAE", ema_decay=0.9, epochs=4)
    second.trainer.resume_checkpoint(first.trainer.saved_model_file)
    second.fit()
    assert second.trainer._average.updates > 0
