"""Auto-encoders of clicks: layers with activations between them, from the history to the logits of the catalogue.

How a checkpoint describes one is in :mod:`.description`. Source: Liang et al., WWW 2018, sections 2.2 and 2.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize, pad

from multvae_export.architectures import description
from multvae_export.architectures.description import usual_activations
from multvae_export.architectures.layered import Layered
from multvae_export.checkpoint.contents import Checkpoint
from multvae_export.graph import filters, layers, posterior, reasons
from multvae_export.graph import last_layer as columns
from multvae_export.graph import single_layer as pairs
from multvae_export.graph.layers import Layer
from multvae_export.target import Options

#: By the name in a description: the operator of ONNX, and torch's function.
ACTIVATIONS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "tanh": ("Tanh", torch.tanh),
    "relu": ("Relu", torch.relu),
    "sigmoid": ("Sigmoid", torch.sigmoid),
    "none": ("", lambda x: x),
}
#: Where the first layer gives the posterior, the logarithm of its variance has a first layer of its own: what that reads in
#: place of what the mean's reads, and what its nodes without each item read.
SECOND = {"table": "table_variance", "table_scale": "table_scale_variance", "bias0": "bias_variance"}
WITHOUT_SECOND = {
    **{name: f"variance_{name}" for name in ("rows", "sum", "click", "number", "scaled")},
    "left_hidden0": "left_variance_hidden0",
}


@dataclass(frozen=True)
class AutoEncoder(Layered):
    """An auto-encoder of clicks.

    Attributes:
        layers: the first has a row for every item but the padding item, the last a column for each.
        activations: what follows each layer, a name of :data:`ACTIVATIONS`; nothing follows the last.
        norm: whether the clicks are divided by their L2 norm.
        latent: how many layers come before z.
        log_variance: the layer beside the one that gives z, for the logarithm of its variance; None without a posterior.
    """

    name: ClassVar[str] = "auto_encoder"
    models: ClassVar[tuple[str, ...]] = ("MultVAE", "MultDAE", "MultiVAE", "MultiDAE")
    described: ClassVar[tuple[str, ...]] = ("AutoRec",)
    refused: ClassVar[dict[str, str]] = {
        "CDAE": "it has a weight for every user, and a history alone does not say who asks",
        "ItemAutoRec": "it has weights for every user, and a history alone does not say who asks",
    }

    layers: tuple[Layer, ...]
    activations: tuple[str, ...]
    norm: bool
    latent: int
    log_variance: Layer | None = None

    no_reasons_because: ClassVar[str] = ""

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> AutoEncoder:
        """Build what the checkpoint describes, or what the function for its model does. See the base class."""
        return cls(*description.read(checkpoint))

    @property
    def n_items(self) -> int:
        """C, the catalogue with the padding item."""
        return len(self.layers[0][0]) + 1

    @property
    def sizes(self) -> list[int]:
        """The units from the items to the items: [C - 1, ..., K, ..., C - 1]."""
        return [len(self.layers[0][0]), *(len(bias) for _, bias in self.layers)]

    def logits(self, clicks: Tensor) -> Tensor:
        """See the base class."""
        return self.sampled(clicks, None)

    def sampled(self, clicks: Tensor, noise: Tensor | None) -> Tensor:
        """See the base class; without noise it is the mean."""
        x = normalize(clicks[:, 1:]) if self.norm else clicks[:, 1:]
        for n, ((weight, bias), activation) in enumerate(zip(self.layers, self.activations, strict=True), 1):
            read, x = x, x @ weight + bias
            if noise is not None and self.log_variance and n == self.latent:
                weight, bias = self.log_variance
                x = x + torch.exp(0.5 * (read @ weight + bias)) * noise
            x = ACTIVATIONS[activation][1](x)
        return pad(x, (1, 0), value=-torch.inf)

    def rounded(self, precision: str) -> AutoEncoder:
        """See the base class."""
        log_variance = self.log_variance
        if log_variance is not None:
            log_variance = layers.second_rounded(log_variance, precision, first=self.latent == 1)
        return replace(self, layers=layers.rounded(self.layers, precision), log_variance=log_variance)

    @property
    def latent_units(self) -> int:
        """See the base class."""
        return len(self.log_variance[1]) if self.log_variance else 0

    @property
    def single(self) -> bool:
        """Whether one layer is all there is: it reads the history and scores the catalogue."""
        return len(self.layers) == 1

    def scored(self, io: str, precision: str, output: str, options: Options) -> str:
        """See the base class."""
        if not self.single:
            return super().scored(io, precision, output, options)
        nodes = self._single(io, precision, "every_score" if options.filters else output)
        return filters.chosen(pairs.few(precision, self.norm, "among_item"), nodes, output) if options.filters else nodes

    def reasoned(self, precision: str, ids: str, options: Options) -> str:
        """See the base class."""
        if self.single:
            return pairs.raised(precision, self.norm, ids)
        return super().reasoned(precision, ids, options)

    def _single(self, io: str, precision: str, output: str) -> str:
        if not layers.spare_units(self.layers, precision):
            return layers.first(io, precision, self.norm, output)
        return layers.first(io, precision, self.norm) + f"    {output} = Slice(hidden0, first_item, end_item, axis1)\n"

    def first(self, io: str, precision: str, options: Options) -> str:
        """See the base class. Of a posterior that the first layer gives there are two, with the same rows of the history."""
        nodes = layers.first(io, precision, self.norm)
        if self._samples_first(options):
            nodes += reasons.renamed(nodes, "variance_", SECOND)
        return nodes

    def middle(self, precision: str, options: Options) -> tuple[str, str]:
        """See the base class."""
        nodes: list[str] = []
        source = "hidden0"
        for n in range(len(self.layers) - 1):
            if n:
                nodes += layers.hidden(n, source, precision)
            if options.posterior and n == self.latent - 1:
                nodes += self._sample(n, source, precision)
            source = "sample" if options.posterior and n == self.latent - 1 else f"hidden{n}"
            if operator := ACTIVATIONS[self.activations[n]][0]:
                nodes.append(f"    active{n} = {operator}({source})")
                source = f"active{n}"
        return "\n".join(nodes), source

    def _sample(self, n: int, source: str, precision: str) -> Iterator[str]:
        """The nodes from layer ``n``, which reads ``source``, to ``sample``."""
        mean, log_variance = f"hidden{n}", "variance_hidden0"
        if n:
            yield from layers.hidden("_variance", source, precision)
            log_variance = "hidden_variance"
        elif layers.spare_units(self.layers, precision):
            yield "    own_mean = Slice(hidden0, first_unit, latent_units, axis1)"
            yield "    own_variance = Slice(variance_hidden0, first_unit, latent_units, axis1)"
            mean, log_variance = "own_mean", "own_variance"
        yield posterior.SAMPLE.substitute(mean=mean, log_variance=log_variance)

    def last(self, source: str, precision: str, output: str, options: Options) -> str:
        """See the base class."""
        units = self._last_units(precision, options)
        return layers.last(
            len(self.layers) - 1, source, precision, units, self.n_items, output, (options.filters or options.reasons)
        )

    def _last_units(self, precision: str, options: Options) -> int:
        """What the last layer reads: with int4's spare unit, where it follows the first and no sample has cut it off."""
        spare = 0 if self._samples_first(options) else layers.spare_units(self.layers, precision)
        return self.layers[-1][0].shape[0] + (spare if len(self.layers) == 2 else 0)

    def _samples_first(self, options: Options) -> bool:
        """Whether the first layer gives the posterior that is sampled."""
        return options.posterior and self.latent == 1

    def few(self, source: str, precision: str, ids: str) -> str:
        """See the base class."""
        return columns.few(len(self.layers) - 1, source, precision, ids)

    def without(self, precision: str, options: Options) -> str:
        """See the base class."""
        nodes = reasons.without(precision, self.norm)
        if self._samples_first(options):
            nodes += reasons.renamed(nodes, "variance_", SECOND | WITHOUT_SECOND)
        return nodes

    def raised(self, source: str, left: str, precision: str, ids: str) -> str:
        """See the base class."""
        return columns.raised(len(self.layers) - 1, source, left, precision, ids)

    def constants(self, io: str, precision: str) -> dict[str, Any]:
        """See the base class."""
        values = layers.constants(self.layers, precision) | layers.numbers(io, precision, self.n_items)
        if self.single:
            values |= {"first_item": np.array([0]), "end_item": np.array([self.n_items]), "axis1": np.array([1])}
        return values

    def option_constants(self, values: dict[str, Any], precision: str, options: Options) -> dict[str, Any]:
        """See the base class."""
        if self.single:
            return pairs.constants(values["table"])
        spare = layers.spare_units(self.layers, precision)
        if spare and self._samples_first(options):
            values = values | layers.constants(self.layers, precision, cut=True)
        values = values | {"units_flat": np.array([-1, len(values["bias0"])])}
        if options.filters or options.reasons:
            values |= columns.by_item(values, len(self.layers) - 1, precision, self._last_units(precision, options))
        if options.posterior and self.log_variance:
            values |= posterior.constants(self.latent_units)
            beside = spare if self.latent <= 2 else 0
            values |= layers.second_constants(self.log_variance, precision, self.latent == 1, beside)
        return values

    def spec(self) -> dict[str, Any]:
        """See the base class; ``input`` and ``activations`` are left out of the usual network: l2, and tanh between."""
        latent_tanh = self.activations[self.latent - 1] == "tanh"
        spec: dict[str, Any] = {"sizes": self.sizes, "latent_tanh": latent_tanh}
        if not self.norm or self.activations != usual_activations(len(self.layers), self.latent, latent_tanh):
            spec |= {"input": "l2" if self.norm else "none", "activations": list(self.activations)}
        return spec

    def eager(self, device: str) -> Callable[[Tensor], Tensor]:
        """See the base class: the first layer as an EmbeddingBag."""
        moved = [(weight.to(device), bias.to(device)) for weight, bias in self.layers]
        # A row and a column for the padding item.
        weight, bias = moved[-1]
        moved[-1] = (pad(weight, (1, 0)), pad(bias, (1, 0), value=-torch.inf))
        table, first_bias = pad(moved[0][0], (0, 0, 1, 0)), moved[0][1]

        def scores(history: Tensor) -> Tensor:
            x = embedding_bag(history, table, mode="sum")
            if self.norm:
                x = x / (history > 0).sum(1, keepdim=True).clamp(min=1).sqrt()
            x = x + first_bias
            for n, (weight, bias) in enumerate(moved[1:]):
                x = torch.addmm(bias, ACTIVATIONS[self.activations[n]][1](x), weight)
            return x.scatter_(1, history, -torch.inf)

        return scores
