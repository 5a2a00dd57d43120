"""The proof that a written file does what the model does: every check must pass before the file counts.

Each check returns the figures that the tool prints, or raises :class:`VerificationError` with what was found and expected.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from multvae_export.errors import VerificationError
from multvae_export.forms import FORMS
from multvae_export.onnx_file import OPSETS
from multvae_export.ranking import best, multi_hot
from multvae_export.trained_model import Model

#: A file in fewer bits rounds what goes into the products too: the share of the range of a history's scores that this may
#: move a score by. Seen: 0.4 %.
ROUNDING = 0.01
#: Where a history's scores are all small, --atol says nothing about their order: the share of the largest that then holds.
SMALL_SCORES = 0.001
#: What a precision runs on the CPU even in a CUDA session: onnxruntime's kernel for CUDA takes no uint8.
CPU_ONLY = {"int8": {"MatMulInteger"}}
KERNELS = json.loads(Path(__file__).with_name("cuda_kernels.json").read_text("utf-8"))
#: The two look-ups that run on the CPU even in a CUDA session.
STRING_LOOK_UPS = {"LabelEncoder", "Gather"}


@dataclass(frozen=True)
class Case:
    """A batch of requests, and how many items to ask for.

    Attributes:
        name: what is special about it.
        history: RecBole item ids, int64 [B, L], or user ids, [B]; 0 for padding and -1 for what is unknown.
        k: how many items.
    """

    name: str
    history: np.ndarray
    k: int


def cases(n_items: int, longest: int | None = None) -> Iterator[Case]:
    """Histories of every kind, and several batch sizes. Seeded: the same file is always proved by the same histories.

    Args:
        n_items: C, the catalogue with the padding item.
        longest: the longest history to try; by default half the catalogue, at most 2,000.
    """
    rng = np.random.default_rng(0)
    longest = min(2000, max(1, (n_items - 1) // 2)) if longest is None else longest

    def some(rows: int, length: int) -> np.ndarray:
        return rng.integers(1, n_items, (rows, length))

    yield Case("empty history", np.zeros((1, 1), np.int64), 10)
    yield Case("history of length zero", np.zeros((2, 0), np.int64), 10)
    yield Case("one item", some(1, 1), 10)
    yield Case("longest history", rng.permutation(np.arange(1, n_items))[None, :longest], 10)
    yield Case("repeated items", np.repeat(some(2, 5), 3, axis=1), 10)
    yield Case("unknown and padded items", np.where(rng.random((4, 20)) < 0.5, some(4, 20), [[-1, 0] * 10]), 10)
    yield Case("whole catalogue seen", np.arange(1, n_items)[None], 3)
    for batch in (2, 7, 64):
        yield Case(f"batch of {batch}", np.where(rng.random((batch, 30)) < 0.7, some(batch, 30), 0), 20)
    yield Case("k = 1", some(3, 10), 1)
    yield Case("k = all", some(2, 10), n_items - 1)
    yield Case("k above the catalogue", some(2, 10), n_items + 5)


def user_cases(n_users: int, n_items: int) -> Iterator[Case]:
    """Users of every kind, and all of them in batches; U users and C items with padding. Seeded, as above."""
    rng = np.random.default_rng(0)
    everybody = np.arange(1, n_users)
    yield Case("unknown user", np.array([-1]), 10)
    yield Case("empty token", np.array([0]), 10)
    yield Case("one user", everybody[:1], 10)
    yield Case("known and unknown users", np.where(rng.random(20) < 0.5, rng.integers(1, n_users, 20), [-1, 0] * 10), 10)
    yield Case("the same user twice", np.repeat(everybody[-1:], 2), 20)
    for start in range(0, n_users - 1, 256):
        yield Case("every user", everybody[start : start + 256], 20)
    yield Case("k = 1", rng.integers(1, n_users, 3), 1)
    yield Case("k = all", rng.integers(1, n_users, 2), n_items - 1)
    yield Case("k above the catalogue", rng.integers(1, n_users, 2), n_items + 5)


class File:
    """An exported file, opened with onnxruntime, the model it was made from, and the same model with the weights it stores.

    Args:
        path: the file.
        model: what it was made from.
        io: the form of the file.
        opset: the opset asked for.
        atol: the largest difference of a score from torch's.
        precision: the precision asked for.

    Raises:
        VerificationError: onnxruntime cannot open it.
    """

    def __init__(self, path: Path, model: Model, io: str, opset: int, atol: float, precision: str = "fp32") -> None:
        self.path, self.model, self.io, self.opset, self.atol, self.precision = path, model, io, opset, atol, precision
        self.form = FORMS[io]
        self.stored = model.architecture if precision == "fp32" else model.architecture.rounded(precision)
        try:
            self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises types of its own for each way to be wrong.
            raise VerificationError(f"onnxruntime cannot open the file: {error}") from error
        self.proto = onnx.load(path, load_external_data=False)
        # What it is asked with. Padding is the first entry; the last, which -1 finds, is an unknown token.
        asked = model.architecture.user_tokens or model.tokens
        self.names = np.array(["", *asked[1:], "an unknown token \N{BALLOT X}"], dtype=object)
        self.ids = {token: n for n, token in enumerate(("", *model.tokens[1:]))}

    def cases(self) -> Iterator[Case]:
        """What the file is proved on."""
        users = self.model.architecture.user_tokens
        return user_cases(len(users), self.model.n_items) if self.io == "users" else cases(self.model.n_items)

    def run(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """Item ids [B, k] and scores [B, k] of a case; for the dense form all ids in order and their scores, [B, C]."""
        if self.io == "dense":
            clicks = multi_hot(torch.from_numpy(case.history), self.model.n_items).numpy()
            (scores,) = self._answer(case, {"x": clicks})
            return np.broadcast_to(np.arange(scores.shape[1]), scores.shape), scores
        request = case.history if self.io == "ids" else self.names[case.history]
        items, scores = self._answer(case, {self.form.input: request, "k": np.array([case.k])})
        if self.io != "ids":
            items = np.array([self.ids[token] for token in items.flat], np.int64).reshape(items.shape)
        return items, scores

    def _answer(self, case: Case, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            return self.session.run(None, feed)
        except Exception as error:  # As in __init__.
            raise VerificationError(f"{case.name}: onnxruntime cannot run the file: {error}") from error

    def expected(self, case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Torch's item ids [B, k] and scores [B, k], and the scores of all items with the seen ones at -inf, [B, C]."""
        history = torch.from_numpy(case.history)
        if self.io == "dense":
            logits = self.stored.logits(multi_hot(history, self.model.n_items)).numpy()
            return np.broadcast_to(np.arange(self.model.n_items), logits.shape), logits, logits
        everything = self.stored.answer(history)
        items, scores = best(everything, case.k)
        return items.numpy(), scores.numpy(), everything.numpy()

    def tolerance(self, everything: np.ndarray) -> np.ndarray:
        """How far a score may be from torch's, [B, C] -> [B, 1]."""
        finite = [row[np.isfinite(row)] for row in everything]
        if self.precision == "fp32":
            largest = [np.abs(row).max(initial=0) for row in finite]
            return np.minimum(self.atol, SMALL_SCORES * np.array(largest))[:, None]
        spans = [np.ptp(row) if len(row) else 0 for row in finite]
        return np.maximum(self.atol, ROUNDING * np.array(spans))[:, None]


def check_structure(file: File) -> str:
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
    stated = metadata.get("item_tokens_sha256"), metadata.get("precision")
    if undocumented or stated != (file.model.token_digest, file.precision):
        raise VerificationError(f"documentation of {undocumented} or the metadata is missing: found {metadata}")
    return f"opset {opset}, {len(proto.graph.node)} nodes"


def check_cuda(file: File) -> str:
    """No node but the string look-ups needs the CPU in a CUDA session, by the table of CUDA kernels."""
    graph = onnx.shape_inference.infer_shapes(file.proto).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    types |= {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.output, *graph.value_info)}
    on_cpu = []
    for node in graph.node:
        data = node.input[1 if node.op_type == "Where" else 0]
        kind = onnx.TensorProto.DataType.Name(types.get(data, 0)).lower()
        if kind not in KERNELS["kernels"].get(node.op_type, []):
            on_cpu.append((node.op_type, kind))
    strings = [entry for entry in on_cpu if entry[0] in STRING_LOOK_UPS and entry[1] == "string"]
    known = [entry for entry in on_cpu if entry[0] in CPU_ONLY.get(file.precision, set())]
    if unexpected := [entry for entry in on_cpu if entry not in strings + known]:
        raise VerificationError(f"{unexpected} have no CUDA kernel, expected none but the string look-ups")
    figures = f"{len(graph.node) - len(on_cpu)} nodes have one, {len(strings)} string look-ups stay on the CPU"
    if known:
        figures += f", and so does {known[0][0]}: {file.precision} is for CPUs"
    return figures


def check_scores(file: File) -> str:
    """The scores and the ranking equal torch's on histories of every kind; ranks may differ between equal scores only."""
    worst, count = 0.0, 0
    for case in file.cases():
        items, scores = file.run(case)
        want_items, want_scores, everything = file.expected(case)
        if scores.shape != want_scores.shape or items.shape != want_items.shape:
            raise VerificationError(f"{case.name}: the shape is {scores.shape}, expected {want_scores.shape}")
        if np.isnan(scores).any() or (np.isneginf(scores) != np.isneginf(want_scores)).any():
            raise VerificationError(
                f"{case.name}: the scores {_head(scores)} hold NaN or -inf where torch has {_head(want_scores)}"
            )
        allowed = file.tolerance(everything)
        finite = np.isfinite(want_scores)
        difference = np.abs(np.subtract(scores, want_scores, where=finite, out=np.zeros_like(scores)))
        if (difference > allowed).any():
            raise VerificationError(
                f"{case.name}: a score differs by {difference.max():.2e}, more than {_limit(file, allowed)}: "
                f"found {_head(scores)}, expected {_head(want_scores)}"
            )
        _check_ranking(case, items, want_items, want_scores, everything, allowed)
        if file.form.ranks:
            _check_order(case, items, scores, everything)
        worst, count = max(worst, float(difference.max(initial=0))), count + len(scores)
    if file.form.input != "user":
        _check_noise(file)
    weights = "" if file.precision == "fp32" else f" from torch with {file.precision} weights"
    asked = "users" if file.form.input == "user" else "histories"
    return f"{count} {asked}, largest score difference {worst:.1e}{weights}"


def _limit(file: File, allowed: np.ndarray) -> str:
    if file.precision == "fp32":
        small = allowed.min() < file.atol
        return f"{allowed.min():.2e}, {SMALL_SCORES:.1%} of a history's largest score" if small else f"--atol={file.atol:g}"
    return f"{allowed.min():.2e}, {ROUNDING:.0%} of the range of a history's scores"


def _check_ranking(
    case: Case, items: np.ndarray, want: np.ndarray, want_scores: np.ndarray, everything: np.ndarray, allowed: np.ndarray
) -> None:
    # Where the items differ, the one found must be worth the same as the one expected, to torch.
    found_scores = np.take_along_axis(everything, items, axis=1)
    gap = np.abs(np.subtract(found_scores, want_scores, where=np.isfinite(want_scores), out=np.zeros_like(want_scores)))
    tied = (gap <= 2 * allowed) & np.isfinite(want_scores)
    wrong = (items != want) & ~tied
    repeated = any(len(set(row[row > 0])) < (row > 0).sum() for row in items)
    if wrong.any() or repeated:
        raise VerificationError(f"{case.name}: the ranking is {_head(items)}, expected {_head(want)}")


def _check_order(case: Case, items: np.ndarray, scores: np.ndarray, everything: np.ndarray) -> None:
    """In every precision exactly: best first, the lower id first between equal scores, nothing of the history."""
    higher, equal = scores[:, 1:] > scores[:, :-1], (scores[:, 1:] == scores[:, :-1]) & np.isfinite(scores[:, 1:])
    if higher.any() or (equal & (items[:, 1:] < items[:, :-1])).any():
        raise VerificationError(f"{case.name}: {_head(items)} with {_head(scores)} is not in order, expected best first")
    seen = items[(items > 0) & np.isneginf(np.take_along_axis(everything, items, axis=1))]
    if len(seen):
        raise VerificationError(f"{case.name}: items {sorted(seen)[:5]} of the history are recommended, expected none")


def _check_noise(file: File) -> None:
    """Padding, unknown items and repeats change nothing: the file agrees with itself, closer than it must with torch."""
    rng = np.random.default_rng(1)
    few = min(4, file.model.n_items - 1)
    history = np.stack([rng.permutation(np.arange(1, file.model.n_items))[:few] for _ in range(3)])
    clean = Case("clean", history, file.model.n_items)
    nothing = np.tile([0, -1], (3, few))
    allowed = file.tolerance(file.expected(clean)[2]) / 10
    for name, noise in (("padding and unknown items", nothing), ("repeated items", np.repeat(history[:, :1], 9, axis=1))):
        scores = [_by_item(*file.run(Case(name, rows, clean.k))) for rows in (history, np.hstack([history, noise]))]
        if (np.abs(np.subtract(*scores)) > allowed).any():
            raise VerificationError(f"{name} change the scores to {_head(scores[1])}, expected {_head(scores[0])}")


def _by_item(items: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Scores in order of items, 0 where there is none."""
    table = np.zeros((len(items), items.max() + 1), np.float32)
    np.put_along_axis(table, items, np.where(np.isfinite(scores), scores, 0), axis=1)
    return table


def _head(values: np.ndarray) -> str:
    return np.array2string(values[0][:5], precision=6)


#: What is checked, in order: the words of the report and the check.
CHECKS: tuple[tuple[str, Callable[[File], str]], ...] = (
    ("well formed", check_structure),
    ("equals torch", check_scores),
    ("CUDA kernels", check_cuda),
)


def verify(file: File, report: Callable[[str, str], Any]) -> None:
    """Run every check on a written file.

    Args:
        file: the file.
        report: called with the name and the figures of each check that passed.

    Raises:
        VerificationError: a check failed.
    """
    for name, check in CHECKS:
        report(name, check(file))
