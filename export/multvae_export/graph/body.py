"""All nodes of a graph: from the history to the input of a model, those of the model, and from its scores to the ranking.

``B`` histories, ``L`` their padded length, ``C`` items of the catalogue with the padding item (id 0).
"""

from __future__ import annotations

from string import Template

import numpy as np

from multvae_export.architectures.base import Architecture, Reasons, UserModel
from multvae_export.nodes import filters, reasons
from multvae_export.nodes.nodes import Nodes
from multvae_export.target import Target

#: Every position of the history writes its own number to its item's place in a row of the whole catalogue. Of the positions
#: of one item the last number remains: that position counts, the others are repeats. An item without a number is unseen.
_SEEN = Template("""
    above_padding = Greater($ids, zero)
    below_end = Less($ids, n_items)
    is_known = And(above_padding, below_end)
    item = Where(is_known, $ids, zero)
    history_shape = Shape($ids)
    batch_shape = Shape <start: int = 0, end: int = 1> ($ids)
    length_shape = Shape <start: int = 1, end: int = 2> ($ids)
    catalogue_shape = Concat <axis: int = 0> (batch_shape, n_items)
    no_position = ConstantOfShape <value: tensor = int32[1] {-1}> (catalogue_shape)
    history_length64 = Squeeze(length_shape)
    history_length = Cast <to: int = 6> (history_length64)
    position_row = Range(zero_int32, history_length, one_int32)
    position = Expand(position_row, history_shape)
    position_of_item = ScatterElements <axis: int = 1> (no_position, item, position)
    last_position = GatherElements <axis: int = 1> (position_of_item, item)
    is_last = Equal(last_position, position)
    counts = And(is_last, is_known)
    seen = Greater(position_of_item, minus_one_int32)
""")
_RANK = Template("""
    unseen_scores = Where($masked, minus_infinity, logits)
    clamped_k = Min(k, n_real_items)
    scores, best = TopK <axis: int = 1, largest: int = 1, sorted: int = 1> (unseen_scores, clamped_k)
    is_padding = Equal(scores, minus_infinity)
    $ids = Where(is_padding, zero, best)
""")


def body(architecture: Architecture, target: Target, tokens: tuple[str, ...]) -> Nodes:
    """All nodes of a graph; ``tokens`` are the items' by id."""
    if target.dense:
        return architecture.graph(target, "scores")
    ids = "items" if target.io == "ids" else "best_ids"
    masked = "seen_or_excluded" if target.options.filters else "seen"
    ranking = Nodes(_RANK.substitute(masked=masked, ids=ids), {"n_real_items": np.array([len(tokens) - 1])})
    if target.io != "ids":
        ranking += Nodes(f"    items = Gather(tokens, {ids})\n", {"tokens": np.array(["", *tokens[1:]], dtype=object)})
    history = _history(architecture, target, len(tokens))
    if isinstance(architecture, Reasons) and target.options.reasons:
        scores, score_drops = architecture.graph_with_reasons(target, "logits", ids)
        return history + scores + ranking + score_drops + reasons.REASONS
    return history + architecture.graph(target, "logits") + ranking


def _history(architecture: Architecture, target: Target, n_items: int) -> Nodes:
    """The nodes from the inputs of the graph to those of an architecture: see :meth:`.Architecture.graph`."""
    nodes, ids = Nodes(), "ids"
    if isinstance(architecture, UserModel):
        nodes += Nodes("    user_id = LabelEncoder(user)\n") + architecture.training_history()
    elif target.io == "tokens":
        nodes += "    ids = LabelEncoder(history)\n"
    else:
        ids = "history"
    nodes += Nodes(_SEEN.substitute(ids=ids), {"n_items": np.array([n_items])})
    return nodes + filters.lists(target, n_items) if target.options.filters else nodes
