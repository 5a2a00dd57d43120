"""A single layer, which reads the history and scores the catalogue: the weights of some of its pairs of items.

``B`` histories, ``L`` their padded length, ``M`` items of a list, ``C`` items of the catalogue with the padding item.
"""

from __future__ import annotations

from string import Template
from typing import Any

import numpy as np

from multvae_export.graph.layers import SCALED

#: What an item of a history adds to the sum of an item of a list, before any scaling by the history: [B, L, M].
PAIRS = Template("""
    ${p}click = Cast <to: int = 1> (counts)
    ${p}begin = Mul(item, table_width)
    ${p}begin_row = Unsqueeze(${p}begin, axis2)$places
    ${p}column = Unsqueeze($column, axis1)
    ${p}place = Add(${p}begin_row, ${p}column)
    ${p}flat = Reshape(table, everything)
    ${p}stored = Gather(${p}flat, ${p}place)$wide$scale
    ${p}weight_column = Unsqueeze($weight, axis2)
    ${p}own = Mul($value, ${p}weight_column)
""")
#: int4 holds unit h beside unit h + half of them.
HALVES = Template("""
    ${p}is_lower = Less($ids, table_width)
    ${p}beyond = Sub($ids, table_width)
    ${p}byte = Where(${p}is_lower, $ids, ${p}beyond)""")
UNPACKED = Template("""
    ${p}bytes = Cast <to: int = 1> (${p}stored)
    ${p}sixteenths = Mul(${p}bytes, sixteenth)
    ${p}upper = Floor(${p}sixteenths)
    ${p}upper_sixteen = Mul(${p}upper, sixteen)
    ${p}lower = Sub(${p}bytes, ${p}upper_sixteen)
    ${p}lower_column = Unsqueeze(${p}is_lower, axis1)
    ${p}half = Where(${p}lower_column, ${p}lower, ${p}upper)
    ${p}wide = Sub(${p}half, eight)""")
SCALE = Template("""
    ${p}scale = Gather(table_scale, item)
    ${p}scaled = Mul(${p}click, ${p}scale)""")
#: The number of items, and the root of it that the sum is divided by.
NORM = Template("""
    ${p}number = ReduceSum <keepdims: int = 1> (${p}click, axis1)
    ${p}at_least_one = Max(${p}number, one)
    ${p}norm = Sqrt(${p}at_least_one)
    ${p}mean = Div(${p}sum, ${p}norm)
""")
SUM = Template("""
    ${p}sum = ReduceSum <keepdims: int = 0> (${p}own, axis1)
""")
FEW = Template("""
    few_biases = Gather(bias0, $ids)
    few_scores = Add($sum, few_biases)
""")
#: Without a norm an item raises a score by its weight.
RAISED = """
    raised = Transpose <perm: ints = [0, 2, 1]> (returned_own)
"""
RAISED_OF_NORM = """
    returned_whole = Unsqueeze(returned_sum, axis1)
    returned_left = Sub(returned_whole, returned_own)
    returned_fewer = Sub(returned_number, returned_click)
    returned_fewer_or_one = Max(returned_fewer, one)
    returned_fewer_norm = Sqrt(returned_fewer_or_one)
    returned_fewer_column = Unsqueeze(returned_fewer_norm, axis2)
    returned_left_mean = Div(returned_left, returned_fewer_column)
    returned_mean_row = Unsqueeze(returned_mean, axis1)
    returned_gap = Sub(returned_mean_row, returned_left_mean)
    raised = Transpose <perm: ints = [0, 2, 1]> (returned_gap)
"""


def _pairs(precision: str, ids: str, prefix: str) -> str:
    names = {"p": prefix, "ids": ids}
    packed = precision == "int4"
    wide = f"\n    {prefix}wide = Cast <to: int = 1> ({prefix}stored)" if precision in ("fp16", "int8") else ""
    return PAIRS.substitute(
        names,
        places=HALVES.substitute(names) if packed else "",
        column=f"{prefix}byte" if packed else ids,
        wide=UNPACKED.substitute(names) if packed else wide,
        scale=SCALE.substitute(names) if precision in SCALED else "",
        weight=f"{prefix}scaled" if precision in SCALED else f"{prefix}click",
        value=f"{prefix}stored" if precision == "fp32" else f"{prefix}wide",
    )


def few(precision: str, norm: bool, ids: str) -> str:
    """The nodes from the history to ``few_scores`` of some items, int64 [B, M] -> float32 [B, M]."""
    total = SUM.substitute(p="few_") + (NORM.substitute(p="few_") if norm else "")
    return _pairs(precision, ids, "few_") + total + FEW.substitute(ids=ids, sum="few_mean" if norm else "few_sum")


def raised(precision: str, norm: bool, ids: str) -> str:
    """The nodes from the history to ``raised``, by how much each of its items raises the scores of some, [B, M, L]."""
    nodes = _pairs(precision, ids, "returned_")
    if not norm:
        return nodes + RAISED
    return nodes + SUM.substitute(p="returned_") + NORM.substitute(p="returned_") + RAISED_OF_NORM


def constants(table: np.ndarray) -> dict[str, Any]:
    """What the nodes name, besides the constants of the layer; ``table`` are its weights as they are stored."""
    return {"table_width": np.int64(table.shape[1]), "everything": np.array([-1]), "axis2": np.array([2])}
