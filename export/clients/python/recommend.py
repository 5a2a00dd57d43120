"""Recommendations from an exported model, with onnxruntime and NumPy alone.

python recommend.py MODEL.onnx TOKEN... [-k 10]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

INPUTS = "tensor(string) history, tensor(int64) k"


def load_model(path: str) -> ort.InferenceSession:
    """The session of a file exported with ``--io tokens``; any other file is a ValueError."""
    if not Path(path).is_file():
        raise ValueError(f"{path} is missing: expected a model exported with --io tokens.")
    try:
        session = ort.InferenceSession(path)
    except Exception as error:  # onnxruntime's errors share no narrower type.
        raise ValueError(f"{path} is no ONNX model that onnxruntime can read: export the model again.") from error
    # A k that has a default is not among the inputs proper.
    values = (*session.get_inputs(), *session.get_overridable_initializers())
    inputs = ", ".join(f"{value.type} {value.name}" for value in values)
    if inputs != INPUTS:
        raise ValueError(f"{path} takes {inputs}: expected {INPUTS}; export the model with --io tokens.")
    return session


def recommend(session: ort.InferenceSession, histories: Sequence[Sequence[str]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Items and scores, both [batch, k], best first; a row with fewer unseen items ends in "" with score -inf."""
    padded = np.full((len(histories), max(map(len, histories), default=0)), "", dtype=object)
    for row, history in zip(padded, histories, strict=True):
        row[: len(history)] = history
    items, scores = session.run(["items", "scores"], {"history": padded, "k": np.array([k], np.int64)})
    return items, scores


def main() -> None:
    """Print one recommended item and its score a line."""
    parser = argparse.ArgumentParser(description="Recommend items to someone who liked these.")
    parser.add_argument("model", metavar="MODEL.onnx", help="a model exported with --io tokens")
    parser.add_argument("history", metavar="TOKEN", nargs="*", help="tokens of liked items; none: the prior ranking")
    parser.add_argument("-k", type=int, default=10, help="how many items (default: 10)")
    args = parser.parse_args()
    if args.k < 1:
        sys.exit(f"-k is {args.k}: expected 1 or more.")
    try:
        session = load_model(args.model)
    except ValueError as error:
        sys.exit(str(error))
    items, scores = recommend(session, [args.history], args.k)
    for item, score in zip(items[0], scores[0], strict=True):
        if item:
            print(f"{item}\t{score:.4f}")


if __name__ == "__main__":
    main()
