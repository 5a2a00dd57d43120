"""``--filters``: items never to return (``exclude``) and the only items to rank (``among``; length 0: all).

They are no part of the history. Padding and unknown items are ignored, and repeats are harmless; a row of ``among`` that has
nothing else ranks nothing. Either has a row for each history, or one for all.

If ``among`` is short, only the scores of its items are computed; the others are -inf. ``B`` histories, ``M`` items of
``among``, ``C`` items of the catalogue with the padding item.
"""

from __future__ import annotations

import numpy as np

from multvae_export.nodes.nodes import Nodes
from multvae_export.target import Target

#: An ``among`` of up to this share of the catalogue is short.
SHORT = 1 / 16


def lists(target: Target, n_items: int) -> Nodes:
    """The nodes from the two inputs to ``seen_or_excluded``, bool [B, C], and to ``among_item`` [B, M]."""
    nodes = Nodes()
    for name in ("exclude", "among"):
        ids = name if target.io == "ids" else f"{name}_ids"
        nodes += "" if ids == name else f"    {ids} = LabelEncoder({name})\n"
        nodes += _items(name, ids, n_items)
    return nodes + Nodes("""
    position_or_excluded = ScatterElements <axis: int = 1> (position_of_item, exclude_item, exclude_position)
    seen_or_excluded = Greater(position_or_excluded, minus_one_int32)
    ranks_all_items = Equal(among_length, no_items)
""")


def _items(name: str, ids: str, n_items: int) -> Nodes:
    """The nodes to the ids of a list, 0 for an unknown one, a row for each history: int64 [B, M]."""
    text = f"""
    {name}_above_padding = Greater({ids}, zero)
    {name}_below_end = Less({ids}, n_items)
    {name}_is_known = And({name}_above_padding, {name}_below_end)
    {name}_known = Where({name}_is_known, {ids}, zero)
    {name}_length = Shape <start: int = 1, end: int = 2> ({ids})
    {name}_shape = Concat <axis: int = 0> (batch_shape, {name}_length)
    {name}_item = Expand({name}_known, {name}_shape)
    {name}_position = Expand(zero_int32, {name}_shape)
"""
    return Nodes(text, {"n_items": np.array([n_items])})


def masked(nodes: Nodes, target: Target, output: str) -> Nodes:
    """Nodes that give scores [B, C] as ``output``. In a file with filters, items that are not to be ranked then get -inf."""
    if not target.options.filters:
        return nodes
    return nodes.renamed("", {output: "every_score"}) + _mask("every_score", output)


def _mask(scores: str, output: str) -> Nodes:
    return Nodes(f"""
    no_among_position = ConstantOfShape <value: tensor = int32[1] {{-1}}> (catalogue_shape)
    among_position_of_item = ScatterElements <axis: int = 1> (no_among_position, among_item, among_position)
    is_among = Greater(among_position_of_item, minus_one_int32)
    is_candidate = Or(is_among, ranks_all_items)
    {output} = Where(is_candidate, {scores}, minus_infinity)
""")


def chosen(listed: Nodes, every: Nodes, n_items: int, output: str) -> Nodes:
    """The nodes to the scores [B, C]. For a short ``among``, only the scores of its items are computed.

    Args:
        listed: nodes that give ``listed_scores`` of ``among_item``, [B, M].
        every: nodes that give ``every_score``, [B, C].
        n_items: C.
        output: the name of the result.
    """
    mask = _mask("every_score", "all_logits")
    text = f"""
    is_short = Less(among_length, most_listed_items)
    ranks_some_items = Not(ranks_all_items)
    scores_listed_only = And(is_short, ranks_some_items)
    {output} = If(scores_listed_only) <
        then_branch = listed_items () => (float[batch, items] listed_logits) {{
            {listed.text}
            no_scores = Expand(minus_infinity, catalogue_shape)
            listed_logits = ScatterElements <axis: int = 1> (no_scores, among_item, listed_scores)
        }},
        else_branch = all_items () => (float[batch, items] all_logits) {{
            {every.text}
            {mask.text}
        }}>
"""
    most = {"most_listed_items": np.array([max(1, int(SHORT * n_items))])}
    return Nodes(text, {**(listed + every + mask).constants, **most})
