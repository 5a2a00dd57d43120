"""Auto-encoders of clicks: layers with activations between them, from the history to the logits of the catalogue.

How a checkpoint describes one is in :mod:`.description`. Source: Liang et al., WWW 2018, sections 2.2 and 2.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize, pad

from multvae_export.architectures import description
from multvae_export.architectures.base import OF_PAIRS, Posterior
from multvae_export.architectures.description import usual_activations
from multvae_export.architectures.layered import LayeredWithReasons
from multvae_export.checkpoint.contents import Checkpoint
from multvae_export.nodes import filters, layers, posterior, reasons, single_layer
from multvae_export.nodes.first_layer import first
from multvae_export.nodes.layers import Layer, RowsOfNew, StoredLayer, StoredNetwork, store_log_variance
from multvae_export.nodes.nodes import Nodes
from multvae_export.target import Target

#: By the name in a description: the operator of ONNX, and torch's function.
ACTIVATIONS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "tanh": ("Tanh", torch.tanh),
    "relu": ("Relu", torch.relu),
    "sigmoid": ("Sigmoid", torch.sigmoid),
    "none": ("", lambda x: x),
}


@dataclass(frozen=True)
class AutoEncoder(LayeredWithReasons, Posterior):
    """An auto-encoder of clicks.

    Attributes:
        layers: the first has a row for every item but the padding item, the last a column for each.
        activations: the activation after each layer, a name of :data:`ACTIVATIONS`; the last is none.
        norm: whether the clicks are divided by their L2 norm.
        latent: the number of layers before z.
        log_variance: the layer beside the one that gives z, for the logarithm of its variance; None without a posterior.
    """

    name: ClassVar[str] = "auto_encoder"
    models: ClassVar[tuple[str, ...]] = ("MultiVAE", "MultiDAE")
    described: ClassVar[tuple[str, ...]] = ("MultVAE", "MultDAE", "AutoRec")
    refused: ClassVar[dict[str, str]] = {
        "CDAE": "it has a weight for every user, and a history alone does not say who asks",
        "ItemAutoRec": "it has weights for every user, and a history alone does not say who asks",
    }

    layers: tuple[Layer, ...]
    activations: tuple[str, ...]
    norm: bool
    latent: int
    log_variance: Layer | None = None

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> AutoEncoder:
        return cls(*description.read(checkpoint))

    @property
    def n_items(self) -> int:
        """C, the catalogue with the padding item."""
        return len(self.layers[0][0]) + 1

    @property
    def sizes(self) -> list[int]:
        """The units from the items to the items: [C - 1, ..., K, ..., C - 1]."""
        return [len(self.layers[0][0]), *(len(bias) for _, bias in self.layers)]

    def sampled(self, clicks: Tensor, noise: Tensor | None) -> Tensor:
        x = normalize(clicks[:, 1:]) if self.norm else clicks[:, 1:]
        for n, ((weight, bias), activation) in enumerate(zip(self.layers, self.activations, strict=True), 1):
            read, x = x, x @ weight + bias
            if noise is not None and self.log_variance and n == self.latent:
                weight, bias = self.log_variance
                x = x + torch.exp(0.5 * (read @ weight + bias)) * noise
            x = ACTIVATIONS[activation][1](x)
        return pad(x, (1, 0), value=-torch.inf)

    def rounded(self, precision: str) -> AutoEncoder:
        log_variance = self.log_variance
        if log_variance is not None:
            log_variance = layers.rounded_log_variance(log_variance, precision, first=self.latent == 1)
        return replace(self, layers=layers.rounded(self.layers, precision), log_variance=log_variance)

    def with_items(self, rows: RowsOfNew) -> AutoEncoder:
        if self.single:
            return replace(self, layers=(layers.with_pairs(self.layers[0], rows),))
        network, log_variance = layers.with_items(self.layers, rows), self.log_variance
        if log_variance is not None and self.latent == 1:
            log_variance = layers.with_rows(log_variance, rows)
        return replace(self, layers=network, log_variance=log_variance)

    def shifted(self, shift: Tensor) -> AutoEncoder:
        return replace(self, layers=layers.shifted(self.layers, shift))

    @property
    def latent_units(self) -> int:
        return len(self.log_variance[1]) if self.log_variance else 0

    @property
    def single(self) -> bool:
        """Whether there is only one layer, which reads the history and scores the catalogue."""
        return len(self.layers) == 1

    @property
    def no_vectors_because(self) -> str:  # type: ignore[override]
        return OF_PAIRS if self.single else ""

    def stored(self, target: Target) -> StoredNetwork:
        """The layers as a file stores them.

        Where the first layer gives the posterior, the nodes of a sample cut off its spare units.
        """
        cut = target.options.posterior and self.latent == 1
        network = StoredNetwork(target, layers.store(self.layers, target, cut))
        if not target.options.posterior or not self.log_variance:
            return network
        spare = layers.spare_units(self.layers, target.precision) if self.latent <= 2 else 0
        return replace(network, log_variance=store_log_variance(self.log_variance, target, self.latent == 1, spare))

    def graph_of(self, network: StoredNetwork, output: str) -> Nodes:
        if not self.single:
            return super().graph_of(network, output)
        if not network.target.options.filters:
            return self._single(network, output)
        listed = single_layer.listed_scores(network.layers[0], network.target, self.norm, "among_item")
        return filters.chosen(listed, self._single(network, "every_score"), self.n_items, output)

    def reasons_of(self, network: StoredNetwork, ids: str) -> Nodes:
        if self.single:
            return single_layer.score_drops(network.layers[0], network.target, self.norm, ids)
        return super().reasons_of(network, ids)

    def _single(self, network: StoredNetwork, output: str) -> Nodes:
        if not layers.spare_units(self.layers, network.target.precision):
            return first(network.layers[0], network.target, self.norm, output)
        cut = Nodes(f"    {output} = Slice(hidden0, from_start, n_items, axis1)\n", {"n_items": np.array([self.n_items])})
        return first(network.layers[0], network.target, self.norm) + cut

    def first(self, network: StoredNetwork) -> Nodes:
        nodes, variance = first(network.layers[0], network.target, self.norm), self._first_of_variance(network)
        return nodes + first(variance, network.target, self.norm).renamed("variance_") if variance else nodes

    def _first_of_variance(self, network: StoredNetwork) -> StoredLayer | None:
        """The first layer of the variance, if the first layer gives the posterior that is sampled."""
        return network.log_variance if self.latent == 1 else None

    def middle(self, network: StoredNetwork) -> tuple[Nodes, str]:
        nodes, source = Nodes(), "hidden0"
        for n, layer in enumerate(network.layers[:-1]):
            before, source = source, f"hidden{n}"
            if n:
                nodes += layers.hidden(layer, before, source)
            if network.log_variance and n == self.latent - 1:
                nodes += self._sample(network.log_variance, network.target, n, before)
                source = "sample"
            if operator := ACTIVATIONS[self.activations[n]][0]:
                nodes += f"    active{n} = {operator}({source})\n"
                source = f"active{n}"
        return nodes, source

    def _sample(self, log_variance: StoredLayer, target: Target, n: int, source: str) -> Nodes:
        """The nodes to ``sample``, beside layer ``n``, which gives the mean and reads ``source``."""
        if n:
            hidden = layers.hidden(log_variance, source, "hidden_variance")
            return hidden + posterior.sample(f"hidden{n}", "hidden_variance")
        if not layers.spare_units(self.layers, target.precision):
            return posterior.sample("hidden0", "variance_hidden0")
        cut = """
    mean_units = Slice(hidden0, from_start, latent_units, axis1)
    log_variance_units = Slice(variance_hidden0, from_start, latent_units, axis1)
"""
        units = {"latent_units": np.array([self.latent_units])}
        return Nodes(cut, units) + posterior.sample("mean_units", "log_variance_units")

    def without_each_item(self, network: StoredNetwork) -> Nodes:
        nodes = reasons.without_each_item(network.layers[0], network.target, self.norm)
        variance = self._first_of_variance(network)
        if variance is None:
            return nodes
        names = {name: f"variance_{name}" for name in first(variance, network.target, self.norm).produced}
        names |= {"without_hidden0": "without_variance_hidden0"}
        return nodes + reasons.without_each_item(variance, network.target, self.norm).renamed("variance_", names)

    def spec(self) -> dict[str, Any]:
        """The sizes; ``input`` and ``activations`` too unless they are the usual ones, l2 and tanh."""
        latent_tanh = self.activations[self.latent - 1] == "tanh"
        spec: dict[str, Any] = {"sizes": self.sizes, "latent_tanh": latent_tanh}
        if not self.norm or self.activations != usual_activations(len(self.layers), self.latent, latent_tanh):
            spec |= {"input": "l2" if self.norm else "none", "activations": list(self.activations)}
        return spec

    def eager(self, device: str) -> Callable[[Tensor], Tensor]:
        """The same as :meth:`answer`, with the first layer as an EmbeddingBag."""
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
