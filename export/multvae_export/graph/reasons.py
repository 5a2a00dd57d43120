"""``--reasons``: by how much each item of the history raises the score of each returned item.

It is score(history) - score(history without the item), exactly, through the whole encoder. The sum of the first layer is
corrected rather than gathered again, and of the last layer only the returned items' columns are computed. Padding, unknown
and repeated items get 0, of a repeated item all but one position; a history of one item is compared with an empty one.

``B`` histories, ``L`` their padded length, ``k`` returned items.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Template

from multvae_export.graph.layers import SCALED

#: From ``raised`` [B, k, L]: nothing for what does not count, and for what pads the row of returned items.
REASONS = """
    counted = Unsqueeze(counts, axis1)
    kept = Not(ended)
    kept_column = Unsqueeze(kept, axis2)
    explained = And(counted, kept_column)
    reasons = Where(explained, raised, nought)
"""
#: The noise of a history for each history without one of its items: [B, K] -> [B * L, K].
NOISE = """
    noise_row = Unsqueeze(noise, axis1)
    noise_shape = Concat <axis: int = 0> (batch_shape, length_shape, latent_units)
    noise_rows = Expand(noise_row, noise_shape)
    left_noise = Reshape(noise_rows, noise_flat)
"""
#: The sum of the first layer [B, H] without each of its rows: [B, L, H]. ``number`` counts the items of a history.
WITHOUT = Template("""
    own_column = Unsqueeze($weight, axis2)$own
    whole = Unsqueeze(sum, axis1)
    without = Sub(whole, own)$norm
    without_units = Add($left, bias0)
    left_hidden0 = Reshape(without_units, units_flat)
""")
NORM = """
    fewer = Sub(number, click)
    fewer_or_one = Max(fewer, one)
    fewer_norm = Sqrt(fewer_or_one)
    fewer_column = Unsqueeze(fewer_norm, axis2)
    without_mean = Div(without, fewer_column)"""

#: Rows of the table for the items of a history, [B, L, H], times what each counts, ``own_column``.
OWN = {
    "fp32": """
    own = Mul(rows, own_column)""",
    "fp16": """
    own_wide = Cast <to: int = 1> (rows)
    own = Mul(own_wide, own_column)""",
    "int8": """
    own_wide = Cast <to: int = 1> (rows)
    own = Mul(own_wide, own_column)""",
    "int4": """
    own_bytes = Cast <to: int = 1> (rows)
    own_sixteenths = Mul(own_bytes, sixteenth)
    own_upper = Floor(own_sixteenths)
    own_upper_sixteen = Mul(own_upper, sixteen)
    own_lower = Sub(own_bytes, own_upper_sixteen)
    own_halves = Concat <axis: int = -1> (own_lower, own_upper)
    own_wide = Sub(own_halves, eight)
    own = Mul(own_wide, own_column)""",
}

_PRODUCED = re.compile(r"^\s*([\w, ]+?) =", re.MULTILINE)


def renamed(nodes: str, prefix: str, given: Mapping[str, str]) -> str:
    """The same nodes with other names: those they produce begin with a prefix, and some that they read are given.

    Args:
        nodes: in ONNX's text form, one a line.
        prefix: of what they produce.
        given: the new names of others, by the old ones.
    """
    produced = [name.strip() for names in _PRODUCED.findall(nodes) for name in names.split(",")]
    names = {name: prefix + name for name in produced} | dict(given)
    return re.sub(r"\w+", lambda word: names.get(word[0], word[0]), nodes)


def without(precision: str, norm: bool) -> str:
    """The nodes from those of :func:`.layers.first` to ``left_hidden0``: histories without each of their items.

    ``left_hidden0`` has a row for each history and item, [B * L, H].
    """
    return WITHOUT.substitute(
        weight="scaled" if precision in SCALED else "click",
        own=OWN[precision],
        norm=NORM if norm else "",
        left="without_mean" if norm else "without",
    )
