"""The description of an auto-encoder of clicks, which the plugin writes into its checkpoints.

It is ``spec`` in their ``other_parameter``. ``input`` is "l2" (x / ||x||_2) or "none". ``layers`` names the weights and the
activation of each layer, from the clicks to the logits, and how the weights are ``stored``: "in_out" is [d_in, d_out],
"out_in" is [d_out, d_in]. Of a layer's outputs the first ``units`` count; where there are twice as many, the others are the
logarithm of a Gaussian's variance. ``latent`` is how many layers come before z.

For RecBole's own MultiVAE and MultiDAE the same description is made here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from multvae_export.checkpoint.contents import Checkpoint
from multvae_export.errors import SpecError, UnsupportedModelError, WeightsError
from multvae_export.nodes.layers import Layer, check_sizes

ACTIVATIONS = ("tanh", "relu", "sigmoid", "none")
INPUTS = ("l2", "none")
STORED = ("in_out", "out_in")


class Described(NamedTuple):
    """A network: see :class:`.AutoEncoder`, whose fields these are."""

    layers: tuple[Layer, ...]
    activations: tuple[str, ...]
    norm: bool
    latent: int
    log_variance: Layer | None


def usual_activations(count: int, latent: int, latent_tanh: bool) -> tuple[str, ...]:
    """Where tanh stands between ``count`` layers, after the first ``latent`` of them only if ``latent_tanh``."""
    return tuple("none" if n == count or (n == latent and not latent_tanh) else "tanh" for n in range(1, count + 1))


def read(checkpoint: Checkpoint) -> Described:
    """The network of a checkpoint, from its description or, of RecBole's own models, from the names of its weights.

    Raises:
        SpecError: the description is wrong.
        WeightsError: the weights do not fit it.
        UnsupportedModelError: the network cannot be exported.
    """
    description = checkpoint.description
    return _built(description, checkpoint) if description else _of_recbole(checkpoint)


def _built(description: dict[str, Any], checkpoint: Checkpoint) -> Described:
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
    stored = [_stored(entry, n, checkpoint) for n, entry in enumerate(entries, 1)]
    units = [entry["units"] for entry in entries]
    network = tuple((weight[:, :count], bias[:count]) for (weight, bias), count in zip(stored, units, strict=True))
    activations = tuple(_one_of(ACTIVATIONS, entry.get("activation"), "activation") for entry in entries)
    if activations[-1] != "none":
        raise SpecError(f"the last layer has the activation {activations[-1]}, expected none: logits are ranked.")
    check_sizes(network)
    n_items = description.get("n_items")
    if n_items != len(network[0][0]) + 1:
        raise SpecError(f"the description says n_items={n_items!r}, and the first layer is of {len(network[0][0]) + 1}.")
    return Described(network, activations, norm == "l2", latent, _log_variance(stored[latent - 1], units[latent - 1]))


def _one_of(allowed: tuple[str, ...], value: Any, key: str) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise SpecError(f"the description of the model says {key}={value!r}, expected one of {', '.join(allowed)}.")
    return value


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most


def _log_variance(stored: Layer, units: int) -> Layer | None:
    """The second half of a layer's outputs, the logarithm of a Gaussian's variance; None unless it has ``2 * units``."""
    weight, bias = stored
    return (weight[:, units:], bias[units:]) if weight.shape[1] == 2 * units else None


def _stored(entry: dict[str, Any], n: int, checkpoint: Checkpoint) -> Layer:
    """All outputs of a layer, [d_in, d_out] and [d_out], of which the first ``units`` count."""
    weight, bias = (_named(entry.get(key), n, dims, checkpoint) for key, dims in (("weight", 2), ("bias", 1)))
    stored = _one_of(STORED, entry.get("stored"), "stored")
    weight, units = weight if stored == "in_out" else weight.T, entry.get("units")
    if not _is_count(units, weight.shape[1]) or weight.shape[1] != len(bias):
        raise WeightsError(
            f"layer {n} gives {weight.shape[1]} units with {len(bias)} biases, and the model's description takes {units!r}."
        )
    return weight, bias


def _named(name: Any, n: int, dims: int, checkpoint: Checkpoint) -> Tensor:
    if not isinstance(name, str) or name not in checkpoint.weights:
        raise SpecError(f"layer {n} names the weights {name!r}, which the checkpoint does not have.")
    return checkpoint.tensor(name, dims)


# RecBole's own models come without a description.


def _of_recbole(checkpoint: Checkpoint) -> Described:
    """RecBole's own model without the units of the padding item, which are the first at both ends."""
    encoder, decoder = (_layer_names(checkpoint, part) for part in ("encoder", "decoder"))
    begin, end = encoder[0], decoder[-1]
    cut = {
        f"{begin}.weight": checkpoint.tensor(f"{begin}.weight", 2)[:, 1:],
        f"{end}.weight": checkpoint.tensor(f"{end}.weight", 2)[1:],
        f"{end}.bias": checkpoint.tensor(f"{end}.bias", 1)[1:],
    }
    checkpoint = replace(checkpoint, weights=checkpoint.weights | cut)
    return _built(_description(checkpoint, [*encoder, *decoder], len(encoder)), checkpoint)


def _layer_names(checkpoint: Checkpoint, part: str) -> list[str]:
    """The linear layers of the encoder or the decoder in order, as the state_dict has them."""
    hidden = checkpoint.config.get("mlp_hidden_size")
    expected = len(hidden) + 1 if isinstance(hidden, list) else None
    weights = [name for name in checkpoint.weights if name.startswith(f"{part}.") and name.endswith(".weight")]
    if len(weights) != expected:
        raise WeightsError(f"the {part} has {len(weights)} layers, mlp_hidden_size={hidden!r} needs {expected}.")
    return [name.removesuffix(".weight") for name in weights]


def _description(checkpoint: Checkpoint, names: list[str], latent: int) -> dict[str, Any]:
    """The description of a network whose layers are named in order, with tanh between them."""
    gaussian = checkpoint.model == "MultiVAE"
    activations = usual_activations(len(names), latent, latent_tanh=not gaussian)
    layers: list[dict[str, Any]] = []
    for n, (name, activation) in enumerate(zip(names, activations, strict=True), 1):
        outputs = len(checkpoint.tensor(f"{name}.bias", 1))
        # The first half of a Gaussian's outputs is the mean.
        units = outputs // 2 if gaussian and n == latent else outputs
        weights = {"weight": f"{name}.weight", "bias": f"{name}.bias", "stored": "out_in"}
        layers.append({**weights, "units": units, "activation": activation})
    return {"n_items": layers[-1]["units"] + 1, "input": "l2", "layers": layers, "latent": latent}
