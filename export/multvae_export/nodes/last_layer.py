"""The last layer: the scores of the whole catalogue, or those of some items for ``--filters`` and ``--reasons``.

With these options the weights are stored as [C, H], so that those of an item lie together. The scores of some items are
computed in float32 from the weights as they are stored: for int8 and int4 the input of the layer is not rounded.

``B`` histories, ``L`` their padded length, ``C`` items of the catalogue, ``M`` items of a list, ``H`` units that the last
layer reads.
"""

from __future__ import annotations

import numpy as np

from multvae_export.nodes import quantise
from multvae_export.nodes.layers import StoredLayer
from multvae_export.nodes.nodes import Nodes
from multvae_export.nodes.quantise import BLOCK
from multvae_export.target import Target


def last(layer: StoredLayer, target: Target, source: str, output: str) -> Nodes:
    """The nodes from ``source`` [B, H] to the scores of all items, ``output`` [B, C]."""
    if target.precision == "fp32":
        transposed = " <transB: int = 1> " if target.by_item else ""
        return layer.nodes(f"    {output} = Gemm{transposed}({source}, {layer.weight}, {layer.bias})\n")
    if target.precision == "int4":
        return _in_blocks(layer, source, output)
    weight, turn = layer.weight, ""
    if target.by_item:
        turn = f"    {weight}_turned = Transpose <perm: ints = [1, 0]> ({weight})\n"
        weight = f"{weight}_turned"
    return layer.nodes(turn) + (_in_half if target.precision == "fp16" else _in_integers)(layer, weight, source, output)


def _in_half(layer: StoredLayer, weight: str, source: str, output: str) -> Nodes:
    return layer.nodes(f"""
    source16 = Cast <to: int = 10> ({source})
    product16 = MatMul(source16, {weight})
    product = Cast <to: int = 1> (product16)
    {output} = Add(product, {layer.bias})
""")


def _in_integers(layer: StoredLayer, weight: str, source: str, output: str) -> Nodes:
    """The rows are divided by their largest magnitude and rounded to -127..127 around 128.

    The scales come last and one after the other, as onnxruntime 1.31 applies a product of both scales to the bias too.
    """
    text = f"""
    magnitude = Abs({source})
    largest, largest_unit = TopK <axis: int = 1> (magnitude, one_unit)
    row_divisor = Max(largest, tiny)
    at_most_one = Div({source}, row_divisor)
    source8 = QuantizeLinear(at_most_one, row_step, row_zero)
    product32 = MatMulInteger(source8, {weight}, row_zero)
    product = Cast <to: int = 1> (product32)
    item_scaled = Mul(product, {layer.step_scale})
    row_scaled = Mul(item_scaled, row_divisor)
    {output} = Add(row_scaled, {layer.bias})
"""
    numbers = {"row_step": np.float32(1 / 127), "row_zero": np.uint8(128), "one_unit": np.array([1])}
    return Nodes(text, {**layer.constants, **numbers})


def _in_blocks(layer: StoredLayer, source: str, output: str) -> Nodes:
    items = len(layer.constants[layer.weight])
    return layer.nodes(f"""
    product = com.microsoft.MatMulNBits <K: int = {layer.units}, N: int = {items}, bits: int = 4, block_size: int = {BLOCK},
        accuracy_level: int = 4> ({source}, {layer.weight}, {layer.scale})
    {output} = Add(product, {layer.bias})
""")


def item_weights(layer: StoredLayer, target: Target, ids: str, output: str) -> Nodes:
    """The nodes from items, int64 [B, M], to their weights in the last layer, ``output``, float32 [B, M, H]."""
    if target.precision == "fp32":
        return layer.nodes(f"    {output} = Gather({layer.weight}, {ids})\n")
    nodes = layer.nodes(f"    {output}_stored = Gather({layer.weight}, {ids})\n")
    if target.precision == "fp16":
        return nodes + f"    {output} = Cast <to: int = 1> ({output}_stored)\n"
    if target.precision == "int4":
        return nodes + quantise.halves(f"{output}_stored", f"{output}_") + _from_blocks(layer, ids, output)
    return nodes + layer.nodes(f"""
    {output}_wide = Cast <to: int = 1> ({output}_stored)
    {output}_scales = Gather({layer.scale}, {ids})
    {output}_scale = Unsqueeze({output}_scales, axis2)
    {output} = Mul({output}_wide, {output}_scale)
""")


def _from_blocks(layer: StoredLayer, ids: str, output: str) -> Nodes:
    """From the halves of MatMulNBits's bytes, whose units alternate: the lower one comes first."""
    items, blocks, _ = layer.constants[layer.weight].shape
    text = f"""
    {output}_even = Unsqueeze({output}_lower, axis4)
    {output}_odd = Unsqueeze({output}_upper, axis4)
    {output}_pairs = Concat <axis: int = 4> ({output}_even, {output}_odd)
    {output}_blocks = Reshape({output}_pairs, block_shape)
    {output}_centred = Sub({output}_blocks, eight)
    {output}_all_scales = Reshape({layer.scale}, block_scale_shape)
    {output}_scales = Gather({output}_all_scales, {ids})
    {output}_scale = Unsqueeze({output}_scales, axis3)
    {output}_scaled = Mul({output}_centred, {output}_scale)
    {output}_all_units = Reshape({output}_scaled, all_units_shape)
    {output} = Slice({output}_all_units, from_start, last_units, axis2)
"""
    shapes = {
        "block_shape": np.array([0, 0, blocks, BLOCK]),
        "block_scale_shape": np.array([items, blocks]),
        "all_units_shape": np.array([0, 0, blocks * BLOCK]),
        "last_units": np.array([layer.units]),
    }
    return Nodes(text, {**layer.constants, **shapes})


def listed_scores(layer: StoredLayer, target: Target, source: str, ids: str) -> Nodes:
    """The nodes from ``source`` [B, H] to ``listed_scores`` of some items, int64 [B, M] -> float32 [B, M]."""
    return item_weights(layer, target, ids, "listed_weights") + layer.nodes(f"""
    source_column = Unsqueeze({source}, axis2)
    listed_products = MatMul(listed_weights, source_column)
    listed_sums = Squeeze(listed_products, axis2)
    listed_biases = Gather({layer.bias}, {ids})
    listed_scores = Add(listed_sums, listed_biases)
""")


def score_drops(layer: StoredLayer, target: Target, source: str, without: str, ids: str) -> Nodes:
    """The nodes to ``score_drop`` [B, k, L], by how much each score drops without each item of the history.

    Args:
        layer: the last layer.
        target: what the file is to be.
        source: the input of the layer for the histories, [B, H].
        without: its input for the histories without each of their items, [B * L, H].
        ids: the returned items, int64 [B, k].
    """
    text = f"""
    without_shape = Concat <axis: int = 0> (batch_shape, length_shape, last_units)
    without_rows = Reshape <allowzero: int = 1> ({without}, without_shape)
    source_row = Unsqueeze({source}, axis1)
    difference = Sub(source_row, without_rows)
    difference_columns = Transpose <perm: ints = [0, 2, 1]> (difference)
    score_drop = MatMul(returned_weights, difference_columns)
"""
    return item_weights(layer, target, ids, "returned_weights") + Nodes(text, {"last_units": np.array([layer.units])})
