"""What no request can do without, each alone in a session of onnxruntime: a read of the weights, and the last layer.

onnxruntime does both as it does in the files, with the same threads. Those of torch wait for each other, which takes
milliseconds where another program keeps the cores busy. Large work is done in part: the speed of the rest is the same.
"""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnxruntime
import torch
from onnx import numpy_helper

from multvae_export.benchmark.session import CPU, Call, caller
from multvae_export.nodes.last_layer import last
from multvae_export.nodes.layers import store
from multvae_export.nodes.nodes import Nodes
from multvae_export.target import Target

#: A product of so many rows and items has the speed of a larger one, and so many bytes are far more than a cache holds.
ROWS, ITEMS, BYTES = 128, 4096, 2**28
#: Rows of the matrix that is read.
UNITS = 512
HEAD = '<ir_version: 9, opset_import: ["": 18, "com.microsoft": 1]> alone (float[B, H] source) => (float[B, C] scores)'


def read(count: int, provider: str) -> tuple[Call, float]:
    """A function that reads weights, in a float32 product of one row.

    Args:
        count: bytes.
        provider: of onnxruntime.

    Returns:
        The function, and by what its time is multiplied for so many bytes.
    """
    columns = max(1, min(count, BYTES) // (4 * UNITS))
    weights = {"weights": np.ones((UNITS, columns), np.float32)}
    call = _alone(Nodes("scores = MatMul(source, weights)", weights), (1, UNITS), provider)
    return call, count / (4 * UNITS * columns)


def last_layer(units: int, items: int, precision: str, provider: str) -> tuple[Call, float]:
    """A function that scores items for ROWS inputs.

    Args:
        units: H, that the layer reads.
        items: C, that it scores.
        precision: of its weights, and so of its arithmetic.
        provider: of onnxruntime.

    Returns:
        The function, and by what its time is multiplied for one input.
    """
    some, target = min(items, ITEMS), Target("ids", precision)
    table = torch.zeros(some - 1, units), torch.zeros(units)
    *_, layer = store((table, (torch.zeros(units, some - 1), torch.zeros(some - 1))), target)
    return _alone(last(layer, target, "source", "scores"), (ROWS, layer.units), provider), items / some / ROWS


def _alone(nodes: Nodes, shape: tuple[int, int], provider: str) -> Call:
    """A function that computes ``scores`` of a ``source`` of this shape."""
    proto = onnx.parser.parse_model(f"{HEAD} {{{nodes.text}}}")
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in nodes.constants.items()
    )
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=list(dict.fromkeys([provider, CPU])))
    return caller(session, [{"source": np.ones(shape, np.float32)}], bound=provider != CPU)
