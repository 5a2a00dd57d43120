"""A model as an ONNX graph, written out in ONNX's own text form.

``batch`` histories, ``length`` their padded length, C items of the catalogue with the padding item (id 0). The three graphs
share their middle: the encoder after its first layer, and the decoder.

Every operator but the two string look-ups has a CUDA kernel at opset 18 (``cuda_kernels.json``).
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import ModelProto, numpy_helper

from multvae_export.errors import OptionError
from multvae_export.model import Model

CONTRACT_VERSION = 1
IO = ("tokens", "ids", "dense")
#: 18 has ReduceSum by input axes everywhere and is the newest that the CUDA provider has kernels registered up to.
OPSETS = (16, 17, 18)
IR_VERSION = 9
#: A protobuf message is at most 2 GiB; larger weights go into a file beside the graph.
EXTERNAL_BYTES = 2**31 - 2**20
#: Smaller constants stay in the graph: shape inference reads them.
INLINE_BYTES = 1024

DOCS = {
    "history": {
        "tokens": 'Item tokens, string [batch, length]. "" pads. Unknown ones are ignored, repeats count once.',
        "ids": "RecBole item ids, int64 [batch, length]. 0 pads. Unknown ones are ignored, repeats count once.",
    },
    "x": {
        "dense": "Multi-hot histories, float32 [batch, n_items], in RecBole's order of ids; column 0 is the padding item."
    },
    "k": {io: "How many items to return, int64 [1]; more than the catalogue holds is clamped." for io in ("tokens", "ids")},
    "items": {
        "tokens": 'The k best unseen items by token, string [batch, k], best first; "" where fewer remain.',
        "ids": "The k best unseen items by RecBole id, int64 [batch, k], best first; 0 where fewer remain.",
    },
    "scores": {
        "tokens": "Their logits, float32 [batch, k]; -inf where fewer remain.",
        "ids": "Their logits, float32 [batch, k]; -inf where fewer remain.",
        "dense": "The logits of all items, float32 [batch, n_items], seen items included; -inf for the padding item.",
    },
}

SIGNATURES = {
    "tokens": "(string[batch, length] history, int64[1] k) => (string[batch, k] items, float[batch, k] scores)",
    "ids": "(int64[batch, length] history, int64[1] k) => (int64[batch, k] items, float[batch, k] scores)",
    "dense": "(float[batch, n_items] x) => (float[batch, n_items] scores)",
}

#: Each position of the history writes its number into the row of the catalogue; the one that stands there in the end is the
#: one that counts, and what nobody wrote to is unseen.
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
#: The first layer: the sum of the rows of the items, over the square root of their number.
SPARSE = """
    click = Cast <to: int = 1> (counts)
    click_row = Unsqueeze(click, axis1)
    rows = Gather(table, item)
    weighted = MatMul(click_row, rows)
    sum = Squeeze(weighted, axis1)
    number = ReduceSum <keepdims: int = 1> (click, axis1)
    at_least_one = Max(number, one)
    norm = Sqrt(at_least_one)
    mean = Div(sum, norm)
    hidden0 = Add(mean, bias0)
"""
DENSE = """
    square = Mul(x, x)
    sum_of_squares = MatMul(square, real)
    norm = Sqrt(sum_of_squares)
    divisor = Max(norm, tiny)
    unit = Div(x, divisor)
    sum = MatMul(unit, table)
    hidden0 = Add(sum, bias0)
"""
RANK = Template("""
    unseen = Where(seen, lowest, logits)
    most = Min(k, n_real)
    scores, best = TopK <axis: int = 1, largest: int = 1, sorted: int = 1> (unseen, most)
    ended = Equal(scores, lowest)
    $items = Where(ended, zero, best)
""")


def _network(model: Model, output: str) -> Iterator[str]:
    """The layers after the first, from ``hidden0`` to the output."""
    scorer = model.scorer
    depth, last = len(scorer.encoder), len(scorer.encoder) + len(scorer.decoder) - 1
    for n in range(1, last + 1):
        source = f"hidden{n - 1}"
        if n != depth or scorer.latent_tanh:
            yield f"    active{n - 1} = Tanh({source})"
            source = f"active{n - 1}"
        yield f"    {output if n == last else f'hidden{n}'} = Gemm({source}, weight{n}, bias{n})"


def _body(model: Model, io: str) -> str:
    network = "\n".join(_network(model, "scores" if io == "dense" else "logits"))
    if io == "dense":
        return DENSE + network
    if io == "ids":
        return SEEN.substitute(ids="history") + SPARSE + network + RANK.substitute(items="items")
    ranked = SEEN.substitute(ids="ids") + SPARSE + network + RANK.substitute(items="best_ids")
    return f"\n    ids = LabelEncoder(history){ranked}    items = Gather(tokens, best_ids)\n"


def _constants(model: Model, io: str) -> dict[str, Any]:
    """The initializers: weights with a row and a column for the padding item, and the few numbers that the graphs name."""
    scorer, n_items = model.scorer, model.scorer.n_items
    first, *others = [(weight.numpy(), bias.numpy()) for weight, bias in (*scorer.encoder, *scorer.decoder)]
    values: dict[str, Any] = {"table": np.pad(first[0], ((1, 0), (0, 0))), "bias0": first[1]}
    for n, (weight, bias) in enumerate(others, 1):
        values[f"weight{n}"], values[f"bias{n}"] = weight, bias
    values[f"weight{n}"] = np.pad(values[f"weight{n}"], ((0, 0), (1, 0)))
    values[f"bias{n}"] = np.pad(values[f"bias{n}"], (1, 0), constant_values=-np.inf)
    if io == "dense":
        real = np.ones((n_items, 1), np.float32)
        real[0] = 0
        return values | {"real": real, "tiny": np.float32(1e-12)}
    values |= {
        "zero": np.int64(0), "n_items": np.array([n_items]), "n_real": np.array([n_items - 1]), "axis1": np.array([1]),
        "start": np.int32(0), "step": np.int32(1), "unwritten": np.int32(-1), "one": np.float32(1),
        "lowest": np.float32(-np.inf),
    }  # fmt: skip
    return values | ({"tokens": np.array(["", *model.tokens[1:]], dtype=object)} if io == "tokens" else {})


def _label_encoder(graph: onnx.GraphProto, model: Model) -> None:
    """Give the token look-up its table: the padding item's token has no entry, and is unknown like any other."""
    node = next(node for node in graph.node if node.op_type == "LabelEncoder")
    node.domain = "ai.onnx.ml"
    node.attribute.extend(
        [
            onnx.helper.make_attribute("keys_strings", list(model.tokens[1:])),
            onnx.helper.make_attribute("values_int64s", list(range(1, len(model.tokens)))),
            onnx.helper.make_attribute("default_int64", 0),
        ]
    )


def _metadata(model: Model, io: str) -> dict[str, str]:
    tools = {name: version(name) for name in ("torch", "onnx")} | {"python": platform.python_version()}
    return {
        "contract_version": str(CONTRACT_VERSION),
        "io": io,
        "model": model.name,
        "model_spec": json.dumps({"sizes": model.sizes, "latent_tanh": model.scorer.latent_tanh}),
        "dataset": model.dataset,
        "n_items": str(model.scorer.n_items),
        "item_tokens_sha256": model.token_digest,
        "metrics": json.dumps(model.metrics),
        "tools": json.dumps(tools),
    }


def to_onnx(model: Model, io: str = "tokens", opset: int = 18, k_default: int | None = None) -> ModelProto:
    """Write the graph of a model.

    Args:
        model: what to export.
        io: ``tokens``, ``ids`` or ``dense``: see the contract.
        opset: 16, 17 or 18.
        k_default: the value of ``k`` for a caller who gives none; None makes ``k`` required.

    Raises:
        OptionError: an option is outside its range.
    """
    if io not in IO:
        raise OptionError(f"--io={io} is not known: expected {', '.join(IO)}.")
    if opset not in OPSETS:
        raise OptionError(f"--opset={opset} is not supported: expected {OPSETS[0]} to {OPSETS[-1]}.")
    if k_default is not None and (io == "dense" or k_default < 1):
        raise OptionError(f"--k-default={k_default} does not fit: expected 1 or more, and --io=tokens or --io=ids.")
    text = f'<ir_version: {IR_VERSION}, opset_import: ["": {opset}, "ai.onnx.ml": 3]>\n{model.name} {SIGNATURES[io]} {{'
    proto = onnx.parser.parse_model(text + _body(model, io) + "}")
    graph = proto.graph
    constants = _constants(model, io)
    if k_default is not None:
        constants["k"] = np.array([k_default])
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value) if np.ndim(value) else value, name))
    if io == "tokens":
        _label_encoder(graph, model)
    for value in (*graph.input, *graph.output):
        value.doc_string = DOCS[value.name][io]
    if io == "dense":
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.shape.dim[1].dim_value = model.scorer.n_items
    proto.producer_name = "multvae-export"
    proto.doc_string = f"{model.name} trained on {model.dataset}: {DOCS['items'].get(io, DOCS['scores'][io])}"
    onnx.helper.set_model_props(proto, _metadata(model, io))
    return proto


def write(proto: ModelProto, path: Path) -> None:
    """Save a graph, its weights in ``<name>.data`` beside it where they are too large for one file."""
    external = sum(len(tensor.raw_data) for tensor in proto.graph.initializer) > EXTERNAL_BYTES
    onnx.save_model(
        proto,
        path,
        save_as_external_data=external,
        location=f"{path.name}.data" if external else None,
        size_threshold=INLINE_BYTES,
    )
