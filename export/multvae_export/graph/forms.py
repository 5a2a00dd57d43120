"""The forms of a file (``--io``): what goes in and comes out, and the nodes before and after a model's own.

``batch`` histories, ``length`` their padded length, C items of the catalogue with the padding item (id 0).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from multvae_export.graph import filters, reasons
from multvae_export.target import Target

if TYPE_CHECKING:
    from multvae_export.architectures import Architecture

#: Every position of the history writes its own number to its item's place in a row of the whole catalogue. Of the positions
#: of one item only one number remains: that position counts, the others are repeats. An item without a number is unseen.
SEEN = Template("""
    known_above = Greater($ids, zero)
    known_below = Less($ids, n_items)
    known = And(known_above, known_below)
    item = Where(known, $ids, zero)
    shape = Shape($ids)
    batch_shape = Shape <start: int = 0, end: int = 1> ($ids)
    length_shape = Shape <start: int = 1, end: int = 2> ($ids)
    catalogue_shape = Concat <axis: int = 0> (batch_shape, n_items)
    nobody = ConstantOfShape <value: tensor = int32[1] {-1}> (catalogue_shape)
    length64 = Squeeze(length_shape)
    length = Cast <to: int = 6> (length64)
    numbers = Range(start, length, step)
    position = Expand(numbers, shape)
    writer = ScatterElements <axis: int = 1> (nobody, item, position)
    standing = GatherElements <axis: int = 1> (writer, item)
    stands = Equal(standing, position)
    counts = And(stands, known)
    seen = Greater(writer, unwritten)
""")
RANK = """
    unseen = Where($seen, lowest, logits)
    most = Min(k, n_real)
    scores, best = TopK <axis: int = 1, largest: int = 1, sorted: int = 1> (unseen, most)
    ended = Equal(scores, lowest)
"""
BY_ID = Template(RANK + "    items = Where(ended, zero, best)\n")
BY_TOKEN = Template(RANK + "    best_ids = Where(ended, zero, best)\n    items = Gather(tokens, best_ids)\n")

#: The training history of a user, cut out of the list of all: [batch, longest], 0 pads. An unknown user, id 0, has none.
HISTORY = """
    user_id = LabelEncoder(user)
    own_begin = Gather(history_begin, user_id)
    own_length = Gather(history_length, user_id)
    longest = ReduceMax <keepdims: int = 0> (own_length)
    own_place = Range(zero, longest, one_more)
    begin_column = Unsqueeze(own_begin, axis1)
    any_place = Add(begin_column, own_place)
    place = Min(any_place, history_last)
    any_item32 = Gather(table_history, place)
    any_item = Cast <to: int = 7> (any_item32)
    length_column = Unsqueeze(own_length, axis1)
    is_own = Less(own_place, length_column)
    ids = Where(is_own, any_item, zero)"""

K = "How many items to return, int64 [1]; more than the catalogue holds is clamped."
LOGITS = "Their logits, float32 [batch, k]; -inf where fewer remain."
EXCLUDE = Template(
    "$of_items [batch or 1, excluded]: never returned, and no part of the history. Padding and unknown ones are ignored."
)
AMONG = Template(
    "$of_items [batch or 1, candidates]: only these are ranked; length 0: all. Padding, unknown ones and repeats do not "
    "matter."
)
NOISE = (
    "float32 [batch or 1, K]: z is mu + sigma * noise. Zeros: no exploration; standard normal numbers: a sample of the "
    "posterior. A row that is not finite gets no item, of the form dense NaN."
)
REASONS_DOC = (
    "By how much each item of the history raises each logit, float32 [batch, k, length]; 0 for padding, unknown and "
    "repeated ones."
)


@dataclass(frozen=True)
class Form:
    """What goes in and comes out.

    Attributes:
        inputs, outputs: in ONNX's text form.
        docs: what each of them is, by its name, the input that asks first; the first output's is the file's too.
        before: the nodes from the inputs to what an architecture reads (:meth:`.Architecture.nodes`).
        scores: the name of the scores that the architecture gives.
        after: the nodes from the scores to the outputs; ``$seen`` is what must not be returned.
        ids: the name of the returned items' ids, int64 [batch, k].
    """

    inputs: str
    outputs: str
    docs: dict[str, str]
    before: str
    scores: str
    after: Template
    ids: str = ""

    @property
    def input(self) -> str:
        """The name of the input that asks: a history, clicks or users."""
        return next(iter(self.docs))


FORMS = {
    "tokens": Form(
        "string[batch, length] history, int64[1] k",
        "string[batch, k] items, float[batch, k] scores",
        {
            "history": 'Item tokens, string [batch, length]. "" pads. Unknown ones are ignored, repeats count once.',
            "k": K,
            "items": 'The k best unseen items by token, string [batch, k], best first; "" where fewer remain.',
            "scores": LOGITS,
        },
        "\n    ids = LabelEncoder(history)" + SEEN.substitute(ids="ids"),
        "logits",
        BY_TOKEN,
        "best_ids",
    ),
    "ids": Form(
        "int64[batch, length] history, int64[1] k",
        "int64[batch, k] items, float[batch, k] scores",
        {
            "history": "RecBole item ids, int64 [batch, length]. 0 pads. Unknown ones are ignored, repeats count once.",
            "k": K,
            "items": "The k best unseen items by RecBole id, int64 [batch, k], best first; 0 where fewer remain.",
            "scores": LOGITS,
        },
        SEEN.substitute(ids="history"),
        "logits",
        BY_ID,
        "items",
    ),
    "dense": Form(
        "float[batch, n_items] x",
        "float[batch, n_items] scores",
        {
            "x": "Multi-hot histories, float32 [batch, n_items], in RecBole's order of ids; column 0 is the padding item.",
            "scores": "The logits of all items, float32 [batch, n_items], seen items included; -inf for the padding item.",
        },
        "",
        "scores",
        Template(""),
    ),
    "users": Form(
        "string[batch] user, int64[1] k",
        "string[batch, k] items, float[batch, k] scores",
        {
            "user": "User tokens of the training data, string [batch]. An unknown or empty one gets no item.",
            "k": K,
            "items": "The k best items by token, without those the user has in training, string [batch, k], best first; "
            '"" where fewer remain.',
            "scores": LOGITS,
        },
        HISTORY + SEEN.substitute(ids="ids"),
        "logits",
        BY_TOKEN,
        "best_ids",
    ),
}
IO = tuple(FORMS)


def with_options(target: Target) -> Form:
    """A form with the inputs and outputs of options; without any it is the form itself."""
    form, tokens, options = FORMS[target.io], target.io != "ids", target.options
    kind, of_items = ("string", "Item tokens, string") if tokens else ("int64", "RecBole item ids, int64")
    inputs, outputs, docs, before, after = form.inputs, form.outputs, dict(form.docs), form.before, form.after.template
    if options.filters:
        inputs += f", {kind}[exclude_batch, excluded] exclude, {kind}[among_batch, candidates] among"
        docs |= {"exclude": EXCLUDE.substitute(of_items=of_items), "among": AMONG.substitute(of_items=of_items)}
        before += filters.lists(tokens)
    if options.posterior:
        inputs += ", float[noise_batch, latent] noise"
        docs["noise"] = NOISE
    if options.reasons:
        outputs += ", float[batch, k, length] reasons"
        docs["reasons"] = REASONS_DOC
    return replace(form, inputs=inputs, outputs=outputs, docs=docs, before=before, after=Template(after))


def body(architecture: Architecture, target: Target) -> str:
    """The nodes of a graph, one a line."""
    io, precision, options = target.io, target.precision, target.options
    form = with_options(target)
    nodes = form.before + architecture.scored(io, precision, form.scores, options) + "\n"
    nodes += form.after.substitute(seen="barred" if options.filters else "seen")
    return nodes + architecture.reasoned(precision, form.ids, options) + reasons.REASONS if options.reasons else nodes


def constants(n_items: int) -> dict[str, Any]:
    """The numbers that the shared nodes name; an architecture's may name them too."""
    return {
        "zero": np.int64(0), "n_items": np.array([n_items]), "n_real": np.array([n_items - 1]), "axis1": np.array([1]),
        "start": np.int32(0), "step": np.int32(1), "unwritten": np.int32(-1), "one": np.float32(1),
        "lowest": np.float32(-np.inf), "one_more": np.int64(1), "no_items": np.array([0]), "nought": np.float32(0),
        "axis2": np.array([2]), "few_items": np.array([max(1, int(filters.FEW * n_items))]),
    }  # fmt: skip
