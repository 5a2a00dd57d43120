"""Ours as NumPy: weights, gradients, clicks and random draws in the form that ``tests/reference.py`` takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_multvae.layers import SparseLinear
from tests.reference import Layer


def _linear_layers(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, nn.Linear | SparseLinear)]


def _matrix(module: nn.Module, weight: Tensor) -> np.ndarray:
    """[d_in, d_out] in float64."""
    return (weight if isinstance(module, SparseLinear) else weight.T).detach().double().numpy()


def layers_of(model: Any) -> tuple[list[Layer], list[Layer]]:
    """The encoder's and the decoder's layers."""

    def read(network: nn.Module) -> list[Layer]:
        return [(_matrix(m, m.weight), m.bias.detach().double().numpy()) for m in _linear_layers(network)]

    return read(model.encoder), read(model.decoder)


def clicks(model: Any, users: Tensor) -> np.ndarray:
    """The dense click matrix, [B, I], built user by user from the training data."""
    X = np.zeros((len(users), model.n_items - 1))
    clicks = model.training_clicks(users)
    for row in range(len(users)):
        X[row, clicks.columns[clicks.offsets[row] : clicks.offsets[row + 1]].numpy()] = 1
    return X


def draws(model: Any, users: Tensor, noise: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The dropout mask [B, I] and the noise [B, ``noise``] that the next training step will draw."""
    generator = torch.Generator().manual_seed(0)
    generator.set_state(model.generator.get_state())
    clicks = model.training_clicks(users)
    kept = (torch.rand(len(clicks.columns), generator=generator) >= model.settings.dropout_prob).numpy()
    M = np.zeros((len(users), model.n_items - 1))
    M[np.repeat(np.arange(len(users)), clicks.counts.numpy()), clicks.columns.numpy()] = kept
    return M, torch.randn(len(users), noise, generator=generator).double().numpy()


def compare_gradients(model: Any, d_encoder: list[Layer], d_decoder: list[Layer]) -> None:
    """Every gradient of ours is the reference's to 1e-5."""
    for network, gradients in ((model.encoder, d_encoder), (model.decoder, d_decoder)):
        for module, (dW, db) in zip(_linear_layers(network), gradients, strict=True):
            np.testing.assert_allclose(_matrix(module, module.weight.grad), dW, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(module.bias.grad.numpy(), db, rtol=1e-5, atol=1e-5)
