"""The shared suite: every model of the family inherits these tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_multvae import checkpoint
from recbole_multvae.errors import ConfigurationError, DataError
from recbole_multvae.models import ClickAutoEncoder
from tests.conftest import Experiment


class RecommenderSuite:
    """A subclass sets ``model``, and ``learned``: configuration keys with which it learns the blocks in seconds."""

    model: str
    learned: dict[str, Any]

    @pytest.fixture
    def experiment(self, blocks: str) -> Experiment:
        return Experiment(self.model)

    @pytest.fixture
    def network(self, experiment: Experiment) -> ClickAutoEncoder:
        return experiment.model.eval()

    def all_users(self, network: ClickAutoEncoder) -> Interaction:
        return Interaction({"user_id": torch.arange(network.n_users)})

    def test_is_a_recbole_general_recommender(self, experiment: Experiment) -> None:
        assert experiment.config["MODEL_TYPE"].name == "GENERAL"
        assert type(experiment.model).__name__ == self.model
        assert experiment.config["train_neg_sample_args"]["distribution"] == "none"

    def test_shapes(self, network: ClickAutoEncoder) -> None:
        scores = network.full_sort_predict(self.all_users(network))
        assert scores.shape == (network.n_users * network.n_items,)
        pairs = Interaction({"user_id": torch.tensor([1, 1, 3]), "item_id": torch.tensor([2, 0, 5])})
        assert network.predict(pairs).shape == (3,)

    def test_predict_agrees_with_full_sort_predict(self, network: ClickAutoEncoder) -> None:
        full = network.full_sort_predict(self.all_users(network))
        users, items = torch.meshgrid(torch.arange(network.n_users), torch.arange(network.n_items), indexing="ij")
        pairs = Interaction({"user_id": users.flatten(), "item_id": items.flatten()})
        torch.testing.assert_close(network.predict(pairs), full, rtol=1e-5, atol=1e-6)

    def test_inference_is_deterministic(self, network: ClickAutoEncoder) -> None:
        users = self.all_users(network)
        assert torch.equal(network.full_sort_predict(users), network.full_sort_predict(users))

    def test_padding_is_never_recommended(self, network: ClickAutoEncoder) -> None:
        scores = network.full_sort_predict(self.all_users(network)).view(-1, network.n_items)
        assert (scores[:, 0] < scores[:, 1:].min()).all()
        assert scores.isfinite().all()

    def test_any_history_gets_finite_scores(self, network: ClickAutoEncoder) -> None:
        catalogue = list(range(1, network.n_items))
        longest = int(network.training_clicks.clicks.counts.max())
        assert len(catalogue) > longest
        scores = network.score_histories([[], [3], catalogue, catalogue * 3])
        assert scores.shape == (4, network.n_items)
        assert scores.isfinite().all()
        torch.testing.assert_close(scores[2], scores[3])  # A repeated item counts once.

    def test_histories_of_the_data_get_the_scores_of_their_users(self, network: ClickAutoEncoder) -> None:
        clicks = network.training_clicks(torch.arange(network.n_users))
        histories = [row.tolist() for row in clicks.ids.tensor_split(clicks.offsets[1:-1])]
        expected = network.full_sort_predict(self.all_users(network)).view(-1, network.n_items)
        torch.testing.assert_close(network.score_histories(histories), expected)

    def test_unknown_item_id_is_an_error(self, network: ClickAutoEncoder) -> None:
        with pytest.raises(DataError, match="Item id 999 is not in the catalogue: expected 1 to 20"):
            network.score_histories([[1, 999]])

    def test_learns_the_blocks(self, blocks: str) -> None:
        experiment = Experiment(self.model, **{"stopping_step": 1000, **self.learned})
        experiment.fit()
        network = experiment.model.eval()
        users = experiment.dataset.field2id_token["user_id"]
        scores = network.full_sort_predict(self.all_users(network)).view(-1, network.n_items)
        for user, token in enumerate(users[1:], 1):
            best = [network.item_tokens[i] for i in scores[user].topk(10).indices]
            block = {f"i{i}" for i in (range(10) if int(token[1:]) % 2 == 0 else range(10, 20))}
            assert set(best) == block, f"{token} should be recommended its own block"

    def test_checkpoint_holds_what_using_the_model_without_data_takes(self, experiment: Experiment) -> None:
        experiment.fit()
        saved = checkpoint.load(experiment.trainer.saved_model_file)
        extra = saved["other_parameter"]
        assert extra["format_version"] == 2
        assert extra["dataset"] == "blocks"
        assert extra["item_tokens"] == list(experiment.dataset.field2id_token["item_id"])
        assert extra["spec"]["model"] == self.model
        assert extra["spec"]["n_items"] == len(extra["item_tokens"]) == 21
        assert type(saved["config"]).__name__ == "Config"
        assert saved["config"].model_class is type(experiment.model)

    def test_save_and_load(self, experiment: Experiment) -> None:
        experiment.fit()
        expected = experiment.trainer.evaluate(experiment.test_data)
        other = Experiment(self.model)
        users = self.all_users(other.model)
        assert not torch.equal(experiment.model.full_sort_predict(users), other.model.eval().full_sort_predict(users))
        assert other.trainer.evaluate(other.test_data, model_file=experiment.trainer.saved_model_file) == expected
        assert torch.equal(experiment.model.full_sort_predict(users), other.model.full_sort_predict(users))

    def test_resumed_run_equals_unbroken_run(self, blocks: str) -> None:
        keys = {"stopping_step": 100, "anneal_cap": 1.0, "total_anneal_steps": 50} if self.model == "MultVAE" else {}
        unbroken = Experiment(self.model, epochs=8, checkpoint_dir="unbroken", **keys)
        unbroken.fit()
        stopped = Experiment(self.model, epochs=4, checkpoint_dir="stopped", **keys)
        stopped.fit()
        torch.manual_seed(12345)
        resumed = Experiment(self.model, epochs=8, checkpoint_dir="resumed", **keys)
        resumed.trainer.resume_checkpoint(stopped.trainer.saved_model_file)
        start = resumed.trainer.start_epoch
        assert 1 <= start <= 4
        resumed.fit()
        losses = unbroken.trainer.train_loss_dict
        assert resumed.trainer.train_loss_dict == {epoch: losses[epoch] for epoch in range(start, 8)}
        for name, value in unbroken.model.state_dict().items():
            assert torch.equal(value, resumed.model.state_dict()[name]), name
        assert resumed.model.update == unbroken.model.update
        assert resumed.trainer.evaluate(resumed.test_data) == unbroken.trainer.evaluate(unbroken.test_data)

    def test_other_items_are_refused(self, experiment: Experiment) -> None:
        extra = experiment.model.other_parameter()
        extra["item_tokens"] = extra["item_tokens"][:-1]
        with pytest.raises(DataError, match="not the one that the checkpoint was trained on, as it has 20 items and not 19"):
            experiment.model.load_other_parameter(extra)

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("eval_memory", None, "eval_memory=None is not allowed: expected a positive integer"),
            ("epoch", 3, "epoch=3 is not a configuration key: did you mean epochs"),
        ],
    )
    def test_bad_configuration(self, blocks: str, key: str, value: Any, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            Experiment(self.model, **{key: value})

    def test_training_leaves_no_trace_outside_the_working_folder(self, experiment: Experiment) -> None:
        experiment.fit()
        assert {path.name for path in Path().iterdir()} <= {"blocks", "saved", "log", "log_tensorboard"}


class AutoEncoderSuite(RecommenderSuite):
    """More tests, for networks."""

    def test_parameters_are_the_paper_s(self, network: ClickAutoEncoder) -> None:
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                assert 0 < parameter.abs().max() <= 0.002, name
            else:
                bound = (6 / sum(parameter.shape)) ** 0.5
                assert 0.8 * bound < parameter.abs().max() <= bound, name
                assert abs(parameter.std() - bound / 3**0.5) < 0.15 * bound, name

    def test_training_loss_falls(self, blocks: str) -> None:
        experiment = Experiment(self.model, epochs=10, stopping_step=100, learning_rate=0.01)
        experiment.fit()
        losses = list(experiment.trainer.train_loss_dict.values())
        assert losses[-1] < 0.95 * losses[0]

    @pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "none"])
    def test_spec_describes_every_layer_of_inference(self, blocks: str, activation: str) -> None:
        network = Experiment(self.model, hid_activation=activation).model.eval()
        spec, state = network.spec(), network.state_dict()
        assert {layer["activation"] for layer in spec["layers"]} == {activation, "none"}
        x = (torch.arange(20) % 3 == 0).float()[None]
        x = torch.nn.functional.normalize(x) if spec["input"] == "l2" else x
        for layer in spec["layers"]:
            weight = state[layer["weight"]] if layer["stored"] == "in_out" else state[layer["weight"]].T
            x = x @ weight[:, : layer["units"]] + state[layer["bias"]][: layer["units"]]
            x = {"none": lambda x: x}.get(layer["activation"], getattr(torch, layer["activation"], None))(x)
        history = [item + 1 for item in range(0, 20, 3)]
        torch.testing.assert_close(x, network.score_histories([history])[:, 1:])
        assert spec["layers"][spec["latent"] - 1]["units"] == spec["latent_dimension"] == 4
        assert all(layer["weight"] in state and layer["bias"] in state for layer in spec["layers"])

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("latent_dimension", 0, "latent_dimension=0 is not allowed: expected a positive integer"),
            ("hid_activation", "gelu", "hid_activation='gelu' is not allowed: expected tanh, relu, sigmoid or none"),
            ("latent_dim", 64, "latent_dim=64 is not a configuration key: did you mean latent_dimension"),
        ],
    )
    def test_bad_network(self, blocks: str, key: str, value: Any, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            Experiment(self.model, **{key: value})


class LikelihoodSuite(AutoEncoderSuite):
    """More tests, for networks with a choice of likelihoods."""

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("dropout_prob", 1.0, "dropout_prob=1.0 is not allowed: expected a number from 0 up to"),
            ("dropout_prob", "half", "dropout_prob='half' is not allowed"),
            ("mlp_hidden_size", 600, "mlp_hidden_size=600 is not allowed: expected a list of positive integers"),
            ("mlp_hidden_size", [600, -1], r"mlp_hidden_size=\[600, -1\] is not allowed"),
        ],
    )
    def test_bad_layers(self, blocks: str, key: str, value: Any, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            Experiment(self.model, **{key: value})
