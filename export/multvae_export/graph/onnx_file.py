"""A model as an ONNX file: the graph with its weights, documentation and metadata."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from shutil import copymode
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import ModelProto, numpy_helper

from multvae_export import __version__
from multvae_export.errors import OptionError
from multvae_export.graph import forms
from multvae_export.graph.body import body
from multvae_export.graph.forms import IO, Form
from multvae_export.graph.weights_digest import DIGEST, SECOND_FILE, add_bytes, add_digest
from multvae_export.nodes.nodes import Nodes
from multvae_export.nodes.quantise import PRECISIONS
from multvae_export.target import CONTRACT_VERSION, OPTIONS_VERSION, Target
from multvae_export.trained_model import Model

#: 18 has ReduceSum by input axes everywhere and is the newest that the CUDA provider has kernels registered up to.
OPSETS = (16, 17, 18)
#: From here on every reduction takes its axes as an input; before, only ReduceSum does.
AXES_AS_INPUT = 18
IR_VERSION = 9
#: A protobuf message is at most 2 GiB; larger weights go into a file beside the graph.
EXTERNAL_BYTES = 2**31 - 2**20
#: Smaller constants stay in the graph: shape inference reads them.
INLINE_BYTES = 1024


def _label_encoder(node: onnx.NodeProto, model: Model) -> None:
    """Give a token look-up its table, of users or of items: padding has no entry, and is unknown like any other."""
    tokens = model.architecture.user_tokens if node.input[0] == "user" else model.tokens
    node.domain = "ai.onnx.ml"
    node.attribute.extend(
        [
            onnx.helper.make_attribute("keys_strings", list(tokens[1:])),
            onnx.helper.make_attribute("values_int64s", list(range(1, len(tokens)))),
            onnx.helper.make_attribute("default_int64", 0),
        ]
    )


def contract_metadata(
    model: Model, target: Target, further: Mapping[str, str], own: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The metadata of a file.

    Args:
        model: in the file.
        target: what the file is to be.
        further: entries of the user.
        own: entries that only this kind of file has.

    Raises:
        OptionError: the user takes the name of another entry.
    """
    tools = {name: version(name) for name in ("torch", "onnx")} | {"python": platform.python_version()}
    options = target.options.names
    contract_entries = {
        "contract_version": str(OPTIONS_VERSION if options else CONTRACT_VERSION),
        **({"options": json.dumps(options)} if options else {}),
        "io": target.io,
        "precision": target.precision,
        "model": model.name,
        "model_spec": json.dumps(model.architecture.spec()),
        "dataset": model.dataset,
        "n_items": str(model.n_items),
        "item_tokens_sha256": model.token_digest,
        "metrics": json.dumps(model.metrics),
        **model.identity.entries(),
        "exporter_version": __version__,
        "tools": json.dumps(tools),
        **(own or {}),
    }
    if taken := sorted({*contract_entries, DIGEST, SECOND_FILE} & further.keys()):
        raise OptionError(f"--metadata={taken[0]}=... is not allowed: the contract has this entry, take another name.")
    return {**contract_entries, **further}


def check_form(model: Model, target: Target, opset: int, k_default: int | None = None) -> None:
    """Refuse a form, an opset, a precision or a default of k that does not fit the model.

    Raises:
        OptionError: names the option, and what was expected.
    """
    architecture, io, precision = model.architecture, target.io, target.precision
    if io not in IO:
        raise OptionError(f"--io={io} is not known: expected {', '.join(IO)}.")
    if io not in architecture.forms:
        raise OptionError(f"--io={io} does not fit {model.name}: expected {', '.join(architecture.forms)}.")
    check_opset(opset)
    if k_default is not None and (target.dense or k_default < 1):
        ranking = [f"--io={name}" for name in architecture.forms if Target(name).ranks]
        raise OptionError(f"--k-default={k_default} does not fit: expected 1 or more, and {' or '.join(ranking)}.")
    if precision not in PRECISIONS:
        raise OptionError(f"--precision={precision} is not known: expected {', '.join(PRECISIONS)}.")


def check_opset(opset: int) -> None:
    """Refuse an opset that is not supported, with OptionError."""
    if opset not in OPSETS:
        raise OptionError(f"--opset={opset} is not supported: expected {OPSETS[0]} to {OPSETS[-1]}.")


def check_options(model: Model, target: Target) -> None:
    """Refuse an option that does not fit the form or the model.

    Raises:
        OptionError: names the option, and why it does not fit.
    """
    architecture, io, options = model.architecture, target.io, target.options
    if options.filters and target.dense:
        raise OptionError("--filters does not fit --io=dense, which returns all scores: filter them in your program.")
    if options.reasons and (target.dense or target.by_users):
        raise OptionError(f"--reasons does not fit --io={io}: expected tokens or ids, whose history has items to name.")
    if options.reasons and architecture.no_reasons_because:
        raise OptionError(f"--reasons does not fit {model.name}, because {architecture.no_reasons_because}.")
    if options.posterior and not architecture.latent_units:
        raise OptionError(
            f"--posterior does not fit {model.name}, for which no posterior is exported: "
            "expected MultVAE, MultiVAE or RecVAE."
        )


def to_onnx(
    model: Model,
    target: Target,
    opset: int = 18,
    metadata: Mapping[str, str] | None = None,
) -> ModelProto:
    """Write the graph of a model.

    Args:
        model: the model to export.
        target: the form, the precision and the options of the file.
        opset: 16, 17 or 18.
        metadata: further entries of the file's metadata, under names that the contract does not use.

    Raises:
        OptionError: an option is outside its range, or does not fit the model.
    """
    check_form(model, target, opset)
    check_options(model, target)
    proto = assembled(model, body(model.architecture, target, model.tokens), forms.form(target), opset)
    for node in (node for part in graphs(proto.graph) for node in part.node if target.options.names):
        node.name = node.output[0]  # For onnxruntime's messages: lists of different batches do not fit together.
    _set_sizes(proto.graph, model, target)
    onnx.helper.set_model_props(proto, contract_metadata(model, target, metadata or {}))
    return proto


def assembled(model: Model, nodes: Nodes, form: Form, opset: int) -> ModelProto:
    """The file of some nodes and their constants, with its documentation, still without metadata."""
    domain = ', "com.microsoft": 1' if "com.microsoft" in nodes.text else ""
    head = f'<ir_version: {IR_VERSION}, opset_import: ["": {opset}, "ai.onnx.ml": 3{domain}]>\ngraph'
    proto = onnx.parser.parse_model(f"{head} ({form.inputs}) => ({form.outputs}) {{{nodes.text}}}")
    graph = proto.graph
    if opset < AXES_AS_INPUT:
        _set_axes(graph, nodes.constants)
    _add_constants(graph, nodes.constants)
    for part in graphs(graph):
        _complete(part, model)
    _document(proto, model, form.docs)
    return proto


def _document(proto: ModelProto, model: Model, docs: Mapping[str, str]) -> None:
    """Describe the file, its inputs and its outputs."""
    graph = proto.graph
    for value in (*graph.input, *graph.output):
        value.doc_string = docs[value.name]
    graph.name = model.name
    proto.producer_name, proto.producer_version = "multvae-export", __version__
    proto.model_version = model.identity.version
    proto.doc_string = f"{model.name} trained on {model.dataset}: {docs[graph.output[0].name]}"


def _set_sizes(graph: onnx.GraphProto, model: Model, target: Target) -> None:
    """State the sizes of inputs and outputs that are known."""
    for value in (*graph.input, *graph.output):
        if value.name == "noise":
            value.type.tensor_type.shape.dim[1].dim_value = model.architecture.latent_units
        elif target.dense:
            value.type.tensor_type.shape.dim[1].dim_value = model.n_items


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph, and those in its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)


def _complete(graph: onnx.GraphProto, model: Model) -> None:
    """Give look-ups their tables, and onnxruntime's product with a table a type: ONNX infers none behind it."""
    for node in graph.node:
        if node.op_type == "LabelEncoder":
            _label_encoder(node, model)
        if node.op_type == "MatMulNBits":
            shape = (model.architecture.rows, model.n_items)
            graph.value_info.append(onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, shape))


def _set_axes(graph: onnx.GraphProto, values: Mapping[str, Any]) -> None:
    """Write the axes of reductions as attributes, where they are written as inputs."""
    for node in (node for part in graphs(graph) for node in part.node):
        if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum" and len(node.input) == 2:
            node.attribute.append(onnx.helper.make_attribute("axes", values[node.input.pop()].tolist()))


def _add_constants(graph: onnx.GraphProto, values: Mapping[str, Any]) -> None:
    """Add the constants that a node still reads: :func:`_set_axes` leaves some unread."""
    read = {name for part in graphs(graph) for node in part.node for name in node.input}
    for name, value in values.items():
        if name in read:
            array = np.ascontiguousarray(value) if np.ndim(value) else value
            graph.initializer.append(numpy_helper.from_array(array, name))


def write(proto: ModelProto, path: Path) -> None:
    """Save a graph with the digest of its weights: see :mod:`.weights_digest`.

    Weights that are too large for one file go into a second beside it, ``<name>.<digest>.data``. This digest is of the
    second file: a graph names the file that it was written with, and finds no other.
    """
    if sum(len(tensor.raw_data) for tensor in proto.graph.initializer) > EXTERNAL_BYTES:
        proto.metadata_props.add(key=SECOND_FILE, value=_write_weights(proto, path))
    onnx.save_model(proto, path)
    add_digest(path, metadata_of(proto))


def _write_weights(proto: ModelProto, path: Path) -> str:
    """Move the weights into a second file. Returns its name."""
    data = path.with_name(f"{path.name}.data")
    onnx.save_model(proto, path, save_as_external_data=True, location=data.name, size_threshold=INLINE_BYTES)
    copymode(path, data)  # onnx lets nobody else read it.
    digest = hashlib.sha256()
    with data.open("rb") as file:
        add_bytes(digest, file)
    named = data.rename(path.with_name(f"{path.name}.{digest.hexdigest()[:16]}.data"))
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = named.name
    return named.name


def metadata_of(proto: ModelProto) -> dict[str, str]:
    """The metadata of a file."""
    return {entry.key: entry.value for entry in proto.metadata_props}


def set_default_k(path: Path, k: int) -> None:
    """Give the input ``k`` of a written file a value, for a caller who gives none."""
    proto = onnx.load(path, load_external_data=False)
    proto.graph.initializer.append(numpy_helper.from_array(np.array([k]), "k"))
    metadata = metadata_of(proto)
    del metadata[DIGEST]
    onnx.helper.set_model_props(proto, metadata)
    onnx.save_model(proto, path)
    add_digest(path, metadata)
