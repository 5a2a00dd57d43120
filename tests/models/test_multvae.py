from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.model.general_recommender.multivae import MultiVAE

from recbole_multvae.errors import ConfigurationError
from tests import reference
from tests.conftest import Experiment
from tests.models.parity import clicks, compare_gradients, draws, layers_of
from tests.models.suite import LikelihoodSuite


class TestMultVAE(LikelihoodSuite):
    model = "MultVAE"
    learned = {"epochs": 60, "ema_decay": 0.8, "learning_rate": 0.02, "anneal_cap": 0.1, "total_anneal_steps": 100}

    @pytest.mark.parametrize(("hidden", "decoder"), [([], []), ([6], []), ([6], [3]), ([6, 5], "mirrored")])
    @pytest.mark.parametrize("weighting", ["equal", "clicks"])
    @pytest.mark.parametrize("step", [0, 3, 999])
    def test_loss_and_gradients_are_the_reference_s(
        self, blocks: str, hidden: list[int], decoder: Any, weighting: str, step: int
    ) -> None:
        keys = {"mlp_hidden_size": hidden, "decoder_hidden_size": decoder, "kl_weighting": weighting}
        network = Experiment("MultVAE", **keys, anneal_cap=0.3, total_anneal_steps=20).model.train()
        network.update = step
        users = torch.tensor([3, 0, 1, 17])  # 0, the padding user, has no history.
        X = clicks(network, users)
        M, E = draws(network, users, noise=4)
        weight: Any = reference.beta(step, 0.3, 20)
        if weighting == "clicks":
            everyone = clicks(network, torch.arange(1, network.n_users)).sum(axis=1)
            weight = weight * X.sum(axis=1, keepdims=True) / everyone.mean()
        loss, _, d_encoder, d_decoder = reference.multvae(X, M, 0.5, E, *layers_of(network), weight)

        ours = network.calculate_loss(Interaction({"user_id": users}))
        ours.backward()
        assert ours.item() == pytest.approx(loss, rel=1e-5)
        assert network.update == step + 1
        compare_gradients(network, d_encoder, d_decoder)

    def test_learns_with_dropout_by_popularity(self, blocks: str) -> None:
        network = Experiment("MultVAE", popularity_dropout=True).model
        assert network.encoder.dropout.shape == (20,)
        assert "encoder.dropout" not in network.state_dict()
        losses = [network.train().calculate_loss(Interaction({"user_id": torch.arange(1, 41)})) for _ in range(2)]
        assert losses[0].isfinite() and losses[0] != losses[1]

    def test_beta_is_read_before_the_step_is_advanced(self, blocks: str) -> None:
        network = Experiment("MultVAE", anneal_cap=1.0, total_anneal_steps=10).model.train()
        network.encoder.first.bias.data.fill_(1.0)  # A large KL, so that its weight shows.
        users = Interaction({"user_id": torch.tensor([1, 2])})
        state = network.generator.get_state()
        losses = []
        for _ in range(3):
            network.generator.set_state(state)
            losses.append(network.calculate_loss(users).item())
        assert losses[1] - losses[0] == pytest.approx(losses[2] - losses[1], rel=1e-3)
        assert losses[1] > losses[0]

    @pytest.mark.parametrize("hidden", [[], [6], [6, 5]])
    def test_forward_and_loss_are_recbole_s_with_its_noise_set_aside(
        self, blocks: str, hidden: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys: dict[str, Any] = {"mlp_hidden_size": hidden, "dropout_prob": 0.0}
        annealing = {"anneal_cap": 0.2, "total_anneal_steps": 0}
        network = Experiment("MultVAE", **keys, **annealing, decoder_hidden_size="mirrored", kl_weighting="equal").model
        theirs = Experiment("MultiVAE", **{**keys, **annealing, "latent_dimension": 8}, train_neg_sample_args=None).model
        copy_into_recbole(network, theirs)
        users = Interaction({"user_id": torch.arange(1, network.n_users)})

        network.eval(), theirs.eval()
        ours = network.full_sort_predict(users).view(-1, network.n_items)
        expected = theirs.full_sort_predict(users).view(-1, network.n_items)
        torch.testing.assert_close(ours[:, 1:], expected[:, 1:], rtol=1e-5, atol=1e-6)

        network.train(), theirs.train()
        monkeypatch.setattr(network, "sample", lambda mu, logvar: mu)
        monkeypatch.setattr(theirs, "reparameterize", lambda mu, logvar: mu)
        assert network.calculate_loss(users).item() == pytest.approx(theirs.calculate_loss(users).item(), rel=1e-5)

    def test_noise_is_standard_normal(self, blocks: str) -> None:
        network = Experiment("MultVAE").model
        z = network.sample(torch.zeros(2000, 50), torch.full((2000, 50), np.log(4.0)))
        assert z.mean().item() == pytest.approx(0, abs=0.03)
        assert z.std().item() == pytest.approx(2, abs=0.03)

    def test_latent_dimension_is_k_itself(self, blocks: str) -> None:
        network = Experiment("MultVAE", latent_dimension=7).model
        assert network.encode(network.training_clicks(torch.tensor([1, 2]))).shape == (2, 7)
        assert network.decoder[0].in_features == 7

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("anneal_cap", 3, "anneal_cap=3 is not allowed: expected a number from 0 to 1"),
            ("total_anneal_steps", -1, "total_anneal_steps=-1 is not allowed: expected an integer, 0 or more"),
            ("anneal_caps", 0.3, "anneal_caps=0.3 is not a configuration key: did you mean anneal_cap"),
        ],
    )
    def test_bad_annealing(self, blocks: str, key: str, value: Any, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            Experiment("MultVAE", **{key: value})


def copy_into_recbole(ours: Any, theirs: MultiVAE) -> None:
    """Copy our weights into RecBole's MultiVAE, whose networks have a row and a column for the padding item."""
    encoder = [layer for layer in theirs.encoder if hasattr(layer, "weight")]
    decoder = [layer for layer in theirs.decoder if hasattr(layer, "weight")]
    with torch.no_grad():
        for layer, (W, b) in zip(encoder, layers_of(ours)[0], strict=True):
            layer.weight[:, layer.weight.shape[1] - len(W) :] = torch.from_numpy(W.T)
            layer.bias[:] = torch.from_numpy(b)
        for layer, (W, b) in zip(decoder, layers_of(ours)[1], strict=True):
            padding = len(layer.weight) - W.shape[1]
            layer.weight[padding:] = torch.from_numpy(W.T)
            layer.bias[padding:] = torch.from_numpy(b)
        theirs.decoder[-1].bias[0] = -1e9  # Out of the softmax, as in ours.
