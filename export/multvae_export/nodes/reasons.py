"""``--reasons``: by how much each item of the history raises the score of each returned item.

It is score(history) - score(history without the item), exactly, through the whole encoder. The sum of the first layer is
corrected rather than gathered again, and of the last layer only the returned items' columns are computed. Padding, unknown
and repeated items get 0, of a repeated item all but one position; a history of one item is compared with an empty one.

``B`` histories, ``L`` their padded length, ``k`` returned items, ``H`` units of the first layer.
"""

from __future__ import annotations

import numpy as np

from multvae_export.nodes import quantise
from multvae_export.nodes.first_layer import click_norm_without
from multvae_export.nodes.layers import StoredLayer
from multvae_export.nodes.nodes import Nodes
from multvae_export.target import Target

#: From ``score_drop`` [B, k, L] to the output; 0 for positions that do not count, and for the padding of returned items.
REASONS = Nodes("""
    counts_row = Unsqueeze(counts, axis1)
    is_item = Not(is_padding)
    is_item_column = Unsqueeze(is_item, axis2)
    has_reason = And(counts_row, is_item_column)
    reasons = Where(has_reason, score_drop, zero_float)
""")


def contributions(target: Target, clicks: str) -> Nodes:
    """The nodes from ``clicks`` [B, L] to ``contribution``: the rows of the table that a history's items add, [B, L, H]."""
    wide, rows = quantise.widened("rows", target.precision)
    return wide + Nodes(f"""
    click_column = Unsqueeze({clicks}, axis2)
    contribution = Mul({rows}, click_column)
""")


def without_each_item(layer: StoredLayer, target: Target, norm: bool) -> Nodes:
    """After the nodes of the first layer: ``without_hidden0`` [B * L, H], of histories without each of their items."""
    text = """
    sum_row = Unsqueeze(sum, axis1)
    sum_without = Sub(sum_row, contribution)
"""
    nodes = contributions(target, "scaled_click" if target.scaled else "click") + text
    if norm:
        nodes += click_norm_without() + Nodes("""
    norm_column = Unsqueeze(norm_without, axis2)
    mean_without = Div(sum_without, norm_column)
""")
    bias = layer.constants[layer.bias]
    text = f"""
    units_without = Add({"mean" if norm else "sum"}_without, {layer.bias})
    without_hidden0 = Reshape(units_without, unit_rows_shape)
"""
    return nodes + Nodes(text, {layer.bias: bias, "unit_rows_shape": np.array([-1, len(bias)])})
