"""The last layer of a network alone, in a session of onnxruntime: the arithmetic that no request can do without."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnxruntime
import torch
from onnx import numpy_helper

from multvae_export.benchmark.session import CPU, Call, caller
from multvae_export.nodes.last_layer import last
from multvae_export.nodes.layers import store
from multvae_export.target import Target

#: A product of so many rows and items has the speed of a larger one.
ROWS, ITEMS = 128, 4096
HEAD = '<ir_version: 9, opset_import: ["": 18, "com.microsoft": 1]> last (float[B, H] source) => (float[B, C] scores)'


def last_layer(units: int, items: int, precision: str, provider: str) -> tuple[Call, float]:
    """A function that scores a part of the catalogue for ROWS inputs, and the share of that work which one row is.

    Args:
        units: H, that the layer reads.
        items: C, that it scores.
        precision: of its weights, and so of its arithmetic.
        provider: of onnxruntime.
    """
    some, target = min(items, ITEMS), Target("ids", precision)
    table = torch.zeros(some - 1, units), torch.zeros(units)
    *_, layer = store((table, (torch.zeros(units, some - 1), torch.zeros(some - 1))), target)
    nodes = last(layer, target, "source", "scores")
    proto = onnx.parser.parse_model(f"{HEAD} {{{nodes.text}}}")
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in nodes.constants.items()
    )
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=list(dict.fromkeys([provider, CPU])))
    source = np.ones((ROWS, layer.units), np.float32)
    return caller(session, [{"source": source}], bound=provider != CPU), items / some / ROWS
