from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from multvae_export.errors import ExportError, SpecError
from multvae_export.exporter import export
from recbole.data.interaction import Interaction
from scipy.sparse import csr_matrix

from recbole_multvae.data import memory
from recbole_multvae.errors import ConfigurationError, TrainingError
from recbole_multvae.models import edlae
from tests import reference
from tests.archive import changed
from tests.conftest import Experiment
from tests.models.parity import clicks
from tests.models.suite import RecommenderSuite


class TestEDLAE(RecommenderSuite):
    model = "EDLAE"
    learned = {"reg_weight": 10.0}

    def test_is_a_recbole_general_recommender(self, experiment: Experiment) -> None:
        assert experiment.config["MODEL_TYPE"].name == "TRADITIONAL"
        assert experiment.trainer.epochs == 1

    @pytest.mark.parametrize(("p", "a"), [(0.0, 0.0), (0.4, 0.0), (0.4, 0.7)])
    @pytest.mark.parametrize("few_users", [False, True])
    def test_similarities_are_the_reference_s(
        self, uneven: str, monkeypatch: pytest.MonkeyPatch, p: float, a: float, few_users: bool
    ) -> None:
        monkeypatch.setattr(edlae, "by_users", lambda *sizes: few_users)
        experiment = Experiment("EDLAE", uneven, dropout_prob=p, reg_weight=2.5, user_exponent=a)
        experiment.fit()
        network = experiment.model.eval()
        users = torch.arange(network.n_users)
        X = clicks(network, users)
        B = reference.edlae(X, p, 2.5, a)
        np.testing.assert_allclose(network.similarity, B, atol=1e-5)
        scores = network.full_sort_predict(Interaction({"user_id": users})).view(len(users), -1)
        np.testing.assert_allclose(scores[:, 1:], X @ B, atol=1e-5)

    def test_the_penalty_is_that_of_dropout(self) -> None:
        generator = np.random.default_rng(0)
        X = (generator.random((30, 5)) < 0.4).astype(float)
        draws = (generator.random((4000, *X.shape)) >= 0.3) / 0.7
        noisy, others = (X * draws).reshape(-1, 5), np.arange(1, 5)
        target = np.tile(X[:, 0], 4000)
        least_squares = np.linalg.solve(noisy[:, others].T @ noisy[:, others], noisy[:, others].T @ target)
        np.testing.assert_allclose(reference.edlae(X, 0.3, 1e-9)[others, 0], least_squares, atol=0.01)

    @pytest.mark.parametrize("solve", [edlae.solve_by_items, edlae.solve_by_users])
    def test_without_dropout_it_is_ease(self, blocks: str, solve: Callable[..., Any]) -> None:
        ease = Experiment("EASE", reg_weight=2.5).model
        similarity = solve(ease.interaction_matrix, np.full(21, 2.5), 2.5)
        np.testing.assert_allclose(similarity, ease.item_similarity, atol=1e-5)

    def test_similarities_are_neither_copied_nor_made_before_the_training(self, blocks: str) -> None:
        network = Experiment("EDLAE").model
        assert network.similarity.untyped_storage().nbytes() == 4
        assert copy.deepcopy(network).similarity.untyped_storage().nbytes() == 4  # As RecBole's get_flops does.
        similarity = torch.ones(20, 20)
        network.load_state_dict({"similarity": similarity})
        assert network.similarity.data_ptr() == similarity.data_ptr()
        with pytest.raises(RuntimeError, match="size mismatch"):
            network.load_state_dict({"similarity": torch.ones(19, 19)})

    def test_the_only_state_is_not_read_again_for_the_test(self, blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
        experiment = Experiment("EDLAE")
        experiment.fit()
        expected = experiment.trainer.evaluate(experiment.test_data, model_file=experiment.trainer.saved_model_file)
        monkeypatch.setattr(torch, "load", None)
        assert experiment.trainer.evaluate(experiment.test_data) == expected

    def test_a_checkpoint_with_a_parameter_is_resumed(self, blocks: str) -> None:
        """Earlier versions had the similarities as a parameter, which the optimiser knew."""
        experiment = Experiment("EDLAE")
        experiment.fit()
        parameter = torch.nn.Parameter(experiment.model.similarity.clone(), requires_grad=False)
        optimizer = torch.optim.Adam([parameter], lr=0.001, fused=True).state_dict()
        earlier = {"state_dict": OrderedDict(similarity=parameter.detach()), "optimizer": optimizer}
        changed(Path(experiment.trainer.saved_model_file), Path("earlier.pth"), lambda contents: contents.update(earlier))
        resumed = Experiment("EDLAE")
        resumed.trainer.resume_checkpoint("earlier.pth")
        assert torch.equal(resumed.model.similarity, parameter)

    def test_more_items_than_memory_holds(self, blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(memory, "available_memory", lambda: 2**29)
        Experiment("EDLAE").fit()
        monkeypatch.setattr(edlae.EDLAE, "dense_bytes", lambda *sizes: 5 * 2**28)
        with pytest.raises(TrainingError, match=r"EDLAE needs 1\.2 GiB of memory for 20 items, and 0\.5 GiB are available"):
            Experiment("EDLAE").fit()

    def test_what_fits_is_written_down(self, blocks: str, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level("INFO"):
            Experiment("EDLAE", state="INFO").fit()
        assert "EDLAE needs 0.0 GiB of memory for 20 items;" in caplog.text

    def test_resumed_run_equals_unbroken_run(self, blocks: str) -> None:
        pytest.skip("there is one epoch")

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("reg_weight", 0, "reg_weight=0 is not allowed: expected a number above 0"),
            ("dropout_prob", 1.0, "dropout_prob=1.0 is not allowed: expected a number from 0 up to"),
        ],
    )
    def test_bad_penalty(self, blocks: str, key: str, value: Any, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            Experiment("EDLAE", **{key: value})

    def test_a_likelihood_has_no_effect(self, blocks: str, caplog: pytest.LogCaptureFixture) -> None:
        Experiment("EDLAE", likelihood="gaussian")
        assert "likelihood='gaussian' has no effect on this model" in caplog.text


def made_clicks(users: int, items: int) -> csr_matrix:
    """Clicks on popular items mostly; some items have none."""
    generator = np.random.default_rng(users)
    chance = np.r_[2 / (3 + np.arange(items - 2)), 0, 0]
    return csr_matrix((generator.random((users, items)) < chance).astype(np.float32))


@pytest.mark.parametrize("p", [0.0, 0.5])
@pytest.mark.parametrize("l2", [0.1, 200.0])
@pytest.mark.parametrize(("users", "by_users"), [(300, False), (60, False), (60, True)])
def test_both_solutions_rank_as_float64_does(
    users: int, by_users: bool, l2: float, p: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edlae, "by_users", lambda *sizes: by_users)
    X = made_clicks(users, 150)  # More items than edlae.BLOCK.
    similarity, B = edlae.similarities(X, p, l2), reference.edlae(X.toarray().astype(float), p, l2)
    assert similarity.dtype == np.float32 and similarity.flags.c_contiguous
    np.testing.assert_allclose(similarity, B, atol=1e-5)
    best = np.argsort(-(X @ B), axis=1)[:, :10]
    computed = np.take_along_axis(X @ similarity, best, axis=1)
    assert (np.diff(computed, axis=1) <= 1e-5).all()  # The same order, but for scores that float32 does not tell apart.


def test_a_penalty_too_small_for_float32() -> None:
    alike = csr_matrix(np.ones((3, 2), np.float32))
    with pytest.raises(TrainingError, match=r"reg_weight=1e-09 is too small to invert X\^T X with float32 numbers: take a"):
        edlae.similarities(alike, 0, 1e-9)


def test_a_small_penalty_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    edlae.similarities(made_clicks(300, 20), 0, 0.1)
    assert not caplog.text
    edlae.similarities(made_clicks(300, 20), 0, 1e-7)
    assert "reg_weight=1e-07 is so small that float32 numbers may change the order of items." in caplog.text


def test_memory_is_that_of_the_solution() -> None:
    assert edlae.by_users(1_900, 17_600, 93_100) and not edlae.by_users(9_000, 17_600, 441_000)
    by_users, by_items = (edlae.EDLAE.dense_bytes(users, 17_600, 49 * users) for users in (1_900, 20_000))
    assert by_users - by_items == 8 * 1_900**2
    assert 4 * 17_600**2 < by_items < 4.3 * 17_600**2


@pytest.fixture
def trained(blocks: str) -> Path:
    experiment = Experiment("EDLAE")
    experiment.fit()
    return Path(experiment.trainer.saved_model_file)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_it_is_exported(trained: Path, precision: str) -> None:
    overlap = None if precision == "fp32" else 0
    exported = export(trained, "model.onnx", precision=precision, min_overlap=overlap)  # Which compares it with torch.
    assert exported.model.name == "EDLAE"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda spec: spec.pop("similarity"), "says similarity=None, which are no weights of the checkpoint"),
        (lambda spec: spec.update(similarity=["x"]), "says similarity=\\['x'\\], which are no weights"),
        (lambda spec: spec.update(n_items=20), "says n_items=20, and the weights similarity are \\[20, 20\\]"),
        (lambda spec: spec.update(n_items="many"), "says n_items='many', and the weights similarity"),
    ],
)
def test_a_wrong_description_is_one_sentence(trained: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    path = changed(trained, Path("wrong.pth"), lambda contents: change(contents["other_parameter"]["spec"]))
    error: type[ExportError] = SpecError
    with pytest.raises(error, match=message):
        export(path, "model.onnx")
