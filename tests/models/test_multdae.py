from __future__ import annotations

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_multvae.errors import ConfigurationError
from tests import reference
from tests.conftest import Experiment
from tests.models.parity import clicks, compare_gradients, draws, layers_of
from tests.models.suite import LikelihoodSuite


class TestMultDAE(LikelihoodSuite):
    model = "MultDAE"
    learned = {"epochs": 60, "learning_rate": 0.02}

    @pytest.mark.parametrize("hidden", [[], [6], [6, 5]])
    def test_loss_and_gradients_are_the_reference_s(self, blocks: str, hidden: list[int]) -> None:
        network = Experiment("MultDAE", mlp_hidden_size=hidden, reg_weight=0.8).model.train()
        users = torch.tensor([3, 0, 1, 17])  # 0, the padding user, has no history.
        X = clicks(network, users)
        M, _ = draws(network, users)
        encoder, decoder = layers_of(network)
        loss, _, d_encoder, d_decoder = reference.multdae(X, M, 0.5, encoder, decoder, 0.8 / 8)

        ours = network.calculate_loss(Interaction({"user_id": users}))
        ours.backward()
        assert ours.item() == pytest.approx(loss, rel=1e-5)
        compare_gradients(network, d_encoder, d_decoder)

    def test_default_is_one_layer(self, blocks: str) -> None:
        network = Experiment("MultDAE", mlp_hidden_size=[]).model
        assert len(layers_of(network)[0]) == len(layers_of(network)[1]) == 1

    def test_bad_penalty(self, blocks: str) -> None:
        with pytest.raises(ConfigurationError, match=r"reg_weight=-0.1 is not allowed: expected a number, 0 or more"):
            Experiment("MultDAE", reg_weight=-0.1)
