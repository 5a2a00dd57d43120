"""The first layer, which reads the history: a sum of rows of the table for item ids, a product for multi-hot rows.

``B`` histories in the batch, ``L`` their padded length, ``C`` items of the catalogue with the padding item, ``H`` units.
"""

from __future__ import annotations

import numpy as np

from multvae_export.nodes import quantise
from multvae_export.nodes.layers import StoredLayer
from multvae_export.nodes.nodes import Nodes
from multvae_export.target import Target


def first(
    layer: StoredLayer, target: Target, norm: bool, output: str = "hidden0", item: str = "item", counts: str = "counts"
) -> Nodes:
    """The nodes of the first layer, from the history to ``output`` [B, H].

    Args:
        layer: its weights.
        target: what the file is to be.
        norm: whether x / ||x||_2 is read instead of x.
        output: the name of the result.
        item: the name of the rows of the table that a history reads, int64 [B, L].
        counts: the name of the mask of rows that count, bool [B, L].
    """
    if target.dense:
        return _from_multi_hot(layer, target, norm, output)
    nodes, weight = Nodes(f"    click = Cast <to: int = 1> ({counts})\n"), "click"
    if target.scaled:
        nodes += scaled_clicks(layer, "click", item)
        weight = "scaled_click"
    nodes += layer.nodes(f"""
    click_row = Unsqueeze({weight}, axis1)
    rows = Gather({layer.weight}, {item})
""")
    nodes += product(target.precision, "click_row", "rows", "weighted_sum", axis="axis2")
    nodes += "    sum = Squeeze(weighted_sum, axis1)\n"
    if norm:
        nodes += click_norm() + "    mean = Div(sum, norm)\n"
    return nodes + layer.nodes(f"    {output} = Add({'mean' if norm else 'sum'}, {layer.bias})\n")


def _from_multi_hot(layer: StoredLayer, target: Target, norm: bool, output: str) -> Nodes:
    clicks = "unit_x" if norm else "x"
    nodes = unit_rows(len(layer.constants[layer.weight])) if norm else Nodes()
    if target.scaled:
        nodes += layer.nodes(f"    scaled_x = Mul({clicks}, {layer.scale})\n")
        clicks = "scaled_x"
    nodes += layer.nodes(product(target.precision, clicks, layer.weight, "sum", axis="axis1").text)
    return nodes + layer.nodes(f"    {output} = Add(sum, {layer.bias})\n")


def scaled_clicks(layer: StoredLayer, clicks: str, item: str = "item") -> Nodes:
    """The nodes from clicks [B, L] to ``scaled_click``: each times the scale of its item's row of the table."""
    return layer.nodes(f"""
    row_scale = Gather({layer.scale}, {item})
    scaled_click = Mul({clicks}, row_scale)
""")


def unit_rows(n_items: int) -> Nodes:
    """The nodes from multi-hot rows ``x`` [B, C] to ``unit_x``, x / ||x||_2 without the padding item; an empty row stays."""
    is_real_item = np.ones((n_items, 1), np.float32)
    is_real_item[0] = 0
    text = """
    square = Mul(x, x)
    sum_of_squares = MatMul(square, is_real_item)
    x_norm = Sqrt(sum_of_squares)
    x_divisor = Max(x_norm, tiny)
    unit_x = Div(x, x_divisor)
"""
    return Nodes(text, {"is_real_item": is_real_item})


def click_norm(prefix: str = "") -> Nodes:
    """The nodes from ``click`` [B, L] to ``norm`` [B, 1], ||x||_2: the root of the ``number`` of items, 1 if it is 0."""
    return Nodes(f"""
    {prefix}number = ReduceSum <keepdims: int = 1> ({prefix}click, axis1)
    {prefix}at_least_one = Max({prefix}number, one_float)
    {prefix}norm = Sqrt({prefix}at_least_one)
""")


def click_norm_without(prefix: str = "") -> Nodes:
    """After :func:`click_norm`, the nodes to ``norm_without`` [B, L]: of a history without each of its items."""
    return Nodes(f"""
    {prefix}number_without = Sub({prefix}number, {prefix}click)
    {prefix}at_least_one_without = Max({prefix}number_without, one_float)
    {prefix}norm_without = Sqrt({prefix}at_least_one_without)
""")


def product(precision: str, clicks: str, table: str, output: str, axis: str) -> Nodes:
    """The nodes of the product of clicks, [..., L] or [B, C], with rows of the table as they are stored.

    Args:
        precision: of the table.
        clicks: the name of the clicks.
        table: the name of the rows.
        output: the name of the product, [..., H].
        axis: the last axis of the clicks. Not -1: onnxruntime then gets the sum of a history of length zero wrong.
    """
    if precision == "fp32":
        return Nodes(f"    {output} = MatMul({clicks}, {table})\n")
    if precision == "fp16":
        return Nodes(f"""
    clicks16 = Cast <to: int = 10> ({clicks})
    {output}16 = MatMul(clicks16, {table})
    {output} = Cast <to: int = 1> ({output}16)
""")
    if precision == "int8":
        return Nodes(f"""
    wide_rows = Cast <to: int = 1> ({table})
    {output} = MatMul({clicks}, wide_rows)
""")
    return quantise.upper_half(table) + Nodes(f"""
    bytes_sum = MatMul({clicks}, bytes)
    upper_sum = MatMul({clicks}, upper)
    upper_sum_times_16 = Mul(upper_sum, sixteen)
    lower_sum = Sub(bytes_sum, upper_sum_times_16)
    both_sums = Concat <axis: int = -1> (lower_sum, upper_sum)
    all_clicks = ReduceSum <keepdims: int = 1> ({clicks}, {axis})
    all_zeros = Mul(all_clicks, eight)
    {output} = Sub(both_sums, all_zeros)
""")
