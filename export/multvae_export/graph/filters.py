"""``--filters``: items never to return (``exclude``) and items to rank alone (``among``; length 0: all).

They are no part of the history. Padding and unknown items are ignored, and repeats are harmless; a row of ``among`` that has
nothing else ranks nothing. Either has a row for each history, or one for all.

Of few items only their columns of the last layer are computed; the others' scores are -inf. ``B`` histories, ``M`` items of
``among``, ``C`` items of the catalogue with the padding item.
"""

from __future__ import annotations

from string import Template

#: Up to this share of the catalogue, the columns of some items are computed rather than all.
FEW = 1 / 16

#: The ids of a list, 0 for what is unknown, a row for each history: int64 [B, M].
_LIST = Template("""
    ${name}_above = Greater($ids, zero)
    ${name}_below = Less($ids, n_items)
    ${name}_known = And(${name}_above, ${name}_below)
    ${name}_some = Where(${name}_known, $ids, zero)
    ${name}_length = Shape <start: int = 1, end: int = 2> ($ids)
    ${name}_shape = Concat <axis: int = 0> (batch_shape, ${name}_length)
    ${name}_item = Expand(${name}_some, ${name}_shape)
    ${name}_marks = Expand(start, ${name}_shape)
""")
#: What was seen stays seen in ``writer``, which says at which position.
_BARRED = """
    barred_writer = ScatterElements <axis: int = 1> (writer, exclude_item, exclude_marks)
    barred = Greater(barred_writer, unwritten)
    all_wanted = Equal(among_length, no_items)
"""
_MASK = Template("""
    nobody_wanted = ConstantOfShape <value: tensor = int32[1] {-1}> (catalogue_shape)
    among_writer = ScatterElements <axis: int = 1> (nobody_wanted, among_item, among_marks)
    is_among = Greater(among_writer, unwritten)
    wanted = Or(is_among, all_wanted)
    $output = Where(wanted, $scores, lowest)
""")
_CHOICE = Template("""
    few_enough = Less(among_length, few_items)
    some_wanted = Not(all_wanted)
    few_wanted = And(few_enough, some_wanted)
    $output = If(few_wanted) <
        then_branch = few_columns () => (float[batch, items] few_logits) {
            $few
            nothing = Expand(lowest, catalogue_shape)
            few_logits = ScatterElements <axis: int = 1> (nothing, among_item, few_scores)
        },
        else_branch = all_columns () => (float[batch, items] all_logits) {
            $last
            $mask
        }>
""")


def lists(tokens: bool) -> str:
    """The nodes from the two inputs to ``barred``, what must not be returned, bool [B, C], and to ``among_item`` [B, M]."""
    nodes = ""
    for name in ("exclude", "among"):
        ids = f"{name}_ids" if tokens else name
        look_up = f"\n    {ids} = LabelEncoder({name})" if tokens else ""
        nodes += look_up + _LIST.substitute(name=name, ids=ids)
    return nodes + _BARRED


def masked(nodes: str, scores: str, output: str) -> str:
    """All scores, those that are not wanted at -inf.

    Args:
        nodes: which give the scores.
        scores: their name.
        output: the name of the result, float32 [B, C].
    """
    return f"{nodes}\n{_MASK.substitute(scores=scores, output=output)}"


def chosen(few: str, last: str, output: str) -> str:
    """The scores, of which a short ``among`` computes its own only.

    Args:
        few: nodes that give ``few_scores`` of ``among_item``, [B, M].
        last: nodes that give ``every_score``, [B, C].
        output: the name of the result.
    """
    mask = _MASK.substitute(scores="every_score", output="all_logits")
    return _CHOICE.substitute(few=few, last=last, mask=mask, output=output)
