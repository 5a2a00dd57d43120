"""Some columns of the last layer, for the options that need no other: the items of ``--filters`` and of ``--reasons``.

The weights of the last layer are stored as [C, H] then, so that those of an item lie together. What is computed with them is
in float32, from the weights as they are stored: of int8 and int4 the input of the layer is not rounded.

``B`` histories, ``L`` their padded length, ``C`` items of the catalogue, ``M`` items of a list, ``H`` units that the last
layer reads.
"""

from __future__ import annotations

from string import Template
from typing import Any

import numpy as np

from multvae_export.graph.quantise import BLOCK

#: The columns of the last layer for some items, [B, M], whose weights lie together for each item: [B, M, H].
COLUMNS = {
    "fp32": Template("""
    $columns = Gather(weight$n, $ids)"""),
    "fp16": Template("""
    ${columns}_stored = Gather(weight$n, $ids)
    $columns = Cast <to: int = 1> (${columns}_stored)"""),
    "int8": Template("""
    ${columns}_stored = Gather(weight$n, $ids)
    ${columns}_wide = Cast <to: int = 1> (${columns}_stored)
    ${columns}_scales = Gather(full_scale$n, $ids)
    ${columns}_scale = Unsqueeze(${columns}_scales, axis2)
    $columns = Mul(${columns}_wide, ${columns}_scale)"""),
    "int4": Template("""
    ${columns}_stored = Gather(weight$n, $ids)
    ${columns}_bytes = Cast <to: int = 1> (${columns}_stored)
    ${columns}_sixteenths = Mul(${columns}_bytes, sixteenth)
    ${columns}_upper = Floor(${columns}_sixteenths)
    ${columns}_upper_sixteen = Mul(${columns}_upper, sixteen)
    ${columns}_lower = Sub(${columns}_bytes, ${columns}_upper_sixteen)
    ${columns}_even = Unsqueeze(${columns}_lower, axis4)
    ${columns}_odd = Unsqueeze(${columns}_upper, axis4)
    ${columns}_pairs = Concat <axis: int = 4> (${columns}_even, ${columns}_odd)
    ${columns}_blocks = Reshape(${columns}_pairs, block_shape)
    ${columns}_centred = Sub(${columns}_blocks, eight)
    ${columns}_by_item = Reshape(scale$n, scale_shape)
    ${columns}_scales = Gather(${columns}_by_item, $ids)
    ${columns}_scale = Unsqueeze(${columns}_scales, axis3)
    ${columns}_wide = Mul(${columns}_centred, ${columns}_scale)
    ${columns}_all = Reshape(${columns}_wide, row_shape)
    $columns = Slice(${columns}_all, first_unit, last_units, axis2)"""),
}


def columns(n: int, precision: str, ids: str, output: str) -> str:
    """The nodes from items, int64 [B, M], to their columns of layer ``n``, the last: float32 [B, M, units]."""
    return COLUMNS[precision].substitute(n=n, ids=ids, columns=output)


def few(n: int, source: str, precision: str, ids: str) -> str:
    """The nodes from ``source`` [B, units] to ``few_scores`` of some items, int64 [B, M] -> float32 [B, M]."""
    return f"""{columns(n, precision, ids, "few_weights")}
    few_source = Unsqueeze({source}, axis2)
    few_products = MatMul(few_weights, few_source)
    few_sums = Squeeze(few_products, axis2)
    few_biases = Gather(bias{n}, {ids})
    few_scores = Add(few_sums, few_biases)
"""


def raised(n: int, source: str, left: str, precision: str, ids: str) -> str:
    """The nodes from what the last layer reads to ``raised`` [B, k, L], by how much each item raises each score.

    Args:
        n: the last layer.
        source: what it reads of the histories, [B, units].
        left: and of the histories without each of their items, [B * L, units].
        precision: of the weights.
        ids: the returned items, int64 [B, k].
    """
    return f"""{columns(n, precision, ids, "returned_weights")}
    left_shape = Concat <axis: int = 0> (batch_shape, length_shape, last_units)
    left_rows = Reshape <allowzero: int = 1> ({left}, left_shape)
    source_row = Unsqueeze({source}, axis1)
    gap = Sub(source_row, left_rows)
    gap_columns = Transpose <perm: ints = [0, 2, 1]> (gap)
    raised = MatMul(returned_weights, gap_columns)
"""


def by_item(values: dict[str, Any], n: int, precision: str, units: int) -> dict[str, Any]:
    """What :func:`columns`, :func:`few` and :func:`raised` read, of the layers' constants; ``n`` is the last.

    Args:
        values: what :func:`.layers.constants` gives.
        n: the last layer.
        precision: of the weights.
        units: what the last layer reads.
    """
    found: dict[str, Any] = {"axis2": np.array([2]), "first_unit": np.array([0]), "last_units": np.array([units])}
    if precision == "int4":
        items, blocks, _ = values[f"weight{n}"].shape
        return found | {
            "axis3": np.array([3]),
            "axis4": np.array([4]),
            "block_shape": np.array([0, 0, blocks, BLOCK]),
            "scale_shape": np.array([items, blocks]),
            "row_shape": np.array([0, 0, blocks * BLOCK]),
        }
    found[f"weight{n}"] = values[f"weight{n}"].T
    if precision == "int8":
        found[f"full_scale{n}"] = values[f"scale{n}"] * np.float32(127)
    return found
