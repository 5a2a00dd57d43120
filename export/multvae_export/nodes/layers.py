"""The linear layers of a network as a file stores them.

The *first* layer reads the history (:mod:`.first_layer`), *hidden* layers stand between, the *last* scores the catalogue
(:mod:`.last_layer`). A network of a *single* layer does both (:mod:`.single_layer`). What each precision stores is in
:mod:`.quantise`; how the graph computes with it:

- ``fp16``: the two products with the catalogue in half precision, for CUDA. On a CPU onnxruntime widens the weights when it
  loads them: half the file, the speed of fp32.
- ``int8``: the gathered rows of the table are widened. The decoder's input is rounded a row at a time, so that no user's
  ranking depends on who else is in the batch, and multiplied in integers. For CPUs.
- ``int4``: the gathered rows are unpacked. The decoder is onnxruntime's MatMulNBits, for CPUs and CUDA.

The hidden layers are widened once, when the file is loaded. Every operator but int8's MatMulInteger has a CUDA kernel at
opset 18 (``verification/cuda_kernels.json``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from multvae_export.errors import WeightsError
from multvae_export.nodes import quantise
from multvae_export.nodes.nodes import Nodes
from multvae_export.nodes.quantise import Stored
from multvae_export.target import Target

#: weight [d_in, d_out], bias [d_out].
Layer = tuple[Tensor, Tensor]
#: The rows of new items, [N, d], for a table with a row for every item but the padding item, [I, d], which may be sparse.
RowsOfNew = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class StoredLayer:
    """A layer as a file stores it.

    Attributes:
        weight, scale, bias: the names of its constants.
        units: how many units it reads.
        constants: its arrays by name.
    """

    weight: str
    scale: str
    bias: str
    units: int
    constants: dict[str, np.ndarray]

    @classmethod
    def of(cls, name: str, stored: Stored, bias: np.ndarray, first: bool = False) -> StoredLayer:
        """Name the arrays of a layer; the weights of the first are a table with a row for each item."""
        weight, bias_name = f"table{name}" if first else f"weight{name}", f"bias{name}"
        constants = {weight: stored.values, bias_name: bias}
        if stored.scale is not None:
            constants[f"{weight}_scale"] = stored.scale
        return cls(weight, f"{weight}_scale", bias_name, len(stored.widened), constants)

    @property
    def step_scale(self) -> str:
        """The name of the scale of int8's last layer over the 127 steps of its rounded input."""
        return f"{self.weight}_step_scale"

    def nodes(self, text: str) -> Nodes:
        """Nodes that read the constants of this layer."""
        return Nodes(text, self.constants)


@dataclass(frozen=True)
class StoredNetwork:
    """The layers of a model as a file stores them.

    Attributes:
        target: the form, the precision and the options of the file.
        layers: in order, from the one that reads the history to the one that scores the catalogue.
        log_variance: the layer beside the one that gives the mean of a posterior, in a file with ``posterior``.
    """

    target: Target
    layers: tuple[StoredLayer, ...]
    log_variance: StoredLayer | None = None


def check_sizes(layers: tuple[Layer, ...]) -> None:
    """Check that each layer reads as many units as the one before it gives, and the last gives as many as the first reads.

    Raises:
        WeightsError: names the first layer that does not fit.
    """
    for n, (weight, bias) in enumerate(layers, 1):
        units, after = weight.shape[1], layers[n][0].shape[0] if n < len(layers) else layers[0][0].shape[0]
        if not 0 < units == len(bias) == after:
            biases = "" if units == len(bias) else f" with {len(bias)} biases"
            raise WeightsError(f"layer {n} of {len(layers)} gives {units} units{biases}, and what follows takes {after}.")


def hidden(layer: StoredLayer, source: str, output: str) -> Nodes:
    """The nodes of a layer between the first and the last; its weights are constants, which a runtime widens once."""
    weight, nodes = layer.weight, Nodes()
    if layer.constants[weight].dtype != np.float32:
        nodes += layer.nodes(f"    {layer.weight}_wide = Cast <to: int = 1> ({weight})\n")
        weight = f"{layer.weight}_wide"
    if layer.scale in layer.constants:
        nodes += layer.nodes(f"    {layer.weight}_scaled = Mul({weight}, {layer.scale})\n")
        weight = f"{layer.weight}_scaled"
    return nodes + layer.nodes(f"    {output} = Gemm({source}, {weight}, {layer.bias})\n")


def spare_units(layers: tuple[Layer, ...], precision: str) -> int:
    """How many units more the first layer gets: int4 packs two to a byte. A single layer has the padding item's unit too."""
    return (layers[0][0].shape[1] + (len(layers) == 1)) % 2 if precision == "int4" else 0


def _schemes(count: int) -> list[Callable[[np.ndarray, str], Stored]]:
    """How each of so many layers is stored; a single layer is a table."""
    middle: list[Callable[[np.ndarray, str], Stored]] = [quantise.hidden] * (count - 2)
    return [quantise.table, *middle, quantise.decoder][:count]


def store(layers: tuple[Layer, ...], target: Target, cut: bool = False, padding: float = -np.inf) -> tuple[StoredLayer, ...]:
    """The layers as a file stores them, with a row and a column for the padding item.

    Args:
        layers: the first reads the history and the last scores the catalogue; a single layer does both.
        target: the form, the precision and the options of the file.
        cut: whether the nodes cut off the first layer's spare units; otherwise the second layer has rows of zeros for them.
        padding: the padding item's bias in the last layer.
    """
    spare, schemes, stored = spare_units(layers, target.precision), _schemes(len(layers)), []
    for n, (weight, bias) in enumerate((weight.numpy(), bias.numpy()) for weight, bias in layers):
        begins, ends = n == 0, n == len(layers) - 1
        # The padding item comes first, a spare unit last: as a column of this layer, and as a row of the next.
        rows, columns = (int(begins), spare if n == 1 and not cut else 0), (int(ends), spare if begins else 0)
        weight = np.pad(weight, (rows, columns))
        bias = np.pad(np.pad(bias, (columns[0], 0), constant_values=padding), (0, columns[1]))
        layer = StoredLayer.of(str(n), schemes[n](weight, target.precision), bias, first=begins)
        if ends and not begins:
            _prepare_last(layer, target)
        stored.append(layer)
    return tuple(stored)


def _prepare_last(layer: StoredLayer, target: Target) -> None:
    if target.precision == "int8":
        steps = np.float32(127)
        layer.constants[layer.step_scale] = layer.constants[layer.scale] / steps
        layer.constants[layer.scale] = layer.constants[layer.step_scale] * steps
    # int4's weights lie together for each item in any case.
    if target.by_item and target.precision != "int4":
        layer.constants[layer.weight] = layer.constants[layer.weight].T


def store_log_variance(layer: Layer, target: Target, first: bool, spare: int) -> StoredLayer:
    """The layer beside the one that gives the mean of a posterior, as a file stores it.

    Args:
        layer: its weights.
        target: what the file is to be.
        first: whether it reads the history.
        spare: units more that it gives, if it is the first, or that it reads.
    """
    weight, bias = (part.numpy() for part in layer)
    if first:
        weight, bias = np.pad(weight, ((1, 0), (0, spare))), np.pad(bias, (0, spare))
    else:
        weight = np.pad(weight, ((0, spare), (0, 0)))
    scheme = quantise.table if first else quantise.hidden
    return StoredLayer.of("_variance", scheme(weight, target.precision), bias, first=first)


def rounded(layers: tuple[Layer, ...], precision: str) -> tuple[Layer, ...]:
    """The layers that a file of this precision stands for: the same biases with the weights that it stores."""
    return tuple(_rounded(layer, scheme, precision) for layer, scheme in zip(layers, _schemes(len(layers)), strict=True))


def rounded_log_variance(layer: Layer, precision: str, first: bool) -> Layer:
    """The layer that :func:`store_log_variance` stands for."""
    return _rounded(layer, quantise.table if first else quantise.hidden, precision)


def _rounded(layer: Layer, scheme: Callable[[np.ndarray, str], Stored], precision: str) -> Layer:
    weight, bias = layer[0].numpy(), layer[1]
    units = weight.shape[1]
    if scheme is quantise.table:
        # int4 packs two units to a byte. A spare unit of zeros changes no scale.
        weight = np.pad(weight, ((0, 0), (0, units % 2)))
    widened = scheme(weight, precision).widened[:, :units]
    return torch.from_numpy(np.ascontiguousarray(widened, np.float32)), bias


def with_items(network: tuple[Layer, ...], rows: RowsOfNew) -> tuple[Layer, ...]:
    """The layers with new items at both ends."""
    return with_rows(network[0], rows), *network[1:-1], with_columns(network[-1], rows)


def with_rows(layer: Layer, rows: RowsOfNew) -> Layer:
    """A layer that reads new items too."""
    weight, bias = layer
    return torch.cat([weight, rows(weight)]), bias


def with_columns(layer: Layer, rows: RowsOfNew) -> Layer:
    """A layer that scores new items too."""
    weight, bias = layer
    new = rows(torch.cat([weight.T, bias[:, None]], dim=1))
    return torch.cat([weight, new[:, :-1].T], dim=1), torch.cat([bias, new[:, -1]])


def with_pairs(layer: Layer, rows: RowsOfNew) -> Layer:
    """A layer that reads and scores items, with new ones. No new item is a reason for itself."""
    weight, bias = with_rows(layer, rows)
    new = rows(weight.T).T
    new[len(weight) - new.shape[1] :].fill_diagonal_(0)
    return torch.cat([weight, new], dim=1), torch.cat([bias, rows(bias[:, None])[:, 0]])


def shifted(network: tuple[Layer, ...], shift: Tensor) -> tuple[Layer, ...]:
    """The layers with a constant added to the score of each item, [I]."""
    weight, bias = network[-1]
    return *network[:-1], (weight, bias + shift)
