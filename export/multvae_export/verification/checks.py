"""The proof that a written file does what the model does: every check must pass before the file is published.

Each check returns the figures that the command prints, or raises :class:`VerificationError` with both values.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from multvae_export.errors import VerificationError
from multvae_export.graph.onnx_file import OPSETS, graphs
from multvae_export.verification.comparison import check_case, head
from multvae_export.verification.exported_file import Case, ExportedFile
from multvae_export.verification.option_checks import checks

__all__ = ["CHECKS", "Case", "ExportedFile", "verify"]

#: Operators of a precision that run on the CPU even in a CUDA session: onnxruntime's CUDA kernel takes no uint8.
CPU_ONLY = {"int8": {"MatMulInteger"}}
KERNELS = json.loads(Path(__file__).with_name("cuda_kernels.json").read_text("utf-8"))
#: The operators of the string look-ups, which run on the CPU even in a CUDA session.
STRING_LOOK_UPS = {"LabelEncoder", "Gather"}


def check_structure(file: ExportedFile) -> str:
    """onnx.checker, with shape inference; the opset; the documentation and metadata of the contract."""
    try:
        onnx.checker.check_model(file.path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise VerificationError(f"onnx.checker refuses the file: {error}") from error
    proto = file.proto
    opset = next(entry.version for entry in proto.opset_import if entry.domain == "")
    if opset != file.opset or opset not in OPSETS:
        raise VerificationError(f"the opset is {opset}, expected {file.opset}")
    undocumented = [value.name for value in (*proto.graph.input, *proto.graph.output) if not value.doc_string]
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    entries = metadata.get("item_tokens_sha256"), metadata.get("precision")
    if undocumented or entries != (file.model.token_digest, file.target.precision):
        raise VerificationError(f"documentation of {undocumented} or the metadata is missing: found {metadata}")
    return f"opset {opset}, {sum(len(part.node) for part in graphs(proto.graph))} nodes"


def check_cuda(file: ExportedFile) -> str:
    """No node but the string look-ups needs the CPU in a CUDA session, by the table of CUDA kernels."""
    graph = onnx.shape_inference.infer_shapes(file.proto).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    values = (value for part in graphs(graph) for value in (*part.input, *part.output, *part.value_info))
    types |= {value.name: value.type.tensor_type.elem_type for value in values}
    on_cpu, nodes = [], [node for part in graphs(graph) for node in part.node]
    for node in nodes:
        data = node.input[1 if node.op_type == "Where" else 0]
        dtype = onnx.TensorProto.DataType.Name(types.get(data, 0)).lower()
        if dtype not in KERNELS["kernels"].get(node.op_type, []):
            on_cpu.append((node.op_type, dtype))
    strings = [entry for entry in on_cpu if entry[0] in STRING_LOOK_UPS and entry[1] == "string"]
    known = [entry for entry in on_cpu if entry[0] in CPU_ONLY.get(file.target.precision, set())]
    if unexpected := [entry for entry in on_cpu if entry not in strings + known]:
        raise VerificationError(f"{unexpected} have no CUDA kernel, expected none but the string look-ups")
    figures = f"{len(nodes) - len(on_cpu)} nodes have one, {len(strings)} string look-ups stay on the CPU"
    if known:
        figures += f", and so does {known[0][0]}: {file.target.precision} is for CPUs"
    return figures


def check_scores(file: ExportedFile) -> str:
    """The scores and the ranking equal torch's on histories of every kind; ranks may differ between equal scores only."""
    worst, count = 0.0, 0
    for case in file.cases():
        worst, count = max(worst, check_case(file, case)), count + len(case.history)
    if not file.target.by_users:
        _check_ignored_entries(file)
    precision = file.target.precision
    weights = "" if precision == "fp32" else f" from torch with {precision} weights"
    requests = "users" if file.target.by_users else "histories"
    return f"{count} {requests}, largest score difference {worst:.1e}{weights}"


def check_default_k(file: ExportedFile, k: int) -> str:
    """A file whose ``k`` has this value ranks as torch does."""
    worst = max(check_case(file, replace(case, k=k)) for case in file.cases())
    return f"{k}, largest score difference {worst:.1e}"


def _check_ignored_entries(file: ExportedFile) -> None:
    """Padding, unknown items and repeats move no score by more than a tenth of the allowed difference from torch."""
    rng = np.random.default_rng(1)
    length = min(4, file.model.n_items - 1)
    history = np.stack([rng.permutation(np.arange(1, file.model.n_items))[:length] for _ in range(3)])
    case = Case("clean", history, file.model.n_items)
    unknown, repeated = np.tile([0, -1], (3, length)), np.repeat(history[:, :1], 9, axis=1)
    allowed = file.tolerance(case, file.expected(case)[2]) / 10
    for name, entries in (("padding and unknown items", unknown), ("repeated items", repeated)):
        scores = [_by_item(*file.run(Case(name, rows, case.k))[:2]) for rows in (history, np.hstack([history, entries]))]
        if (np.abs(np.subtract(*scores)) > allowed).any():
            raise VerificationError(f"{name} change the scores to {head(scores[1])}, expected {head(scores[0])}")


def _by_item(items: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Scores in order of items, 0 where there is none."""
    table = np.zeros((len(items), items.max() + 1), np.float32)
    np.put_along_axis(table, items, np.where(np.isfinite(scores), scores, 0), axis=1)
    return table


#: The checks in order, each with its name in the report.
CHECKS: tuple[tuple[str, Callable[[ExportedFile], str]], ...] = (
    ("well formed", check_structure),
    ("equals torch", check_scores),
    ("CUDA kernels", check_cuda),
)


def verify(file: ExportedFile, report: Callable[[str, str], Any]) -> None:
    """Run every check on a written file.

    Args:
        file: the written file.
        report: called with the name and the figures of each check that passed.

    Raises:
        VerificationError: a check failed.
    """
    for name, check in (*CHECKS, *checks(file.target.options)):
        report(name, check(file))
