"""The choice of beta by annealing: two runs for one flag, and the annealing in epochs."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from recbole.config import Config
from recbole.quick_start import run_recbole
from recbole.trainer import Trainer

from recbole_multvae import checkpoint
from recbole_multvae.commands.train import main
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.experiment import preparation
from recbole_multvae.experiment.run import run
from recbole_multvae.training.choice_of_beta import FIRST_RUN_STEPS, Evaluation
from tests.conftest import QUICK, Experiment

#: 40 users: 5 updates an epoch. Validation rises until beta is about 0.45, and falls then.
KEYS: dict[str, Any] = {
    "epochs": 30, "learning_rate": 0.01, "anneal_epochs": 20, "seed": 3, "stopping_step": 2,
    "ema_decay": 0.5, "kl_weighting": "equal", "decoder_hidden_size": "mirrored",
}  # fmt: skip
UPDATES = 5


def curves(monkeypatch: pytest.MonkeyPatch) -> list[list[list[Evaluation]]]:
    """The runs that each figure shows."""
    drawn: list[Any] = []
    monkeypatch.setattr("recbole_multvae.training.beta_figure.draw", lambda file, metric, runs: drawn.append(runs))
    return drawn


class TestTwoRuns:
    """One choice of beta, its checkpoint and its figure."""

    @pytest.fixture
    def chosen(self, blocks: str) -> Experiment:
        experiment = Experiment("MultVAE", blocks, **KEYS, choose_beta=True)
        experiment.result = experiment.fit()
        return experiment

    def test_second_is_a_training_from_the_beginning_with_the_cap(self, chosen: Experiment) -> None:
        saved = checkpoint.load(chosen.trainer.saved_model_file)
        cap, steps = saved["config"]["anneal_cap"], saved["config"]["total_anneal_steps"]
        assert 0 < cap < 1 and steps == 20 * UPDATES
        keys = {**KEYS, "anneal_epochs": None, "anneal_cap": cap, "total_anneal_steps": steps}
        alone = Experiment("MultVAE", **keys, checkpoint_dir="alone")
        assert alone.fit() == chosen.result
        for name, value in checkpoint.load(alone.trainer.saved_model_file)["state_dict"].items():
            torch.testing.assert_close(value, saved["state_dict"][name], rtol=0, atol=0)

    def test_cap_is_beta_where_the_first_was_best(self, blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn = curves(monkeypatch)
        chosen, epochs = Experiment("MultVAE", blocks, **KEYS, choose_beta=True), list[int]()
        parts = (chosen.config, chosen.train_data, chosen.valid_data, chosen.test_data, chosen.trainer)
        preparation.Experiment(*parts).on_validation(lambda epoch, _: epochs.append(epoch))
        chosen.fit()
        (alone,), (first, second) = drawn
        assert alone == first
        best = max(first, key=lambda evaluation: (evaluation.score, evaluation.update))
        assert chosen.config["anneal_cap"] == best.beta == best.update / (20 * UPDATES)
        assert second[: len(first)][first.index(best)] == best
        told = first + second[first.index(best) + 1 :]
        assert epochs == [evaluation.update // UPDATES - 1 for evaluation in told]
        assert {evaluation.beta for evaluation in second[first.index(best) :]} == {best.beta}

    def test_one_checkpoint_and_one_figure_are_left(self, chosen: Experiment) -> None:
        file, picture = sorted(Path("saved").iterdir(), key=lambda path: path.suffix, reverse=True)
        assert str(file) == chosen.trainer.saved_model_file
        assert picture == file.with_suffix(".png") and picture.read_bytes().startswith(b"\x89PNG")

    def test_checkpoint_is_a_run_with_the_cap_and_knows_its_evaluations(self, chosen: Experiment) -> None:
        config = checkpoint.load(chosen.trainer.saved_model_file)["config"]
        assert (config["choose_beta"], config["anneal_epochs"]) == (False, None)
        keys = {key: config[key] for key in ("anneal_cap", "total_anneal_steps", "decoder_hidden_size", "seed")}
        resumed = Experiment("MultVAE", **keys)
        resumed.trainer.resume_checkpoint(chosen.trainer.saved_model_file)
        assert resumed.model.beta == config["anneal_cap"]
        assert resumed.trainer.evaluations[-1].score == chosen.result[0]
        known = len(resumed.trainer.evaluations)
        assert resumed.trainer.evaluations == chosen.trainer.evaluations[:known]


def test_patience_is_for_the_second_run(blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = curves(monkeypatch)
    Experiment("MultVAE", blocks, **{**KEYS, "stopping_step": 0}, choose_beta=True).fit()
    first, second = drawn[-1]
    assert len(first) == 20 and first[-1].beta == 1
    assert second[-1].update < 30 * UPDATES


@pytest.mark.parametrize(
    ("keys", "epochs", "steps"),
    [
        ({"total_anneal_steps": 12}, 3, 12),  # In the third epoch of 5 updates.
        ({"total_anneal_steps": 12, "eval_step": 2}, 4, 12),  # There is no validation after the third.
        ({"anneal_epochs": 6}, 6, 30),
        ({}, 7, 35),  # The default does not fit.
        ({"anneal_epochs": 9, "eval_step": 3}, 6, 30),  # Beta must be 1 at a validation.
        ({"anneal_epochs": 2, "eval_step": 9}, 7, 10),  # RecBole validates after the last epoch then.
    ],
)
def test_first_run_ends_where_beta_is_1(
    blocks: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, keys: Any, epochs: int, steps: int
) -> None:
    drawn = curves(monkeypatch)
    experiment = Experiment("MultVAE", blocks, **{"epochs": 7, **keys}, choose_beta=True)
    with caplog.at_level(logging.INFO):
        experiment.fit()
    first = drawn[0][0]
    assert (first[-1].update, first[-1].beta) == (epochs * UPDATES, 1)
    assert experiment.config["total_anneal_steps"] == steps
    assert f"rises from 0 to 1 over {steps} updates, {epochs} epochs of 5" in caplog.text
    assert ("epochs=7 has no more updates" in caplog.text) == (not keys or keys.get("anneal_epochs") == 9)


@pytest.mark.parametrize(
    ("keys", "steps"),
    [
        ({"choose_beta": True}, FIRST_RUN_STEPS),
        ({"choose_beta": True, "anneal_epochs": None}, FIRST_RUN_STEPS),
        ({"choose_beta": True, "total_anneal_steps": 500}, 500),
        ({"choose_beta": True, "anneal_epochs": 4}, 500),  # It is not read.
        ({"choose_beta": False}, 500),
    ],
)
def test_first_run_is_longer_than_an_annealing_to_a_known_beta(blocks: str, keys: dict[str, Any], steps: int) -> None:
    assert Config("MultVAE", blocks, config_dict={**QUICK, **keys})["total_anneal_steps"] == steps


def test_nothing_is_trained_where_the_last_epoch_was_best(blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = curves(monkeypatch)
    chosen = Experiment("MultVAE", blocks, **{**KEYS, "anneal_epochs": None, "epochs": 5, "seed": 2}, choose_beta=True)
    score, metrics = chosen.fit()
    first, second = drawn[-1]
    assert first == second and first[-1] == (5 * UPDATES, score, 1)
    assert metrics["mrr@10"] == score
    assert checkpoint.load(chosen.trainer.saved_model_file)["epoch"] == 4


def test_command_prints_both_runs(blocks: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {**QUICK, **KEYS, "choose_beta": True, "state": "INFO"}
    flags = ["--model=MultVAE", "--dataset=blocks", *(f"--{key}={value}" for key, value in keys.items())]
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", *flags])
    caplog.set_level(logging.INFO)
    assert main(flags) == 0
    text = caplog.text
    assert "first run   beta up to 1: " in text and "second run  beta up to 0." in text
    (picture,) = Path("saved").glob("*.png")
    assert f"Both are drawn in {picture}." in text
    assert f"replaces the first's, {picture.with_suffix('.pth')}" in text


def test_recbole_s_quick_start_does_the_same(blocks: str) -> None:
    keys = {**QUICK, **KEYS, "choose_beta": True}
    assert run("MultVAE", blocks, config_dict=dict(keys)) == run_recbole("MultVAE", blocks, config_dict=dict(keys))


def test_interrupted_second_run_leaves_cap_and_figure(blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    train = Trainer._train_epoch

    def interrupted(trainer: Trainer, *args: Any, **keys: Any) -> Any:
        if not trainer.config["choose_beta"]:
            raise KeyboardInterrupt
        return train(trainer, *args, **keys)

    monkeypatch.setattr(Trainer, "_train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"the best state so far is in saved/MultVAE-.*pth"):
        run("MultVAE", blocks, config_dict={**QUICK, **KEYS, "choose_beta": True})
    file, picture = sorted(Path("saved").iterdir(), key=lambda path: path.suffix, reverse=True)
    saved = checkpoint.load(file)
    assert saved["config"]["anneal_cap"] == saved["evaluations"][-1][2] < 1 and saved["config"]["choose_beta"] is False
    assert picture.suffix == ".png"


def test_figure_has_validation_and_beta_of_both_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from recbole_multvae.training.beta_figure import draw

    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **_: (figures.append(figure), Path(file).touch()))
    runs = [[Evaluation(5, 0.1, 0.5), Evaluation(10, 0.2, 1.0)], [Evaluation(5, 0.1, 0.5), Evaluation(10, 0.3, 0.5)]]
    draw("x.png", "ndcg@100", runs)
    scores, betas = figures[0].axes
    assert [list(line.get_ydata()) for line in scores.lines] == [[0.1, 0.2], [0.1, 0.3]]
    assert [list(line.get_ydata()) for line in betas.lines] == [[0.5, 1.0], [0.5, 0.5]]
    assert all(list(line.get_xdata()) == [5, 10] for axes in (scores, betas) for line in axes.lines)
    assert [text.get_text() for text in scores.get_legend().get_texts()] == ["beta up to 1", "beta up to 0.5"]
    assert (scores.get_ylabel(), scores.get_xlabel()) == ("validation ndcg@100", "updates")


@pytest.mark.parametrize(
    ("model", "keys", "message"),
    [
        ("MultDAE", {}, "choose_beta=True is for models of this package with a KL term, such as MultVAE: leave it out"),
        ("BPR", {"latent_dimension": None}, "choose_beta=True is for models of this package with a KL term"),
        ("MultVAE", {"total_anneal_steps": 0}, "total_anneal_steps=0 leaves no updates for it: leave one out"),
        ("MultVAE", {"choose_beta": "yes"}, "choose_beta='yes' is not allowed: expected True or False"),
        ("MultVAE", {"nproc": 2, "local_rank": 0}, "choose_beta=True trains in one process only: leave out --nproc"),
        ("MultVAE", {"eval_step": 0}, "choose_beta=True needs validation and a checkpoint"),
        ("MultVAE", {"eval_args": {"split": {"RS": [8, 0, 2]}}}, "choose_beta=True needs validation and a checkpoint"),
    ],
)
def test_where_there_is_nothing_to_choose(blocks: str, model: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        run(model, blocks, config_dict={**QUICK, "choose_beta": True, **keys})
    assert not list(Path().glob("saved/*"))


class TestAnnealingInEpochs:
    def test_is_that_many_updates(self, blocks: str) -> None:
        in_epochs, in_updates = (
            Experiment("MultVAE", blocks, **{key: value}, anneal_cap=0.7, epochs=3)
            for key, value in (("anneal_epochs", 4), ("total_anneal_steps", 4 * UPDATES))
        )
        assert in_epochs.fit() == in_updates.fit()
        betas = [evaluation.beta for evaluation in in_epochs.trainer.evaluations]
        assert betas == [evaluation.beta for evaluation in in_updates.trainer.evaluations] == [0.25, 0.5, 0.7]
        for ours, theirs in zip(in_epochs.model.parameters(), in_updates.model.parameters(), strict=True):
            assert ours.equal(theirs)

    def test_both_are_too_many(self, blocks: str) -> None:
        Path("c.yaml").write_text("total_anneal_steps: 20\n")
        message = "total_anneal_steps=20 and anneal_epochs=4 say the same thing: leave one of them out"
        with pytest.raises(ConfigurationError, match=message):
            Config("MultVAE", blocks, ["c.yaml"], {**QUICK, "anneal_epochs": 4})
        assert Config("MultVAE", blocks, ["c.yaml"], {**QUICK, "anneal_epochs": None})["total_anneal_steps"] == 20

    def test_none_is_no_epoch(self, blocks: str) -> None:
        with pytest.raises(ConfigurationError, match="anneal_epochs=0 is not allowed: expected a positive integer or None"):
            Config("MultVAE", blocks, config_dict={**QUICK, "anneal_epochs": 0})
