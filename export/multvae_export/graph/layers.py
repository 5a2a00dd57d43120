"""The linear layers of a graph, as nodes in ONNX's own text form and as the constants that these name.

``B`` histories in the batch, ``L`` their padded length, ``C`` items of the catalogue with the padding item, ``H`` units.
There are three kinds: the *first* layer reads the history, *hidden* layers stand between, the *last* scores the catalogue.

What each precision stores is in :mod:`.quantise`; what the graph then computes:

- ``fp16``: the two products with the catalogue in half precision, for CUDA. On a CPU onnxruntime widens the weights as it
  loads them: half the file, the speed of fp32.
- ``int8``: the gathered rows of the table are widened; the decoder's input is rounded a row at a time, so that no user's
  ranking depends on who else is in the batch, and multiplied in integers. For CPUs.
- ``int4``: the gathered rows are unpacked; the decoder is onnxruntime's MatMulNBits, for CPUs and CUDA.

The hidden layers are widened once, when the file is loaded. Every operator but int8's MatMulInteger has a CUDA kernel at
opset 18 (``cuda_kernels.json``).
"""

from __future__ import annotations

from collections.abc import Iterator
from string import Template
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multvae_export.errors import WeightsError
from multvae_export.graph import quantise
from multvae_export.graph.quantise import BLOCK

#: weight [d_in, d_out], bias [d_out].
Layer = tuple[Tensor, Tensor]

#: The first layer from a list of items: the sum of their rows of the table.
FROM_ITEMS = Template("""
    click = Cast <to: int = 1> ($counts)$scaling
    click_row = Unsqueeze($weight, axis1)
    rows = Gather(table, $item)$product
    sum = Squeeze(weighted, axis1)$norm
    $output = Add($scaled_sum, bias0)
""")
#: x / ||x||_2 divides the sum by the root of the number of items; an empty history by 1.
NORM = """
    number = ReduceSum <keepdims: int = 1> (click, axis1)
    at_least_one = Max(number, one)
    norm = Sqrt(at_least_one)
    mean = Div(sum, norm)"""
#: The first layer from a multi-hot row.
FROM_MULTI_HOT = Template("""$norm$scaling$product
    $output = Add($sum, bias0)
""")
DENSE_NORM = """
    square = Mul(x, x)
    sum_of_squares = MatMul(square, real)
    norm = Sqrt(sum_of_squares)
    divisor = Max(norm, tiny)
    unit = Div(x, divisor)"""
#: Clicks times the table, as it is stored; int4 holds a byte's upper half beside its lower one, and 8 stands for zero.
PRODUCT = {
    "fp32": Template("""
    $sum = MatMul($clicks, $table)"""),
    "fp16": Template("""
    clicks16 = Cast <to: int = 10> ($clicks)
    sum16 = MatMul(clicks16, $table)
    $sum = Cast <to: int = 1> (sum16)"""),
    "int8": Template("""
    wide = Cast <to: int = 1> ($table)
    $sum = MatMul($clicks, wide)"""),
    "int4": Template("""
    bytes = Cast <to: int = 1> ($table)
    sixteenths = Mul(bytes, sixteenth)
    upper = Floor(sixteenths)
    both_sum = MatMul($clicks, bytes)
    upper_sum = MatMul($clicks, upper)
    upper_sixteen = Mul(upper_sum, sixteen)
    lower_sum = Sub(both_sum, upper_sixteen)
    halves = Concat <axis: int = -1> (lower_sum, upper_sum)
    all_clicks = ReduceSum <keepdims: int = 1> ($clicks, last_axis)
    all_zeros = Mul(all_clicks, eight)
    $sum = Sub(halves, all_zeros)"""),
}
#: The last layer. int8: rows at most 1, then -127..127 around 128; the scales come last and one after the other, as
#: onnxruntime 1.31 applies a product of both scales to the bias too.
LAST = {
    "fp32": Template("    $output = Gemm$transposed($source, weight$n, bias$n)"),
    "fp16": Template("""
    source16 = Cast <to: int = 10> ($source)$turn
    product16 = MatMul(source16, $weight)
    product = Cast <to: int = 1> (product16)
    $output = Add(product, bias$n)"""),
    "int8": Template("""
    magnitude = Abs($source)
    largest, where_largest = TopK <axis: int = 1> (magnitude, axis1)
    divisor8 = Max(largest, tiny)
    at_most_one = Div($source, divisor8)
    source8 = QuantizeLinear(at_most_one, step8, middle8)$turn
    product32 = MatMulInteger(source8, $weight, middle8)
    product = Cast <to: int = 1> (product32)
    of_items = Mul(product, scale$n)
    of_users = Mul(of_items, divisor8)
    $output = Add(of_users, bias$n)"""),
    "int4": Template("""
    product = com.microsoft.MatMulNBits <K: int = $units, N: int = $items, bits: int = 4, block_size: int = $block,
        accuracy_level: int = 4> ($source, weight$n, scale$n)
    $output = Add(product, bias$n)"""),
}
#: The precisions whose table has a scale for every row, which goes to the row's click.
SCALED = ("int8", "int4")


def check_sizes(layers: tuple[Layer, ...]) -> None:
    """Check that each layer takes what the one before it gives, and that the last one scores what the first one reads.

    Raises:
        WeightsError: names the first layer that does not fit.
    """
    for n, (weight, bias) in enumerate(layers, 1):
        units, after = weight.shape[1], layers[n][0].shape[0] if n < len(layers) else layers[0][0].shape[0]
        if not 0 < units == len(bias) == after:
            biases = "" if units == len(bias) else f" with {len(bias)} biases"
            raise WeightsError(f"layer {n} of {len(layers)} gives {units} units{biases}, and what follows takes {after}.")


def first(io: str, precision: str, norm: bool, output: str = "hidden0", item: str = "item", counts: str = "counts") -> str:
    """The nodes of the first layer, from the history to ``output`` [B, H].

    Args:
        io: the form of the graph.
        precision: of the table.
        norm: whether x / ||x||_2 is read instead of x.
        output: the name of the result.
        item: the name of the rows of the table that a history reads, int64 [B, L].
        counts: whether a row counts, bool [B, L].
    """
    if io == "dense":
        clicks = "unit" if norm else "x"
        scaling = f"\n    scaled = Mul({clicks}, table_scale)" if precision in SCALED else ""
        clicks = "scaled" if scaling else clicks
        product = PRODUCT[precision].substitute(clicks=clicks, table="table", sum="sum")
        return FROM_MULTI_HOT.substitute(
            norm=DENSE_NORM if norm else "", scaling=scaling, product=product, output=output, sum="sum"
        )
    scaling = f"\n    row_scale = Gather(table_scale, {item})\n    scaled = Mul(click, row_scale)"
    return FROM_ITEMS.substitute(
        item=item,
        counts=counts,
        scaling=scaling if precision in SCALED else "",
        weight="scaled" if precision in SCALED else "click",
        product=PRODUCT[precision].substitute(clicks="click_row", table="rows", sum="weighted"),
        norm=NORM if norm else "",
        scaled_sum="mean" if norm else "sum",
        output=output,
    )


def hidden(n: int | str, source: str, precision: str) -> Iterator[str]:
    """The nodes of layer ``n``, from ``source`` to ``hidden<n>``: its weights are constants, which a runtime widens once."""
    weight = f"weight{n}"
    if precision != "fp32":
        yield f"    wide{n} = Cast <to: int = 1> ({weight})"
        weight = f"wide{n}"
    if precision in SCALED:
        yield f"    scaled{n} = Mul(wide{n}, scale{n})"
        weight = f"scaled{n}"
    yield f"    hidden{n} = Gemm({source}, {weight}, bias{n})"


def last(n: int, source: str, precision: str, units: int, items: int, output: str, by_item: bool = False) -> str:
    """The nodes of layer ``n``, from ``source`` [B, units] to the scores of C items in ``output`` [B, C].

    ``by_item``: whether its weights are stored as [C, units], as :mod:`.columns` reads them; int4's are in any case.
    """
    turn = f"\n    turned{n} = Transpose <perm: ints = [1, 0]> (weight{n})" if by_item else ""
    return LAST[precision].substitute(
        source=source,
        output=output,
        n=n,
        units=units,
        items=items,
        block=BLOCK,
        transposed=" <transB: int = 1> " if by_item else "",
        turn=turn,
        weight=f"turned{n}" if by_item else f"weight{n}",
    )


def spare_units(layers: tuple[Layer, ...], precision: str) -> int:
    """How many units more the first layer gets: int4 packs two to a byte. A single layer has the padding item's unit too."""
    return (layers[0][0].shape[1] + (len(layers) == 1)) % 2 if precision == "int4" else 0


def constants(layers: tuple[Layer, ...], precision: str, cut: bool = False) -> dict[str, np.ndarray]:
    """The weights of layers 0, 1, ... as they are stored, with a row and a column for the padding item.

    The first reads the history and the last scores the catalogue; a single layer does both. ``cut``: the nodes cut off the
    first layer's spare units, which the second layer otherwise has rows of zeros for.
    """
    return dict(_stored(layers, precision, cut))


def _stored(layers: tuple[Layer, ...], precision: str, cut: bool) -> Iterator[tuple[str, np.ndarray]]:
    spare = spare_units(layers, precision)
    for n, (weight, bias) in enumerate((weight.numpy(), bias.numpy()) for weight, bias in layers):
        begins, ends = n == 0, n == len(layers) - 1
        # The padding item comes first, a spare unit last: as a column here, and as a row of what follows.
        rows, columns = (int(begins), spare if n == 1 and not cut else 0), (int(ends), spare if begins else 0)
        weight = np.pad(weight, (rows, columns))
        bias = np.pad(np.pad(bias, (columns[0], 0), constant_values=-np.inf), (0, columns[1]))
        kind = quantise.table if begins else quantise.decoder if ends else quantise.hidden
        stored = kind(weight, precision)
        yield "table" if begins else f"weight{n}", stored.values
        if stored.scale is not None:
            # For int8 the last layer's scale takes the 127 steps of its input with it.
            steps = np.float32(127 if ends and not begins and precision == "int8" else 1)
            yield "table_scale" if begins else f"scale{n}", stored.scale / steps
        yield f"bias{n}", bias


def numbers(io: str, precision: str, n_items: int) -> dict[str, Any]:
    """The few numbers that the nodes above name."""
    values: dict[str, Any] = {}
    if precision == "int8":
        values |= {"tiny": np.float32(1e-12), "step8": np.float32(1 / 127), "middle8": np.uint8(128), "axis1": np.array([1])}
    if precision == "int4":
        values |= {"sixteenth": np.float32(1 / 16), "sixteen": np.float32(16), "eight": np.float32(8)}
        # Not -1: onnxruntime then gets the sum of a history of length zero wrong.
        values |= {"last_axis": np.array([1 if io == "dense" else 2])}
    if io == "dense":
        real = np.ones((n_items, 1), np.float32)
        real[0] = 0
        values |= {"real": real, "tiny": np.float32(1e-12)}
    return values


def rounded(layers: tuple[Layer, ...], precision: str) -> tuple[Layer, ...]:
    """The layers that a file of this precision stands for: the same biases with the weights that it stores."""
    found = []
    for n, (weight, bias) in enumerate(layers):
        if n == 0:
            # A spare unit of zeros changes no scale.
            even = np.pad(weight.numpy(), ((0, 0), (0, weight.shape[1] % 2)))
            widened = quantise.table(even, precision).widened[:, : weight.shape[1]]
        else:
            kind = quantise.decoder if n == len(layers) - 1 else quantise.hidden
            widened = kind(weight.numpy(), precision).widened
        found.append((torch.from_numpy(np.ascontiguousarray(widened, np.float32)), bias))
    return tuple(found)


def second_constants(layer: Layer, precision: str, first: bool, spare: int) -> dict[str, np.ndarray]:
    """The weights of a second layer beside another, for the logarithm of a variance, as they are stored.

    Args:
        layer: its weights.
        precision: what they are stored in.
        first: whether it reads the history, as a table with a row for the padding item.
        spare: units more that it gives, if it is the first, or that it reads.
    """
    weight, bias = (part.numpy() for part in layer)
    if first:
        weight, bias = np.pad(weight, ((1, 0), (0, spare))), np.pad(bias, (0, spare))
    else:
        weight = np.pad(weight, ((0, spare), (0, 0)))
    stored = (quantise.table if first else quantise.hidden)(weight, precision)
    weight_name, scale_name = ("table_variance", "table_scale_variance") if first else ("weight_variance", "scale_variance")
    values = {weight_name: stored.values, "bias_variance": bias}
    return values if stored.scale is None else values | {scale_name: stored.scale}


def second_rounded(layer: Layer, precision: str, first: bool) -> Layer:
    """The layer that :func:`second_constants` stands for."""
    weight = layer[0].numpy()
    if first:
        widened = quantise.table(np.pad(weight, ((0, 0), (0, weight.shape[1] % 2))), precision).widened[:, : weight.shape[1]]
    else:
        widened = quantise.hidden(weight, precision).widened
    return torch.from_numpy(np.ascontiguousarray(widened, np.float32)), layer[1]
