"""The forms of a file (``--io``): its inputs and outputs, with their documentation.

``batch`` histories, ``length`` their padded length, C items of the catalogue with the padding item (id 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Template

from multvae_export.target import Target

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
REASONS = (
    "By how much each item of the history raises each logit, float32 [batch, k, length]; 0 for padding, unknown and "
    "repeated ones."
)


@dataclass(frozen=True)
class Form:
    """The inputs and outputs of a file.

    Attributes:
        inputs, outputs: in ONNX's text form.
        docs: the documentation of each of them, by name; that of the first output also describes the file.
    """

    inputs: str
    outputs: str
    docs: dict[str, str]


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
    ),
    "dense": Form(
        "float[batch, n_items] x",
        "float[batch, n_items] scores",
        {
            "x": "Multi-hot histories, float32 [batch, n_items], in RecBole's order of ids; column 0 is the padding item.",
            "scores": "The logits of all items, float32 [batch, n_items], seen items included; -inf for the padding item.",
        },
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
    ),
}
IO = tuple(FORMS)


def form(target: Target) -> Form:
    """The form of a file with the inputs and outputs that its options add."""
    plain, options = FORMS[target.io], target.options
    kind, of_items = ("int64", "RecBole item ids, int64") if target.io == "ids" else ("string", "Item tokens, string")
    inputs, outputs, docs = plain.inputs, plain.outputs, dict(plain.docs)
    if options.filters:
        inputs += f", {kind}[exclude_batch, excluded] exclude, {kind}[among_batch, candidates] among"
        docs |= {"exclude": EXCLUDE.substitute(of_items=of_items), "among": AMONG.substitute(of_items=of_items)}
    if options.posterior:
        inputs += ", float[noise_batch, latent] noise"
        docs["noise"] = NOISE
    if options.reasons:
        outputs += ", float[batch, k, length] reasons"
        docs["reasons"] = REASONS
    return Form(inputs, outputs, docs)
