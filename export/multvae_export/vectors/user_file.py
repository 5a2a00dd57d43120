"""``user.onnx`` and ``fold_in.onnx``: from a history, or a user by name, to a vector."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import ModelProto

from multvae_export.architectures.base import UserModel
from multvae_export.graph.forms import FORMS, Form
from multvae_export.graph.onnx_file import assembled, contract_metadata
from multvae_export.nodes.factors import DISTINCT, Factors
from multvae_export.nodes.nodes import Nodes
from multvae_export.target import Target
from multvae_export.trained_model import Model

#: What the files are: ``io`` in their metadata.
VECTORS = Target("vectors")
VECTOR = "The user's vector, float32 [batch, d]. Its inner product with an item's vector is the item's score, seen or not."


def user_file(model: Model, factors: Factors, opset: int, metadata: Mapping[str, str], own: Mapping[str, str]) -> ModelProto:
    """``user.onnx``: the vectors of a model's users.

    Args:
        model: the model.
        factors: its two factors.
        opset: 16, 17 or 18.
        metadata: entries of the user.
        own: entries of the files of vectors.
    """
    if isinstance(model.architecture, UserModel):
        doc = "User tokens of the training data, string [batch]. An unknown or empty one gets zeros."
        inputs, look_up = ("string[batch] user", {"user": doc}), Nodes("    user_id = LabelEncoder(user)\n")
        return _file(model, look_up + factors.vector, _form(*inputs, factors), opset, metadata, own)
    return history_file(model, factors, opset, metadata, own)


def history_file(
    model: Model, factors: Factors, opset: int, metadata: Mapping[str, str], own: Mapping[str, str]
) -> ModelProto:
    """The vectors of histories: ``fold_in.onnx``, and ``user.onnx`` of a model that reads them."""
    nodes = Nodes("    ids = LabelEncoder(history)\n") + DISTINCT + factors.vector
    docs = {"history": FORMS["tokens"].docs["history"]}
    return _file(model, nodes, _form("string[batch, length] history", docs, factors), opset, metadata, own)


def _form(inputs: str, docs: dict[str, str], factors: Factors) -> Form:
    return Form(inputs, f"float[batch, {factors.dimensions}] vector", {**docs, "vector": VECTOR})


def _file(
    model: Model, nodes: Nodes, form: Form, opset: int, metadata: Mapping[str, str], own: Mapping[str, str]
) -> ModelProto:
    proto = assembled(model, nodes, form, opset)
    onnx.helper.set_model_props(proto, contract_metadata(model, VECTORS, metadata, own))
    return proto
