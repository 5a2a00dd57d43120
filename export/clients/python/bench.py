"""Measure the client, from tokens to tokens, with onnxruntime's number of threads, and print one line of JSON.

python bench.py MODEL.onnx HISTORIES.txt [--gpu]      HISTORIES.txt: one history a line, tokens separated by tabs
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from recommend import load_model, recommend

K, WARM_UP, BATCH, ROUNDS = 10, 200, 256, 3


def seconds(call: Callable[[], object]) -> float:
    """The time that a call takes, in seconds."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def read(path: str) -> list[list[str]]:
    """A history for each line of a file; a ValueError if there is none."""
    histories = [line.split("\t") for line in Path(path).read_text(encoding="utf-8").splitlines()]
    if not histories:
        raise ValueError(f"{path} has no histories: expected one a line.")
    return histories


def figures(args: argparse.Namespace) -> dict[str, str | float]:
    """What the client takes for histories one at a time, and in batches."""
    histories = read(args.histories)
    session = load_model(args.model, gpu=args.gpu, threads=0)
    for _ in range(WARM_UP):
        recommend(session, histories[:1], K)
    alone = [seconds(lambda row=row: recommend(session, [row], K)) for row in histories]
    batches = [histories[at : at + BATCH] for at in range(0, len(histories), BATCH)]
    rounds = [sum(seconds(lambda rows=rows: recommend(session, rows, K)) for rows in batches) for _ in range(ROUNDS)]
    p50, p99 = 1000 * np.quantile(alone, [0.5, 0.99])
    return {
        "language": "Python",
        "version": platform.python_version(),
        "onnxruntime": ort.__version__,
        "provider": session.get_providers()[0],
        "p50_ms": round(p50, 3),
        "p99_ms": round(p99, 3),
        "per_second": round(len(histories) / min(rounds)),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL.onnx")
    parser.add_argument("histories", metavar="HISTORIES.txt")
    parser.add_argument("--gpu", action="store_true")
    try:
        print(json.dumps(figures(parser.parse_args())))
    except (OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
