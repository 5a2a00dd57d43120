"""A network of one layer, which reads the history and scores the catalogue: scores from the weights of pairs of items.

``B`` histories, ``L`` their padded length, ``M`` items of a list.
"""

from __future__ import annotations

import numpy as np

from multvae_export.nodes import quantise
from multvae_export.nodes.first_layer import click_norm, click_norm_without
from multvae_export.nodes.layers import StoredLayer
from multvae_export.nodes.nodes import Nodes
from multvae_export.target import Target


def listed_scores(layer: StoredLayer, target: Target, norm: bool, ids: str) -> Nodes:
    """The nodes from the history to ``listed_scores`` of some items, int64 [B, M] -> float32 [B, M]."""
    nodes = _contributions(layer, target, ids, "listed_") + _sum("listed_", norm)
    return nodes + layer.nodes(f"""
    listed_biases = Gather({layer.bias}, {ids})
    listed_scores = Add(listed_{"mean" if norm else "sum"}, listed_biases)
""")


def score_drops(layer: StoredLayer, target: Target, norm: bool, ids: str) -> Nodes:
    """The nodes to ``score_drop`` [B, M, L]: by how much the scores of some items drop without each item of the history."""
    nodes = _contributions(layer, target, ids, "returned_")
    if not norm:  # Without an item a score drops by the item's contribution.
        return nodes + "    score_drop = Transpose <perm: ints = [0, 2, 1]> (returned_contribution)\n"
    nodes += _sum("returned_", norm) + click_norm_without("returned_")
    return nodes + Nodes("""
    returned_sum_row = Unsqueeze(returned_sum, axis1)
    returned_sum_without = Sub(returned_sum_row, returned_contribution)
    returned_norm_column = Unsqueeze(returned_norm_without, axis2)
    returned_mean_without = Div(returned_sum_without, returned_norm_column)
    returned_mean_row = Unsqueeze(returned_mean, axis1)
    returned_difference = Sub(returned_mean_row, returned_mean_without)
    score_drop = Transpose <perm: ints = [0, 2, 1]> (returned_difference)
""")


def _sum(prefix: str, norm: bool) -> Nodes:
    nodes = Nodes(f"    {prefix}sum = ReduceSum <keepdims: int = 0> ({prefix}contribution, axis1)\n")
    return nodes + click_norm(prefix) + f"    {prefix}mean = Div({prefix}sum, {prefix}norm)\n" if norm else nodes


def _contributions(layer: StoredLayer, target: Target, ids: str, p: str) -> Nodes:
    """The nodes to ``contribution`` [B, L, M], the part of an item of the history in the sum of an item of a list.

    ``p`` is the prefix of their names.
    """
    packed, plain = target.precision == "int4", target.precision == "fp32"
    text = f"""
    {p}click = Cast <to: int = 1> (counts)
    {p}row_begin = Mul(item, table_width)
    {p}row_begin_column = Unsqueeze({p}row_begin, axis2)
    {p}column = Unsqueeze({f"{p}byte" if packed else ids}, axis1)
    {p}place = Add({p}row_begin_column, {p}column)
    {p}flat_table = Reshape({layer.weight}, flat_shape)
    {p}stored = Gather({p}flat_table, {p}place)
"""
    weight = "click"
    if target.scaled:
        weight = "scaled_click"
        text += f"""
    {p}row_scale = Gather({layer.scale}, item)
    {p}scaled_click = Mul({p}click, {p}row_scale)
"""
    width = {"table_width": np.int64(layer.constants[layer.weight].shape[1])}
    nodes = Nodes((_byte_of(ids, p) if packed else "") + text, {**layer.constants, **width})
    if packed:
        nodes += _unpacked(p)
    elif not plain:
        nodes += f"    {p}wide = Cast <to: int = 1> ({p}stored)\n"
    return nodes + Nodes(f"""
    {p}weight_column = Unsqueeze({p}{weight}, axis2)
    {p}contribution = Mul({p}{"stored" if plain else "wide"}, {p}weight_column)
""")


def _byte_of(ids: str, p: str) -> str:
    """The column of int4's table that holds each item: item h shares a byte with item h + half of them."""
    return f"""
    {p}is_lower = Less({ids}, table_width)
    {p}id_beyond = Sub({ids}, table_width)
    {p}byte = Where({p}is_lower, {ids}, {p}id_beyond)
"""


def _unpacked(p: str) -> Nodes:
    return quantise.halves(f"{p}stored", p) + Nodes(f"""
    {p}is_lower_row = Unsqueeze({p}is_lower, axis1)
    {p}number_in_byte = Where({p}is_lower_row, {p}lower, {p}upper)
    {p}wide = Sub({p}number_in_byte, eight)
""")
