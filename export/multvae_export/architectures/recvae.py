"""RecBole's RecVAE (Shenbin et al., WSDM 2020): an encoder of five layers that each see all before, and a linear decoder.

With h_0 = x / ||x||_2: h_n = LayerNorm(swish(W_n h_(n-1) + b_n + h_1 + ... + h_(n-1))), and z is linear in h_5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from string import Template
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import layer_norm, normalize, pad, silu

from multvae_export.architectures.layered import Layered
from multvae_export.checkpoint.contents import Checkpoint
from multvae_export.errors import WeightsError
from multvae_export.graph import last_layer as columns
from multvae_export.graph import layers, posterior, reasons
from multvae_export.graph.layers import Layer
from multvae_export.target import Options

#: Layers of the encoder before the mean, and what RecBole adds to the variance that LayerNorm divides by.
DEPTH, EPSILON = 5, 0.1

#: swish(x) = x sigmoid(x), then LayerNorm: [B, H] -> [B, H].
BLOCK = Template("""
    gate$n = Sigmoid($source)
    swish$n = Mul($source, gate$n)
    total$n = ReduceSum <keepdims: int = 1> (swish$n, axis1)
    mean$n = Mul(total$n, one_unit)
    centred$n = Sub(swish$n, mean$n)
    square$n = Mul(centred$n, centred$n)
    squares$n = ReduceSum <keepdims: int = 1> (square$n, axis1)
    variance$n = Mul(squares$n, one_unit)
    more$n = Add(variance$n, epsilon)
    deviation$n = Sqrt(more$n)
    standard$n = Div(centred$n, deviation$n)
    gained$n = Mul(standard$n, gain$n)
    block$n = Add(gained$n, shift$n)
""")


@dataclass(frozen=True)
class RecVAE(Layered):
    """RecVAE, of which ranking needs the mean of the posterior only, unless a sample is asked for.

    Attributes:
        layers: five of the encoder, the mean, the decoder. The first has a row for every item but the padding item, the last
            a column for each.
        norms: gain and shift, [H] each, of the LayerNorm after each of the first five.
        log_variance: the layer beside the mean.
    """

    name: ClassVar[str] = "recvae"
    models: ClassVar[tuple[str, ...]] = ("RecVAE",)
    no_reasons_because: ClassVar[str] = ""

    layers: tuple[Layer, ...]
    norms: tuple[Layer, ...]
    log_variance: Layer

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> RecVAE:
        """Read the encoder and the decoder. See the base class."""
        names = [*(f"encoder.fc{n}" for n in range(1, DEPTH + 1)), "encoder.fc_mu", "decoder", "encoder.fc_logvar"]
        found = [(checkpoint.tensor(f"{name}.weight", 2).T, checkpoint.tensor(f"{name}.bias", 1)) for name in names]
        log_variance = found.pop()
        norms = tuple(
            (checkpoint.tensor(f"encoder.ln{n}.weight", 1), checkpoint.tensor(f"encoder.ln{n}.bias", 1))
            for n in range(1, DEPTH + 1)
        )
        # The padding item's units, the first at both ends, are cut off.
        found[0] = (found[0][0][1:], found[0][1])
        found[-1] = (found[-1][0][:, 1:], found[-1][1][1:])
        _check_sizes(found, norms, log_variance)
        return cls(tuple(found), norms, log_variance)

    @property
    def n_items(self) -> int:
        """C, the catalogue with the padding item."""
        return len(self.layers[0][0]) + 1

    @property
    def latent_units(self) -> int:
        """See the base class."""
        return len(self.log_variance[1])

    def logits(self, clicks: Tensor) -> Tensor:
        """See the base class."""
        return self.sampled(clicks, None)

    def sampled(self, clicks: Tensor, noise: Tensor | None) -> Tensor:
        """See the base class; without noise it is the mean."""
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
        """See the base class."""
        log_variance = layers.second_rounded(self.log_variance, precision, first=False)
        return replace(self, layers=layers.rounded(self.layers, precision), log_variance=log_variance)

    def first(self, io: str, precision: str, options: Options) -> str:
        """See the base class."""
        return layers.first(io, precision, norm=True)

    def middle(self, precision: str, options: Options) -> tuple[str, str]:
        """See the base class."""
        return "\n".join(self._middle(precision, options)), "sample" if options.posterior else f"hidden{DEPTH}"

    def _middle(self, precision: str, options: Options) -> Iterator[str]:
        source, before = "hidden0", ""
        if layers.spare_units(self.layers, precision):
            yield "    own0 = Slice(hidden0, first_unit, end_unit, axis1)"
            source = "own0"
        for n in range(DEPTH):
            if n:
                yield from layers.hidden(n, f"block{n - 1}", precision)
                # The sum of all blocks so far.
                yield f"    before{n} = Add({before}, block{n - 1})" if n > 1 else ""
                before = f"before{n}" if n > 1 else "block0"
                yield f"    with_before{n} = Add(hidden{n}, {before})"
                source = f"with_before{n}"
            yield BLOCK.substitute(n=n, source=source)
        yield from layers.hidden(DEPTH, f"block{DEPTH - 1}", precision)
        if options.posterior:
            yield from layers.hidden("_variance", f"block{DEPTH - 1}", precision)
            yield posterior.SAMPLE.substitute(mean=f"hidden{DEPTH}", log_variance="hidden_variance")

    def last(self, source: str, precision: str, output: str, options: Options) -> str:
        """See the base class."""
        units = self.layers[-1][0].shape[0]
        return layers.last(DEPTH + 1, source, precision, units, self.n_items, output, (options.filters or options.reasons))

    def few(self, source: str, precision: str, ids: str) -> str:
        """See the base class."""
        return columns.few(DEPTH + 1, source, precision, ids)

    def without(self, precision: str, options: Options) -> str:
        """See the base class."""
        return reasons.without(precision, norm=True)

    def raised(self, source: str, left: str, precision: str, ids: str) -> str:
        """See the base class."""
        return columns.raised(DEPTH + 1, source, left, precision, ids)

    def constants(self, io: str, precision: str) -> dict[str, Any]:
        """See the base class."""
        units = self.layers[0][0].shape[1]
        values = layers.constants(self.layers, precision, cut=True) | layers.numbers(io, precision, self.n_items)
        for n, (gain, shift) in enumerate(self.norms):
            values |= {f"gain{n}": gain.numpy(), f"shift{n}": shift.numpy()}
        values |= {"one_unit": np.float32(1 / units), "epsilon": np.float32(EPSILON), "axis1": np.array([1])}
        return values | {"first_unit": np.array([0]), "end_unit": np.array([units])}

    def option_constants(self, values: dict[str, Any], precision: str, options: Options) -> dict[str, Any]:
        """See the base class."""
        values = values | {"units_flat": np.array([-1, len(values["bias0"])])}
        if options.filters or options.reasons:
            values |= columns.by_item(values, DEPTH + 1, precision, self.layers[-1][0].shape[0])
        if options.posterior:
            values |= posterior.constants(self.latent_units)
            values |= layers.second_constants(self.log_variance, precision, first=False, spare=0)
        return values

    def spec(self) -> dict[str, Any]:
        """See the base class."""
        return {"sizes": [self.n_items - 1, *(len(bias) for _, bias in self.layers)]}


def _check_sizes(found: list[Layer], norms: tuple[Layer, ...], log_variance: Layer) -> None:
    items, units, latent = len(found[0][0]), found[0][0].shape[1], found[-1][0].shape[0]
    expected = [(items, units), *[(units, units)] * (DEPTH - 1), (units, latent), (latent, items)]
    expected.append((units, latent))
    shapes = [tuple(weight.shape) for weight, _ in [*found, log_variance]]
    biases = [len(bias) for _, bias in [*found, log_variance]] + [len(part) for norm in norms for part in norm]
    if items < 1 or shapes != expected or biases != [shape[1] for shape in expected] + [units] * 2 * DEPTH:
        raise WeightsError(f"the layers of RecVAE have the shapes {shapes}, expected {expected} with biases that fit.")
