"""A model as an ONNX file: the graph of :mod:`.graph` with its weights, documentation and metadata."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import ModelProto, numpy_helper

from multvae_export import quantise
from multvae_export.errors import OptionError
from multvae_export.graph import body
from multvae_export.model import Model
from multvae_export.quantise import PRECISIONS, Stored

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


def _weights(model: Model, precision: str) -> Iterator[tuple[str, np.ndarray]]:
    """The weights as they are stored, with a row and a column for the padding item."""
    layers = [(weight.numpy(), bias.numpy()) for weight, bias in (*model.scorer.encoder, *model.scorer.decoder)]
    # int4 packs two units to a byte: an odd layer gets a unit that does nothing.
    spare = layers[0][0].shape[1] % 2 if precision == "int4" else 0
    for n, (weight, bias) in enumerate(layers):
        stored: Stored
        if n == 0:
            stored, bias = quantise.table(np.pad(weight, ((1, 0), (0, spare))), precision), np.pad(bias, (0, spare))
        else:
            weight = np.pad(weight, ((0, spare if n == 1 else 0), (0, 0)))
            if n == len(layers) - 1:
                weight, bias = np.pad(weight, ((0, 0), (1, 0))), np.pad(bias, (1, 0), constant_values=-np.inf)
                stored = quantise.decoder(weight, precision)
            else:
                stored = quantise.hidden(weight, precision)
        yield f"weight{n}" if n else "table", stored.values
        if stored.scale is not None:
            yield f"scale{n}" if n else "table_scale", stored.scale
        yield f"bias{n}", bias


def _constants(model: Model, io: str, precision: str) -> dict[str, Any]:
    """The initializers: weights, and the few numbers that the graphs name."""
    n_items = model.scorer.n_items
    values: dict[str, Any] = dict(_weights(model, precision))
    last = len(model.sizes) - 2
    if precision == "int8":
        # A column's scale takes the 127 steps of the rows with it.
        values[f"scale{last}"] = values[f"scale{last}"] / np.float32(127)
        values |= {"tiny": np.float32(1e-12), "step8": np.float32(1 / 127), "middle8": np.uint8(128), "axis1": np.array([1])}
    if precision == "int4":
        values |= {"sixteenth": np.float32(1 / 16), "sixteen": np.float32(16), "eight": np.float32(8)}
        # Not -1: onnxruntime then gets the sum of a history of length zero wrong.
        values |= {"last_axis": np.array([1 if io == "dense" else 2])}
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


def _metadata(model: Model, io: str, precision: str) -> dict[str, str]:
    tools = {name: version(name) for name in ("torch", "onnx")} | {"python": platform.python_version()}
    return {
        "contract_version": str(CONTRACT_VERSION),
        "io": io,
        "precision": precision,
        "model": model.name,
        "model_spec": json.dumps({"sizes": model.sizes, "latent_tanh": model.scorer.latent_tanh}),
        "dataset": model.dataset,
        "n_items": str(model.scorer.n_items),
        "item_tokens_sha256": model.token_digest,
        "metrics": json.dumps(model.metrics),
        "tools": json.dumps(tools),
    }


def _check_options(io: str, opset: int, k_default: int | None, precision: str) -> None:
    if io not in IO:
        raise OptionError(f"--io={io} is not known: expected {', '.join(IO)}.")
    if opset not in OPSETS:
        raise OptionError(f"--opset={opset} is not supported: expected {OPSETS[0]} to {OPSETS[-1]}.")
    if k_default is not None and (io == "dense" or k_default < 1):
        raise OptionError(f"--k-default={k_default} does not fit: expected 1 or more, and --io=tokens or --io=ids.")
    if precision not in PRECISIONS:
        raise OptionError(f"--precision={precision} is not known: expected {', '.join(PRECISIONS)}.")


def to_onnx(
    model: Model, io: str = "tokens", opset: int = 18, k_default: int | None = None, precision: str = "fp32"
) -> ModelProto:
    """Write the graph of a model.

    Args:
        model: what to export.
        io: ``tokens``, ``ids`` or ``dense``: see the contract.
        opset: 16, 17 or 18.
        k_default: the value of ``k`` for a caller who gives none; None makes ``k`` required.
        precision: what the weights are stored in, and the products with the catalogue computed in: see :mod:`.graph`.

    Raises:
        OptionError: an option is outside its range.
    """
    _check_options(io, opset, k_default, precision)
    domain = ', "com.microsoft": 1' if precision == "int4" else ""
    text = (
        f'<ir_version: {IR_VERSION}, opset_import: ["": {opset}, "ai.onnx.ml": 3{domain}]>\n{model.name} {SIGNATURES[io]} {{'
    )
    proto = onnx.parser.parse_model(text + body(model, io, precision) + "}")
    graph = proto.graph
    constants = _constants(model, io, precision)
    if k_default is not None:
        constants["k"] = np.array([k_default])
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value) if np.ndim(value) else value, name))
    if io == "tokens":
        _label_encoder(graph, model)
    if precision == "int4":
        # ONNX infers no type behind an operator that is not its own.
        shape = ("batch", model.scorer.n_items)
        graph.value_info.append(onnx.helper.make_tensor_value_info("product", onnx.TensorProto.FLOAT, shape))
    for value in (*graph.input, *graph.output):
        value.doc_string = DOCS[value.name][io]
    if io == "dense":
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.shape.dim[1].dim_value = model.scorer.n_items
    proto.producer_name = "multvae-export"
    proto.doc_string = f"{model.name} trained on {model.dataset}: {DOCS['items'].get(io, DOCS['scores'][io])}"
    onnx.helper.set_model_props(proto, _metadata(model, io, precision))
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
