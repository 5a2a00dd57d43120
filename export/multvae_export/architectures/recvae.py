"""RecBole's RecVAE (Shenbin et al., WSDM 2020): an encoder of five layers that each see all before, and a linear decoder.

With h_0 = x / ||x||_2: h_n = LayerNorm(swish(W_n h_(n-1) + b_n + h_1 + ... + h_(n-1))), and z is linear in h_5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import layer_norm, normalize, pad, silu

from multvae_export.architectures.base import Posterior
from multvae_export.architectures.layered import LayeredWithReasons
from multvae_export.checkpoint.contents import Checkpoint
from multvae_export.errors import WeightsError
from multvae_export.nodes import layers, posterior, reasons
from multvae_export.nodes.first_layer import first
from multvae_export.nodes.layers import Layer, RowsOfNew, StoredNetwork, store_log_variance
from multvae_export.nodes.nodes import Nodes
from multvae_export.target import Target

#: Layers of the encoder before the mean, and RecBole's epsilon of LayerNorm.
DEPTH, EPSILON = 5, 0.1


@dataclass(frozen=True)
class RecVAE(LayeredWithReasons, Posterior):
    """RecVAE. Ranking needs only the mean of the posterior, unless a file has ``posterior``.

    Attributes:
        layers: five of the encoder, the mean, the decoder. The first has a row for every item but the padding item, the last
            a column for each.
        norms: gain and shift, [H] each, of the LayerNorm after each of the first five.
        log_variance: the layer beside the mean.
    """

    name: ClassVar[str] = "recvae"
    models: ClassVar[tuple[str, ...]] = ("RecVAE",)

    layers: tuple[Layer, ...]
    norms: tuple[Layer, ...]
    log_variance: Layer

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> RecVAE:
        names = [*(f"encoder.fc{n}" for n in range(1, DEPTH + 1)), "encoder.fc_mu", "decoder", "encoder.fc_logvar"]
        network = [checkpoint.layer(name) for name in names]
        log_variance = network.pop()
        norms = tuple(
            (checkpoint.tensor(f"encoder.ln{n}.weight", 1), checkpoint.tensor(f"encoder.ln{n}.bias", 1))
            for n in range(1, DEPTH + 1)
        )
        # The padding item's units, the first at both ends, are cut off.
        network[0] = (network[0][0][1:], network[0][1])
        network[-1] = (network[-1][0][:, 1:], network[-1][1][1:])
        _check_sizes(network, norms, log_variance)
        return cls(tuple(network), norms, log_variance)

    @property
    def n_items(self) -> int:
        """C, the catalogue with the padding item."""
        return len(self.layers[0][0]) + 1

    @property
    def latent_units(self) -> int:
        return len(self.log_variance[1])

    def sampled(self, clicks: Tensor, noise: Tensor | None) -> Tensor:
        x, before = normalize(clicks[:, 1:]), torch.zeros(())
        for (weight, bias), (gain, shift) in zip(self.layers[:DEPTH], self.norms, strict=True):
            x = layer_norm(silu(x @ weight + bias + before.to(x)), gain.shape, gain, shift, EPSILON)
            before = before.to(x) + x
        (weight, bias), (last, last_bias) = self.layers[DEPTH:]
        z = x @ weight + bias
        if noise is not None:
            z = z + torch.exp(0.5 * (x @ self.log_variance[0] + self.log_variance[1])) * noise
        return pad(z @ last + last_bias, (1, 0), value=-torch.inf)

    def rounded(self, precision: str) -> RecVAE:
        log_variance = layers.rounded_log_variance(self.log_variance, precision, first=False)
        return replace(self, layers=layers.rounded(self.layers, precision), log_variance=log_variance)

    def with_items(self, rows: RowsOfNew) -> RecVAE:
        return replace(self, layers=layers.with_items(self.layers, rows))

    def shifted(self, shift: Tensor) -> RecVAE:
        return replace(self, layers=layers.shifted(self.layers, shift))

    def stored(self, target: Target) -> StoredNetwork:
        network = StoredNetwork(target, layers.store(self.layers, target, cut=True))
        if not target.options.posterior:
            return network
        return replace(network, log_variance=store_log_variance(self.log_variance, target, first=False, spare=0))

    def first(self, network: StoredNetwork) -> Nodes:
        return first(network.layers[0], network.target, norm=True)

    def middle(self, network: StoredNetwork) -> tuple[Nodes, str]:
        nodes, source = Nodes(), "hidden0"
        if layers.spare_units(self.layers, network.target.precision):
            units = {"end_unit": np.array([self.layers[0][0].shape[1]])}
            nodes += Nodes("    first_units = Slice(hidden0, from_start, end_unit, axis1)\n", units)
            source = "first_units"
        before = ""
        for n in range(DEPTH):
            if n:
                nodes += layers.hidden(network.layers[n], f"block{n - 1}", f"hidden{n}")
                # The sum of all blocks so far.
                nodes += f"    sum_before{n} = Add({before}, block{n - 1})\n" if n > 1 else ""
                before = f"sum_before{n}" if n > 1 else "block0"
                source = f"with_before{n}"
                nodes += f"    {source} = Add(hidden{n}, {before})\n"
            nodes += self._block(n, source)
        return nodes + self._latent(network), "sample" if network.log_variance else f"hidden{DEPTH}"

    def _block(self, n: int, source: str) -> Nodes:
        """swish(x) = x sigmoid(x), then LayerNorm: [B, H] -> [B, H]."""
        gain, shift = (part.numpy() for part in self.norms[n])
        text = f"""
    gate{n} = Sigmoid({source})
    swish{n} = Mul({source}, gate{n})
    swish_sum{n} = ReduceSum <keepdims: int = 1> (swish{n}, axis1)
    swish_mean{n} = Mul(swish_sum{n}, one_over_units)
    centred{n} = Sub(swish{n}, swish_mean{n})
    square{n} = Mul(centred{n}, centred{n})
    square_sum{n} = ReduceSum <keepdims: int = 1> (square{n}, axis1)
    variance{n} = Mul(square_sum{n}, one_over_units)
    variance_and_epsilon{n} = Add(variance{n}, epsilon)
    deviation{n} = Sqrt(variance_and_epsilon{n})
    standard{n} = Div(centred{n}, deviation{n})
    gained{n} = Mul(standard{n}, gain{n})
    block{n} = Add(gained{n}, shift{n})
"""
        numbers = {"one_over_units": np.float32(1 / len(gain)), "epsilon": np.float32(EPSILON)}
        return Nodes(text, {f"gain{n}": gain, f"shift{n}": shift, **numbers})

    def _latent(self, network: StoredNetwork) -> Nodes:
        mean = layers.hidden(network.layers[DEPTH], f"block{DEPTH - 1}", f"hidden{DEPTH}")
        if network.log_variance is None:
            return mean
        log_variance = layers.hidden(network.log_variance, f"block{DEPTH - 1}", "hidden_variance")
        return mean + log_variance + posterior.sample(f"hidden{DEPTH}", "hidden_variance")

    def without_each_item(self, network: StoredNetwork) -> Nodes:
        return reasons.without_each_item(network.layers[0], network.target, norm=True)

    def spec(self) -> dict[str, Any]:
        return {"sizes": [self.n_items - 1, *(len(bias) for _, bias in self.layers)]}


def _check_sizes(network: list[Layer], norms: tuple[Layer, ...], log_variance: Layer) -> None:
    items, units, latent = len(network[0][0]), network[0][0].shape[1], network[-1][0].shape[0]
    expected = [(items, units), *[(units, units)] * (DEPTH - 1), (units, latent), (latent, items)]
    expected.append((units, latent))
    shapes = [tuple(weight.shape) for weight, _ in [*network, log_variance]]
    biases = [len(bias) for _, bias in [*network, log_variance]] + [len(part) for norm in norms for part in norm]
    if items < 1 or shapes != expected or biases != [shape[1] for shape in expected] + [units] * 2 * DEPTH:
        raise WeightsError(f"the layers of RecVAE have the shapes {shapes}, expected {expected} with biases that fit.")
