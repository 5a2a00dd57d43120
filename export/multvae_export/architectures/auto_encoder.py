"""Auto-encoders of clicks: layers with activations between them, from the history to the logits of the catalogue.

The network is built from a description, which the plugin writes into its checkpoints of format 2 (``spec`` in their
``other_parameter``). ``input`` is "l2" (x / ||x||_2) or "none". ``layers`` names the weights and the activation of each
layer, from the clicks to the logits, and how the weights are ``stored``: "in_out" is [d_in, d_out], "out_in" is [d_out,
d_in]. Of a layer's outputs the first ``units`` count (of a Gaussian's mean and log-variance, the mean). ``latent`` is how
many layers come before z.

For checkpoints of format 1 and for RecBole's own models, the same description is made here, by a function for each model.

Source: Liang et al., WWW 2018, sections 2.2 and 2.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize, pad

from multvae_export import layers
from multvae_export.architectures.base import Architecture
from multvae_export.checkpoint import Checkpoint
from multvae_export.errors import FormatVersionError, SpecError, UnsupportedModelError, WeightsError
from multvae_export.layers import Layer

#: By the name in a description: the operator of ONNX, and torch's function.
ACTIVATIONS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "tanh": ("Tanh", torch.tanh),
    "relu": ("Relu", torch.relu),
    "sigmoid": ("Sigmoid", torch.sigmoid),
    "none": ("", lambda x: x),
}
INPUTS = ("l2", "none")
STORED = ("in_out", "out_in")


@dataclass(frozen=True)
class AutoEncoder(Architecture):
    """An auto-encoder of clicks.

    Attributes:
        layers: the first has a row for every item but the padding item, the last a column for each.
        activations: what follows each layer, a name of :data:`ACTIVATIONS`; nothing follows the last.
        norm: whether the clicks are divided by their L2 norm.
        latent: how many layers come before z.
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

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> AutoEncoder:
        """Build what the checkpoint describes, or what the function for its model does. See the base class."""
        described = checkpoint.description
        return _built(described, checkpoint) if described else ADAPTERS[checkpoint.model](checkpoint)

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
        x = normalize(clicks[:, 1:]) if self.norm else clicks[:, 1:]
        for (weight, bias), activation in zip(self.layers, self.activations, strict=True):
            x = ACTIVATIONS[activation][1](x @ weight + bias)
        return pad(x, (1, 0), value=-torch.inf)

    def rounded(self, precision: str) -> AutoEncoder:
        """See the base class."""
        return replace(self, layers=layers.rounded(self.layers, precision))

    def nodes(self, io: str, precision: str, output: str) -> str:
        """See the base class."""
        if len(self.layers) == 1:
            return self._single(io, precision, output)
        return layers.first(io, precision, self.norm) + "\n".join(self._network(precision, output))

    def _single(self, io: str, precision: str, output: str) -> str:
        if not layers.spare_units(self.layers, precision):
            return layers.first(io, precision, self.norm, output)
        return layers.first(io, precision, self.norm) + f"    {output} = Slice(hidden0, first_item, end_item, axis1)\n"

    def _network(self, precision: str, output: str) -> Iterator[str]:
        """The layers after the first, from ``hidden0`` to the output."""
        end = len(self.layers) - 1
        for n in range(1, end + 1):
            source = f"hidden{n - 1}"
            if operator := ACTIVATIONS[self.activations[n - 1]][0]:
                yield f"    active{n - 1} = {operator}({source})"
                source = f"active{n - 1}"
            if n < end:
                yield from layers.hidden(n, source, precision)
            else:
                # int4's spare unit, where this layer follows the first.
                units = self.layers[n][0].shape[0] + (layers.spare_units(self.layers, precision) if n == 1 else 0)
                yield layers.last(n, source, precision, units, self.n_items, output)

    def constants(self, io: str, precision: str) -> dict[str, Any]:
        """See the base class."""
        values = layers.constants(self.layers, precision) | layers.numbers(io, precision, self.n_items)
        if len(self.layers) == 1:
            values |= {"first_item": np.array([0]), "end_item": np.array([self.n_items]), "axis1": np.array([1])}
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


def usual_activations(count: int, latent: int, latent_tanh: bool) -> tuple[str, ...]:
    """Where tanh stands between ``count`` layers, after the first ``latent`` of them only if ``latent_tanh``."""
    return tuple("none" if n == count or (n == latent and not latent_tanh) else "tanh" for n in range(1, count + 1))


def _built(description: dict[str, Any], checkpoint: Checkpoint) -> AutoEncoder:
    """The network of a description, any part of which may be wrong or missing."""
    entries: Any = description.get("layers")
    latent: Any = description.get("latent")
    if description.get("input") == "ratings":
        raise UnsupportedModelError(
            f"{checkpoint.model} with targets=ratings cannot be exported, because it reads ratings, and a history of items "
            "has none: train it with targets=clicks."
        )
    norm = _one_of(INPUTS, description.get("input"), "input")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise SpecError("the description of the model has no list of layers: save the checkpoint again.")
    if not _is_count(latent, len(entries)):
        raise SpecError(f"the description says latent={latent!r}, expected a number of layers from 1 to {len(entries)}.")
    found = tuple(_layer(entry, n, checkpoint) for n, entry in enumerate(entries, 1))
    activations = tuple(_one_of(tuple(ACTIVATIONS), entry.get("activation"), "activation") for entry in entries)
    if activations[-1] != "none":
        raise SpecError(f"the last layer has the activation {activations[-1]}, expected none: what is ranked are logits.")
    layers.check_sizes(found)
    n_items = description.get("n_items")
    if n_items != len(found[0][0]) + 1:
        raise SpecError(f"the description says n_items={n_items!r}, and the first layer is of {len(found[0][0]) + 1}.")
    return AutoEncoder(found, activations, norm == "l2", latent)


def _one_of(allowed: tuple[str, ...], value: Any, key: str) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise SpecError(f"the description of the model says {key}={value!r}, expected one of {', '.join(allowed)}.")
    return value


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most


def _layer(entry: dict[str, Any], n: int, checkpoint: Checkpoint) -> Layer:
    weight, bias = (_named(entry.get(key), n, dims, checkpoint) for key, dims in (("weight", 2), ("bias", 1)))
    stored = _one_of(STORED, entry.get("stored"), "stored")
    weight, units = weight if stored == "in_out" else weight.T, entry.get("units")
    if not _is_count(units, weight.shape[1]) or weight.shape[1] != len(bias):
        raise WeightsError(
            f"layer {n} gives {weight.shape[1]} units with {len(bias)} biases, and the model's description takes {units!r}."
        )
    return weight[:, :units], bias[:units]


def _named(name: Any, n: int, dims: int, checkpoint: Checkpoint) -> Tensor:
    if not isinstance(name, str) or name not in checkpoint.weights:
        raise SpecError(f"layer {n} names the weights {name!r}, which the checkpoint does not have.")
    return checkpoint.tensor(name, dims)


# Descriptions of models that come without one.


def _described(checkpoint: Checkpoint, encoder: list[str], decoder: list[str], gaussian: bool) -> dict[str, Any]:
    """The description of a network whose layers are named in order, with tanh between them."""
    names, latent = [*encoder, *decoder], len(encoder)
    activations = usual_activations(len(names), latent, latent_tanh=not gaussian)
    entries: list[dict[str, Any]] = []
    for n, (name, activation) in enumerate(zip(names, activations, strict=True), 1):
        units = len(checkpoint.tensor(f"{name}.bias", 1))
        entries.append(
            {
                "weight": f"{name}.weight",
                "bias": f"{name}.bias",
                # The plugin's first layer is stored by item.
                "stored": "in_out" if name == "encoder.first" else "out_in",
                # Of a Gaussian's outputs the first half is the mean.
                "units": units // 2 if gaussian and n == latent else units,
                "activation": activation,
            }
        )
    return {"n_items": entries[-1]["units"] + 1, "input": "l2", "layers": entries, "latent": latent}


def _layer_names(checkpoint: Checkpoint, part: str) -> list[str]:
    """The linear layers of the encoder or the decoder in order, as the state_dict has them."""
    hidden = checkpoint.config.get("mlp_hidden_size")
    expected = len(hidden) + 1 if isinstance(hidden, list) else None
    weights = [name for name in checkpoint.weights if name.startswith(f"{part}.") and name.endswith(".weight")]
    if len(weights) != expected:
        raise WeightsError(f"the {part} has {len(weights)} layers, mlp_hidden_size={hidden!r} needs {expected}.")
    return [name.removesuffix(".weight") for name in weights]


def _of_format_1(checkpoint: Checkpoint, gaussian: bool) -> AutoEncoder:
    """A model of the plugin, as its first version saved it."""
    if "format_version" not in checkpoint.extra:
        raise FormatVersionError("the checkpoint has no format_version: it was not written by recbole-multvae.")
    encoder, decoder = (_layer_names(checkpoint, part) for part in ("encoder", "decoder"))
    return _built(_described(checkpoint, encoder, decoder, gaussian), checkpoint)


def _of_recbole(checkpoint: Checkpoint, gaussian: bool) -> AutoEncoder:
    """A model of RecBole's own: the padding item's units, the first at both ends, are cut off."""
    encoder, decoder = (_layer_names(checkpoint, part) for part in ("encoder", "decoder"))
    begin, end = encoder[0], decoder[-1]
    cut = {
        f"{begin}.weight": checkpoint.tensor(f"{begin}.weight", 2)[:, 1:],
        f"{end}.weight": checkpoint.tensor(f"{end}.weight", 2)[1:],
        f"{end}.bias": checkpoint.tensor(f"{end}.bias", 1)[1:],
    }
    checkpoint = replace(checkpoint, weights=checkpoint.weights | cut)
    return _built(_described(checkpoint, encoder, decoder, gaussian), checkpoint)


#: The models that come without a description, and the function that makes it.
ADAPTERS: dict[str, Callable[[Checkpoint], AutoEncoder]] = {
    "MultVAE": partial(_of_format_1, gaussian=True),
    "MultDAE": partial(_of_format_1, gaussian=False),
    "MultiVAE": partial(_of_recbole, gaussian=True),
    "MultiDAE": partial(_of_recbole, gaussian=False),
}
