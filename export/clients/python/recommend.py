"""Recommendations from an exported model, with onnxruntime and NumPy alone.

python recommend.py MODEL.onnx TOKEN... [-k 10] [--exclude ITEMS] [--among ITEMS] [--gpu]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import onnxruntime as ort

VERSIONS = ("1", "2")
#: The types of a history: of tokens, and of RecBole's item ids.
TOKENS, IDS = "tensor(string)", "tensor(int64)"
#: What a file may take besides, by the option of multvae-export.
OPTIONS = {"exclude": "--filters", "among": "--filters", "noise": "--posterior"}
Item = TypeVar("Item", str, int)
Rows = Sequence[Sequence[str]] | Sequence[Sequence[int]]


class Ranking(NamedTuple):
    """``items`` and ``scores`` [batch, k], best first; a row with fewer items ends in "" (of ids: 0) with score -inf.

    ``reasons`` [batch, k, length]: by how much each item of the history raises each score; None of a file without reasons.
    """

    items: np.ndarray
    scores: np.ndarray
    reasons: np.ndarray | None


def load_model(path: str, *, gpu: bool = False) -> ort.InferenceSession:
    """The session of a file exported with ``--io tokens`` or ``--io ids``; any other file is a ValueError.

    With ``gpu`` it runs on CUDA where that is at hand: ``get_providers()[0]`` says what it got. Threads may share it.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} is missing: expected a model exported with --io tokens or --io ids.")
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider") if gpu else ("CPUExecutionProvider",)
    try:
        session = ort.InferenceSession(path, providers=[name for name in wanted if name in ort.get_available_providers()])
    except Exception as error:  # onnxruntime's errors share no narrower type.
        raise ValueError(f"{path} is no ONNX model that onnxruntime can read: export the model again.") from error
    inputs = {name: value.type for name, value in _inputs(session).items()}
    known = inputs.get("history") in (TOKENS, IDS) and inputs.get("k") == IDS
    if not known or not inputs.keys() <= {"history", "k", *OPTIONS}:
        found = ", ".join(f"{kind} {name}" for name, kind in inputs.items())
        raise ValueError(f"{path} takes {found}: expected history and k; export the model with --io tokens or --io ids.")
    version = session.get_modelmeta().custom_metadata_map.get("contract_version")
    if version not in VERSIONS:
        raise ValueError(
            f"{path} has the contract version {version}, this client knows {' and '.join(VERSIONS)}: update it."
        )
    return session


def _inputs(session: ort.InferenceSession) -> dict[str, ort.NodeArg]:
    # A k that has a default is not among the inputs proper.
    return {value.name: value for value in (*session.get_inputs(), *session.get_overridable_initializers())}


def recommend(
    session: ort.InferenceSession,
    histories: Rows,
    k: int,
    *,
    exclude: Rows | None = None,
    among: Rows | None = None,
    noise: np.ndarray | None = None,
) -> Ranking:
    """Rank items for histories of item tokens, or of ids where the file has ids.

    Args:
        session: of :func:`load_model`.
        histories: one a row.
        k: how many items.
        exclude: items never to return, a list for each history, or one for all. Of a file with filters.
        among: items to rank alone, likewise; None ranks all.
        noise: float32 [batch or 1, K], standard normal for a sample; None for none. Of a file with a posterior.

    Raises:
        ValueError: the file lacks an option that is asked for.
    """
    inputs = _inputs(session)
    ids = inputs["history"].type == IDS
    if not len(histories):  # Up to 1.30, onnxruntime ends the process at a batch of none.
        reasons = np.empty((0, k, 0), np.float32) if len(session.get_outputs()) == 3 else None
        return Ranking(np.empty((0, k), object), np.empty((0, k), np.float32), reasons)
    feed = {"history": _padded(histories, ids), "k": np.array([k], np.int64)}
    for name, given in (("exclude", exclude), ("among", among), ("noise", noise)):
        if name not in inputs and given is not None:
            raise ValueError(f"the model has no input {name}: export it with {OPTIONS[name]}.")
    if "exclude" in inputs:
        feed |= {"exclude": _padded(exclude or [[]], ids), "among": _padded(among or [[]], ids)}
    if "noise" in inputs:
        zeros = np.zeros((1, inputs["noise"].shape[1]))
        feed["noise"] = np.asarray(zeros if noise is None else noise, np.float32)
    items, scores, *reasons = session.run(None, feed)
    return Ranking(items, scores, reasons[0] if reasons else None)


def _padded(rows: Rows, ids: bool) -> np.ndarray:
    shape = len(rows), max(map(len, rows), default=0)
    padded = np.zeros(shape, np.int64) if ids else np.full(shape, "", dtype=object)
    for row, items in zip(padded, rows, strict=True):
        row[: len(items)] = items
    return padded


def because(history: Sequence[Item], reasons: np.ndarray) -> Item | None:
    """The item of a history that raised a score most, by its reasons [length]; None where none did."""
    return history[int(reasons.argmax())] if len(history) and reasons.max() > 0 else None


def read_items(text: str | None) -> list[list[str]] | None:
    """One list for all rows: the tokens of a file, one a line, or those of a text, with commas between."""
    if text is None:
        return None
    lines = Path(text).read_text(encoding="utf-8").splitlines() if Path(text).is_file() else text.split(",")
    return [[token for token in lines if token]]


def read_id(text: str) -> int:
    """An item id; a ValueError for any other text."""
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no item id: the model takes RecBole's item ids.") from error


def main() -> None:
    """Print one recommended item, its score and, if the model gives reasons, the item that raised it most, a line."""
    parser = argparse.ArgumentParser(description="Recommend items to someone who liked these.")
    parser.add_argument("model", metavar="MODEL.onnx", help="a model exported with --io tokens or --io ids")
    parser.add_argument("history", metavar="ITEM", nargs="*", help="tokens or ids of liked items; none: the prior ranking")
    parser.add_argument("-k", type=int, default=10, help="how many items (default: 10)")
    parser.add_argument("--exclude", metavar="ITEMS", help="never these: a file with an item a line, or items with commas")
    parser.add_argument("--among", metavar="ITEMS", help="only these, likewise")
    parser.add_argument("--gpu", action="store_true", help="run on CUDA where it is at hand, and say what it runs on")
    args = parser.parse_args()
    if args.k < 1:
        sys.exit(f"-k is {args.k}: expected 1 or more.")
    try:
        show(args)
    except ValueError as error:
        sys.exit(str(error))


def show(args: argparse.Namespace) -> None:
    """Rank and print, as :func:`main` says."""
    session = load_model(args.model, gpu=args.gpu)
    if args.gpu:
        print(f"runs on {session.get_providers()[0]}", file=sys.stderr)
    lists = [[args.history], read_items(args.exclude), read_items(args.among)]
    if _inputs(session)["history"].type == IDS:
        lists = [rows and [list(map(read_id, rows[0]))] for rows in lists]
    (history,), exclude, among = lists
    items, scores, reasons = recommend(session, [history], args.k, exclude=exclude, among=among)
    if not items[0][0]:
        raise ValueError(
            "Nothing to recommend: every item is in the history or excluded, or --among names none that the model knows."
        )
    for rank, (item, score) in enumerate(zip(items[0], scores[0], strict=True)):
        reason = because(history, reasons[0][rank]) if reasons is not None else None
        if item:
            print(f"{item}\t{score:.4f}" + (f"\tbecause of {reason}" if reason else ""))


if __name__ == "__main__":
    main()
