"""Recommendations from an exported model, with onnxruntime and NumPy alone.

python recommend.py MODEL.onnx TOKEN... [-k 10] [--exclude ITEMS] [--among ITEMS]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort

VERSIONS = ("1", "2")
INPUTS = {"history": "tensor(string)", "k": "tensor(int64)"}
#: What a file may take besides, by the option of multvae-export.
OPTIONS = {"exclude": "--filters", "among": "--filters", "noise": "--posterior"}


class Ranking(NamedTuple):
    """``items`` and ``scores`` [batch, k], best first; a row with fewer items ends in "" with score -inf.

    ``reasons`` [batch, k, length]: by how much each item of the history raises each score; None of a file without reasons.
    """

    items: np.ndarray
    scores: np.ndarray
    reasons: np.ndarray | None


def load_model(path: str) -> ort.InferenceSession:
    """The session of a file exported with ``--io tokens``; any other file is a ValueError."""
    if not Path(path).is_file():
        raise ValueError(f"{path} is missing: expected a model exported with --io tokens.")
    try:
        session = ort.InferenceSession(path)
    except Exception as error:  # onnxruntime's errors share no narrower type.
        raise ValueError(f"{path} is no ONNX model that onnxruntime can read: export the model again.") from error
    inputs = {name: value.type for name, value in _inputs(session).items()}
    if any(inputs.get(name) != kind for name, kind in INPUTS.items()) or not inputs.keys() <= INPUTS.keys() | OPTIONS.keys():
        found = ", ".join(f"{kind} {name}" for name, kind in inputs.items())
        raise ValueError(f"{path} takes {found}: expected tensor(string) history and k; export the model with --io tokens.")
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
    histories: Sequence[Sequence[str]],
    k: int,
    *,
    exclude: Sequence[Sequence[str]] | None = None,
    among: Sequence[Sequence[str]] | None = None,
    noise: np.ndarray | None = None,
) -> Ranking:
    """Rank items for histories of item tokens.

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
    inputs, feed = _inputs(session), {"history": _padded(histories), "k": np.array([k], np.int64)}
    for name, given in (("exclude", exclude), ("among", among), ("noise", noise)):
        if name not in inputs and given is not None:
            raise ValueError(f"the model has no input {name}: export it with {OPTIONS[name]}.")
    if "exclude" in inputs:
        feed |= {"exclude": _padded(exclude or [[]]), "among": _padded(among or [[]])}
    if "noise" in inputs:
        zeros = np.zeros((1, inputs["noise"].shape[1]))
        feed["noise"] = np.asarray(zeros if noise is None else noise, np.float32)
    items, scores, *reasons = session.run(None, feed)
    return Ranking(items, scores, reasons[0] if reasons else None)


def _padded(rows: Sequence[Sequence[str]]) -> np.ndarray:
    padded = np.full((len(rows), max(map(len, rows), default=0)), "", dtype=object)
    for row, tokens in zip(padded, rows, strict=True):
        row[: len(tokens)] = tokens
    return padded


def because(history: Sequence[str], reasons: np.ndarray) -> str | None:
    """The item of a history that raised a score most, by its reasons [length]; None where none did."""
    return history[int(reasons.argmax())] if len(history) and reasons.max() > 0 else None


def read_items(text: str | None) -> list[list[str]] | None:
    """One list for all rows: the tokens of a file, one a line, or those of a text, with commas between."""
    if text is None:
        return None
    lines = Path(text).read_text(encoding="utf-8").splitlines() if Path(text).is_file() else text.split(",")
    return [[token for token in lines if token]]


def main() -> None:
    """Print one recommended item, its score and, if the model gives reasons, the item that raised it most, a line."""
    parser = argparse.ArgumentParser(description="Recommend items to someone who liked these.")
    parser.add_argument("model", metavar="MODEL.onnx", help="a model exported with --io tokens")
    parser.add_argument("history", metavar="TOKEN", nargs="*", help="tokens of liked items; none: the prior ranking")
    parser.add_argument("-k", type=int, default=10, help="how many items (default: 10)")
    parser.add_argument("--exclude", metavar="ITEMS", help="never these: a file with a token a line, or tokens with commas")
    parser.add_argument("--among", metavar="ITEMS", help="only these, likewise")
    args = parser.parse_args()
    if args.k < 1:
        sys.exit(f"-k is {args.k}: expected 1 or more.")
    try:
        session = load_model(args.model)
        lists = {"exclude": read_items(args.exclude), "among": read_items(args.among)}
        items, scores, reasons = recommend(session, [args.history], args.k, **lists)
    except ValueError as error:
        sys.exit(str(error))
    if not items[0][0]:
        sys.exit(
            "Nothing to recommend: every item is in the history or excluded, or --among names none that the model knows."
        )
    for rank, (item, score) in enumerate(zip(items[0], scores[0], strict=True)):
        reason = because(args.history, reasons[0][rank]) if reasons is not None else None
        if item:
            print(f"{item}\t{score:.4f}" + (f"\tbecause of {reason}" if reason else ""))


if __name__ == "__main__":
    main()
