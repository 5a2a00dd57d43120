from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from multvae_export.errors import ExportError, SpecError
from multvae_export.exporter import export
from recbole.data.interaction import Interaction

from recbole_multvae.errors import ConfigurationError
from recbole_multvae.models.edlae import closed_form
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

    @pytest.mark.parametrize("p", [0.0, 0.4])
    def test_similarities_are_the_reference_s(self, blocks: str, p: float) -> None:
        experiment = Experiment("EDLAE", dropout_prob=p, reg_weight=2.5)
        experiment.fit()
        network = experiment.model.eval()
        users = torch.arange(network.n_users)
        X = clicks(network, users)
        B = reference.edlae(X, p, 2.5)
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

    def test_without_dropout_it_is_ease(self, blocks: str) -> None:
        ease = Experiment("EASE", reg_weight=2.5).model
        similarity = closed_form(torch.from_numpy((ease.interaction_matrix.T @ ease.interaction_matrix).toarray()), 0, 2.5)
        np.testing.assert_allclose(similarity, ease.item_similarity, atol=1e-5)

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
