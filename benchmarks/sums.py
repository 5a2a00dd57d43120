"""One request to a sum of models beside one to each of its members: p50 at batch 1, in one run.

    python benchmarks/sums.py [--items 3125 20108] [--precision fp32 int8] [--requests 1000] [--repeats 5]

The sum is MultVAE+EDLAE with random weights, which the time does not depend on: 600-200-600 units, and a dense similarity of
every pair of items. Histories are made, of 47 items on average. Every history goes to each file once, in an order that
changes, so that no file has the processor's caches for itself; each uses one thread, as those of another file would still be
spinning. At 20,108 items the similarity takes 1.6 GB, and writing the files 9 GB of memory.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from machine import describe
from multvae_export.architectures.base import HistoryModel
from multvae_export.architectures.linear import Linear
from multvae_export.architectures.sum import Member, Sum
from multvae_export.benchmark.session import CPU, histories
from multvae_export.graph.onnx_file import to_onnx, write
from multvae_export.target import Target
from multvae_export.trained_model import Model
from options import made

HIDDEN, LATENT, FACTOR = 600, 200, 2.5


def write_files(items: int, precision: str) -> list[str]:
    """Write the files of MultVAE, EDLAE and their sum. Returns their names, the sum's last."""
    tokens = ("[PAD]", *(f"i{n}" for n in range(items)))
    auto_encoder = made(items, HIDDEN, LATENT).architecture
    similarity = torch.empty(items, items).normal_(std=0.01, generator=torch.Generator().manual_seed(0))
    linear = Linear(((similarity, torch.zeros(items)),), ("none",), norm=False, latent=1)
    assert isinstance(auto_encoder, HistoryModel)
    members = Member("MultVAE", 1.0, 1.0, auto_encoder), Member("EDLAE", 1.0, FACTOR, linear)
    models = {"MultVAE": auto_encoder, "EDLAE": linear, "MultVAE+EDLAE": Sum(members)}
    for name, architecture in models.items():
        write(to_onnx(Model(name, architecture, tokens, "made", {}), Target("ids", precision)), Path(f"{name}.onnx"))
    return list(models)


def opened(name: str) -> onnxruntime.InferenceSession:
    """A session of one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(f"{name}.onnx", options, providers=[CPU])


def milliseconds(sessions: list[onnxruntime.InferenceSession], batches: list[np.ndarray], requests: int) -> np.ndarray:
    """The time of every request to every session, [requests, sessions]."""
    rng, times = np.random.default_rng(0), np.zeros((requests, len(sessions)))
    for n in range(requests):
        feed = {"history": batches[n % len(batches)], "k": np.array([10])}
        for place in rng.permutation(len(sessions)):
            start = time.perf_counter()
            sessions[place].run(None, feed)
            times[n, place] = 1000 * (time.perf_counter() - start)
    return times


def measure(items: int, precision: str, requests: int, repeats: int) -> list[str]:
    """The cells of a row: p50 of each file, and the sum's over that of its members for the same request."""
    names, batches = write_files(items, precision), histories(items + 1, 1)
    sessions = [opened(name) for name in names]
    milliseconds(sessions, batches, 50)
    runs = [milliseconds(sessions, batches, requests) for _ in range(repeats)]
    p50 = np.array([np.median(run, axis=0) for run in runs])
    of_p50 = p50[:, -1] / p50[:, :-1].sum(axis=1)
    by_request = np.array([np.median(run[:, -1] / run[:, :-1].sum(axis=1)) for run in runs])
    spread = [f"{values.mean():.2f} ± {values.std():.2f}" for values in (*p50.T, of_p50, by_request)]
    return [f"{items:,}", precision, f"{Path(f'{names[-1]}.onnx').stat().st_size / 1e6:.0f} MB", *spread]


def main() -> None:
    """Print the table, a row for each size and precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[3125, 20108])
    parser.add_argument("--precision", nargs="+", default=["fp32"])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print(f"{describe()}, onnxruntime {onnxruntime.__version__}, --io ids, batch 1, one thread\n")
    header = ["items", "precision", "file of the sum", "MultVAE, p50 ms", "EDLAE", "sum", "ratio of p50", "p50 of the ratio"]
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for items in args.items:
            for precision in args.precision:
                print(f"| {' | '.join(measure(items, precision, args.requests, args.repeats))} |", flush=True)


if __name__ == "__main__":
    main()
