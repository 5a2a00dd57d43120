"""Sums of trained models: their scores, weights, checkpoints, and what is refused."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from multvae_export.exporter import export
from onnxruntime import InferenceSession
from recbole.data.interaction import Interaction
from recbole.quick_start import load_data_and_model, run_recbole

from recbole_multvae import checkpoint
from recbole_multvae.commands.recommend import main as recommend
from recbole_multvae.errors import CheckpointError, ConfigurationError, DataError
from recbole_multvae.evaluation.ranking import Ranker
from recbole_multvae.sums.model import named_weights
from recbole_multvae.sums.shortlists import Shortlists
from tests.conftest import QUIET, Experiment, FakeWandb, uneven_pairs, write_inter
from tests.sums.conftest import METRIC, added, trained

SG = {"eval_args": {"split": {"SG": {"valid_users": 12, "test_users": 12}}, "mode": "full"}}


def scores(experiment: Experiment) -> np.ndarray:
    """The scores of all users of the data set, without the padding item."""
    model = experiment.model.eval()
    users = torch.arange(1, model.n_users)
    with torch.no_grad():
        return model.full_sort_predict(Interaction({"user_id": users})).view(len(users), -1)[:, 1:].numpy()


@pytest.mark.parametrize("names", [("MultVAE", "EDLAE"), ("EASE", "MultVAE", "ItemKNN"), ("MultiVAE", "SLIMElastic", "Pop")])
def test_scores_are_the_weighted_sum_of_those_of_the_members(uneven: str, names: tuple[str, ...]) -> None:
    members = {name: trained(name) for name in names}
    weights = [0.5, 0.3, 0.2][: len(names)]
    both = added(members, weights=weights)
    parts = [scores(member) for member in members.values()]
    active = (both.model.training_clicks.clicks.counts[1:] > 0).numpy()
    deviations = [part[active].std(axis=1, ddof=1).mean() for part in parts]
    np.testing.assert_allclose(both.model.scales, deviations, rtol=1e-3)
    expected = sum(weight / deviation * part for weight, deviation, part in zip(weights, deviations, parts, strict=True))
    np.testing.assert_allclose(scores(both), expected, rtol=1e-3, atol=1e-4)
    pairs = Interaction({"user_id": torch.tensor([1, 1, 3]), "item_id": torch.tensor([2, 0, 5])})
    np.testing.assert_allclose(both.model.predict(pairs)[[0, 2]], [expected[0, 1], expected[2, 4]], rtol=1e-3, atol=1e-4)


def test_weights_are_chosen_on_validation(uneven: str) -> None:
    members = {"MultVAE": trained("MultVAE"), "EASE": trained("EASE"), "MultiVAE": trained("MultiVAE")}
    both = added(members)
    alone = {name: member.trainer.best_valid_score for name, member in members.items()}
    assert both.trainer.alone == pytest.approx(alone, abs=1e-4)
    assert both.trainer.best_valid_score >= max(alone.values())
    assert sum(both.model.weights) == pytest.approx(1, abs=0.002)
    assert added(members).model.weights == both.model.weights


def test_its_validation_is_logged(uneven: str, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {"EASE": trained("EASE"), "Pop": trained("Pop")}
    monkeypatch.setitem(sys.modules, "wandb", wandb := FakeWandb())
    both = added(members, log_wandb=True)
    assert [line for line in wandb.lines if "valid/ndcg@5" in line] == [
        {"valid_step": 0, **{f"valid/{name}": value for name, value in both.trainer.best_valid_result.items()}}
    ]


def test_shortlists_rank_as_all_items_do(uneven: str) -> None:
    both = added({"MultVAE": trained("MultVAE"), "ItemKNN": trained("ItemKNN")}, weights=[0.4, 0.6])
    shortlists = Shortlists.of(both.model, both.valid_data, 5)
    items, hits = shortlists.ranked(both.model.weights, 5)
    ranker = Ranker(both.model.eval(), 5)
    with torch.no_grad():
        batches = [(ranker(users, seen).items, rows, ids) for users, seen, rows, ids in both.valid_data]
    assert torch.equal(items, torch.cat([ranked for ranked, _, _ in batches]))
    (ranked, rows, ids), *_ = batches
    positives = [{int(item) for row, item in zip(rows, ids, strict=True) if row == user} for user in range(len(ranked))]
    expected = [
        [*(int(item) in clicked for item in row), len(clicked)] for row, clicked in zip(ranked, positives, strict=True)
    ]
    assert hits[: len(ranked)].tolist() == expected
    assert len(shortlists.of_some_users(7).counts) == 7


def test_a_checkpoint_is_complete_without_those_of_the_members(uneven: str, capsys: pytest.CaptureFixture[str]) -> None:
    both = added({"MultVAE": trained("MultVAE"), "ItemKNN": trained("ItemKNN")})
    file = shutil.move(both.trainer.saved_model_file, "sum.pth")
    assert Path(both.trainer.saved_model_file).name.startswith("MultVAE+ItemKNN-")
    shutil.rmtree("saved")
    _, model, *_ = load_data_and_model(file)
    assert model.weights == both.model.weights and model.title == "MultVAE+ItemKNN"
    histories = [[1, 2, 3], [], [7]]
    torch.testing.assert_close(model.score_histories(histories), both.model.score_histories(histories))

    resumed = Experiment("Sum", "uneven", **METRIC, members=checkpoint.load(file)["config"]["members"])
    resumed.trainer.resume_checkpoint(file)
    resumed.fit()
    np.testing.assert_array_equal(scores(resumed), scores(both))
    assert recommend([file, "--user=u1", "-k", "3"]) == 0
    assert "MultVAE+ItemKNN recommends" in capsys.readouterr().out


@pytest.mark.parametrize("names", [("MultVAE", "EDLAE"), ("MultiVAE", "EASE", "ItemKNN")])
def test_its_onnx_file_ranks_as_it_does(uneven: str, names: tuple[str, ...]) -> None:
    both = added({name: trained(name) for name in names}, weights=[0.4, 0.6, 0.5][: len(names)])
    exported = export(both.trainer.saved_model_file, "sum.onnx", io="ids", k_default=5)
    assert exported.model.name == "+".join(names) and len(exported.checks) == 4
    history = np.array([[1, 2, 3], [7, 0, 0]])
    items, values = InferenceSession("sum.onnx").run(None, {"history": history})
    expected = both.model.score_histories([[1, 2, 3], [7]])
    np.testing.assert_allclose(values, np.take_along_axis(expected.numpy(), items, axis=1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("names", [("MultVAE", "EASE"), ("MultiVAE", "MultDAE")])
def test_users_who_are_not_in_training(uneven: str, names: tuple[str, ...]) -> None:
    members = {name: trained(name, **SG) for name in names}
    both = added(members, weights=[1.0, 0.0], **SG)
    assert both.trainer.best_valid_score == pytest.approx(members[names[0]].trainer.best_valid_score, abs=1e-4)
    assert both.trainer.alone[names[1]] == pytest.approx(members[names[1]].trainer.best_valid_score, abs=1e-4)


def test_members_of_other_data_are_refused(uneven: str, tmp_path: Path) -> None:
    members = {"MultVAE": trained("MultVAE"), "EASE": trained("EASE")}
    for name in members:
        write_inter(tmp_path, "uneven", uneven_pairs()[:-2] if name == "EASE" else [*uneven_pairs(), ("u1", "new")])
        with pytest.raises(DataError, match="The data set uneven is not the one that the checkpoint was trained on"):
            added(members)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], r"weights=\[1.0\] does not fit the members A, B: expected one number for each"),
        ({"A": 1.0, "C": 2.0}, "does not fit the members A, B"),
        ([0.0, 0.0], "one of them above 0"),
    ],
)
def test_weights_must_fit(weights: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        named_weights(weights, ("A", "B"))
    assert named_weights({"B": 1.0, "A": 2.0}, ("A", "B")) == [2.0, 1.0]


def test_mistakes_in_a_script(uneven: str) -> None:
    member = trained("BPR", train_neg_sample_args={"distribution": "uniform", "sample_num": 1}).trainer.saved_model_file
    keys = {**QUIET, "data_path": ".", **METRIC}
    mistakes: list[tuple[Any, type[Exception], str]] = [
        ({}, ConfigurationError, "are too few for a sum: train it with --model="),
        ({"A": member}, ConfigurationError, "are too few for a sum"),
        (
            {"A": member, "B": "none.pth"},
            ConfigurationError,
            "A cannot be a member of a sum, .* as BPR needs more",
        ),
        ({"B": "none.pth", "A": member}, CheckpointError, "Cannot load the checkpoint none.pth"),
        (["a.pth"], ConfigurationError, "members=.* is not allowed: expected a dictionary of the names of two models"),
    ]
    for members, error, message in mistakes:
        with pytest.raises(error, match=message):
            run_recbole("Sum", uneven, config_dict={**keys, "members": members})
