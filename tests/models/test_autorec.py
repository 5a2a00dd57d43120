from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from multvae_export.errors import UnsupportedModelError
from multvae_export.exporter import export
from recbole.data.interaction import Interaction

from recbole_multvae.errors import ConfigurationError, DataError
from tests import reference
from tests.conftest import Experiment, block_pairs
from tests.models.parity import clicks, compare_gradients, layers_of
from tests.models.suite import AutoEncoderSuite

RATED = {"targets": "ratings", "load_col": {"inter": ["user_id", "item_id", "rating"]}}


@pytest.fixture
def rated(blocks: str) -> str:
    """The blocks with ratings: 5 for an even item, 2 for an odd one."""
    rows = [f"{user}\t{item}\t{5 - 3 * (int(item[1:]) % 2)}\n" for user, item in block_pairs()]
    Path("blocks/blocks.inter").write_text("user_id:token\titem_id:token\trating:float\n" + "".join(rows))
    return blocks


class TestAutoRec(AutoEncoderSuite):
    model = "AutoRec"
    learned = {"epochs": 150, "learning_rate": 0.02, "reg_weight": 1.0}

    def test_loss_and_gradients_are_the_reference_s(self, blocks: str) -> None:
        network = Experiment("AutoRec", reg_weight=0.8).model.train()
        users = torch.tensor([3, 0, 1, 17, 5, 6, 7, 8])  # 0, the padding user, has no history.
        X = clicks(network, users)
        (encoder,), (decoder,) = layers_of(network)
        loss, _, d_encoder, d_decoder = reference.autorec(X, np.ones_like(X, bool), encoder, decoder, 0.8)

        ours = network.calculate_loss(Interaction({"user_id": users}))
        ours.backward()
        assert ours.item() == pytest.approx(loss, rel=1e-5)
        compare_gradients(network, [d_encoder], [d_decoder])

    def test_ratings_are_read_and_only_they_count(self, rated: str) -> None:
        network = Experiment("AutoRec", reg_weight=0.8, **RATED).model.train()
        users = torch.tensor([3, 0, 1, 17, 5, 6, 7, 8])
        X = clicks(network, users)
        tokens = np.array([int(token[1:]) for token in network.item_tokens[1:]])
        (encoder,), (decoder,) = layers_of(network)
        loss, predicted, d_encoder, d_decoder = reference.autorec(X * (5 - 3 * (tokens % 2)), X > 0, encoder, decoder, 0.8)

        ours = network.calculate_loss(Interaction({"user_id": users}))
        ours.backward()
        assert ours.item() == pytest.approx(loss, rel=1e-5)
        compare_gradients(network, [d_encoder], [d_decoder])
        scores = network.eval().full_sort_predict(Interaction({"user_id": users})).view(8, -1)
        np.testing.assert_allclose(scores[:, 1:].detach(), predicted, rtol=1e-4, atol=1e-5)

    def test_of_two_ratings_the_mean_counts(self, rated: str) -> None:
        with Path("blocks/blocks.inter").open("a") as file:
            file.write("u0\ti1\t3\n")  # Besides the 2 that all odd items have.
        experiment = Experiment("AutoRec", eval_args={"split": {"RS": [1, 0, 0]}}, **RATED)
        user = experiment.dataset.field2token_id["user_id"]["u0"]
        clicks = experiment.model.training_clicks(torch.tensor([user]))
        ratings = {experiment.model.item_tokens[item]: value for item, value in zip(clicks.ids, clicks.values, strict=True)}
        assert ratings["i1"] == 2.5 and ratings["i2"] == 5

    def test_ratings_are_learned(self, rated: str) -> None:
        keys = {"eval_args": {"mode": "labeled"}, "metrics": ["RMSE"], "valid_metric": "RMSE", "LABEL_FIELD": "rating"}
        experiment = Experiment("AutoRec", epochs=60, learning_rate=0.02, **RATED, **keys)
        experiment.fit()
        assert experiment.trainer.evaluate(experiment.test_data, show_progress=False)["rmse"] < 0.5

    def test_a_history_has_no_ratings(self, rated: str) -> None:
        experiment = Experiment("AutoRec", **RATED)
        with pytest.raises(DataError, match="targets=ratings reads ratings, and a history of items has none: train it with"):
            experiment.model.score_histories([[1, 2]])
        experiment.fit()
        with pytest.raises(UnsupportedModelError, match="AutoRec with targets=ratings cannot be exported, because it reads"):
            export(experiment.trainer.saved_model_file, "model.onnx")

    def test_no_column_of_ratings(self, blocks: str) -> None:
        with pytest.raises(ConfigurationError, match="targets='ratings' reads the column rating, which is not loaded"):
            Experiment("AutoRec", targets="ratings")

    @pytest.mark.parametrize("activation", ["sigmoid", "none"])
    def test_it_is_exported(self, blocks: str, activation: str) -> None:
        experiment = Experiment("AutoRec", hid_activation=activation)
        experiment.fit()
        exported = export(experiment.trainer.saved_model_file, "model.onnx")  # Which compares the file with torch.
        assert exported.model.name == "AutoRec"

    def test_bad_penalty(self, blocks: str) -> None:
        with pytest.raises(ConfigurationError, match=r"reg_weight=-0.1 is not allowed: expected a number, 0 or more"):
            Experiment("AutoRec", reg_weight=-0.1)
