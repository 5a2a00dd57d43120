"""Recall and time of vectors in an index beside the exact file, by the size of the catalogue.

    python benchmarks/vectors.py CHECKPOINT.pth CLICKS.inter [--items 1000 10000 100000] [--plot benchmarks/vectors.svg]

Needs faiss-cpu. The checkpoint is of MultVAE. Its catalogue is cut, or grown: an item more is a copy of a trained one,
whose weights in the last layer get noise of half the distance to the nearest other item. Histories are those of the clicks,
and hold trained items only. One request at a time, with one thread: the exact file (history in, ten items out) beside
user.onnx with FAISS behind it, exact (Flat) and HNSW, which leave out the items of the history. recall@10 is against the
exact file.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import onnxruntime
import torch
from machine import describe
from multvae_export.architectures.auto_encoder import AutoEncoder
from multvae_export.benchmark.measure import take_turns
from multvae_export.checkpoint.contents import load
from multvae_export.graph.onnx_file import to_onnx, write
from multvae_export.histories import Layout, read_inter
from multvae_export.target import Target
from multvae_export.trained_model import Model, model_of
from multvae_export.vectors.vector_model import VectorModel

K, REQUESTS, LINKS = 10, 500, 32
SEARCHED = (16, 32, 64, 128, 256, 512)


def resized(model: Model, items: int) -> Model:
    """The model with the first items of its catalogue, or with noisy copies behind them."""
    network = model.architecture
    assert isinstance(network, AutoEncoder)
    (table, first_bias), (weight, bias) = network.layers[0], network.layers[-1]
    generator = torch.Generator().manual_seed(0)
    source = torch.arange(items) % len(bias)
    columns = weight.T[source]
    if items > len(bias):
        more = columns[len(bias) :]
        nearest = _distances(weight.T)[source[len(bias) :]]
        noise = torch.randn(more.shape, generator=generator)
        more += noise / noise.norm(dim=1, keepdim=True) * nearest[:, None] / 2
    layers = ((table[source], first_bias), *network.layers[1:-1], (columns.T, bias[source]))
    tokens = ("[PAD]", *(str(n) for n in range(items)))
    return replace(model, architecture=replace(network, layers=layers), tokens=tokens)


def _distances(rows: torch.Tensor) -> torch.Tensor:
    """The distance of each row to the nearest other one."""
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(rows.numpy())
    return torch.from_numpy(index.search(rows.numpy(), 2)[0][:, 1]).clamp(min=0).sqrt()


def session(path: Path) -> onnxruntime.InferenceSession:
    """A file with one thread for a request."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def searches(user: onnxruntime.InferenceSession, index: Any, keys: dict[str, Any], requests: list[np.ndarray]) -> Any:
    """The function that finds the rows of the best items for the n-th history."""

    def search(n: int) -> np.ndarray:
        history = requests[n % len(requests)]
        (vector,) = user.run(None, {"history": history.astype(str).astype(object)[None]})
        unseen = faiss.IDSelectorNot(faiss.IDSelectorBatch(history))
        kind = faiss.SearchParametersHNSW if keys else faiss.SearchParameters
        return index.search(vector, K, params=kind(sel=unseen, **keys))[1][0]

    return search


def measure(model: Model, histories: list[np.ndarray]) -> list[dict[str, Any]]:
    """The figures of each way at a size of the catalogue."""
    vectors = VectorModel.of(model)
    rows = vectors.factors.vectors
    requests = [kept for history in histories if len(kept := history[history < len(rows)])][:REQUESTS]
    flat, graph = faiss.IndexFlatIP(rows.shape[1]), faiss.IndexHNSWFlat(rows.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    flat.add(rows)
    start = time.perf_counter()
    graph.add(rows)
    built = time.perf_counter() - start
    with tempfile.TemporaryDirectory(dir=".") as folder:
        write(to_onnx(model, Target()), Path(folder) / "model.onnx")
        vectors.write(Path(folder))
        exact, user = (session(Path(folder) / name) for name in ("model.onnx", "user.onnx"))

        def ranked(n: int) -> np.ndarray:
            history = requests[n % len(requests)].astype(str).astype(object)[None]
            return exact.run(["items"], {"history": history, "k": np.array([K])})[0][0]

        calls: dict[str, Callable[[int], np.ndarray]] = {"exact file": ranked}
        calls["Flat"] = searches(user, flat, {}, requests)
        calls |= {f"HNSW, efSearch {ef}": searches(user, graph, {"efSearch": ef}, requests) for ef in SEARCHED}
        calls["user.onnx alone"] = lambda n: user.run(
            None, {"history": requests[n % len(requests)].astype(str).astype(object)[None]}
        )
        times = take_turns(calls, REQUESTS)
        best = [set(ranked(n).astype(int)) for n in range(len(requests))]
        found = {name: np.mean([len(best[n] & {*map(int, call(n))}) / K for n in range(len(requests))])
                 for name, call in calls.items() if name != "user.onnx alone"}  # fmt: skip
    size = {"items": len(rows), "dimensions": rows.shape[1], "built": built}
    return [{**size, "way": name, "recall": found.get(name), "p50": float(np.median(times[name]))} for name in calls]


def plot(figures: list[dict[str, Any]], file: str) -> None:
    """Recall over time, a line for each size of the catalogue; a dashed line is the exact file."""
    from figures import save
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="p50 of a request, ms", ylabel="recall@10 against the exact file", xscale="log")
    for n, items in enumerate(dict.fromkeys(row["items"] for row in figures)):
        rows = [row for row in figures if row["items"] == items]
        line = [(row["p50"], row["recall"]) for row in rows if row["way"].startswith("HNSW")]
        axes.plot(*zip(*line, strict=True), "o-", color=f"C{n}", markersize=3, label=f"{items:,} items, HNSW")
        axes.axvline(rows[0]["p50"], color=f"C{n}", linestyle="--", linewidth=1)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    save(figure, file)


def main() -> None:
    """Print the table, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("clicks")
    parser.add_argument("--items", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--plot", metavar="FILE.svg")
    args = parser.parse_args()
    faiss.omp_set_num_threads(1)
    checkpoint = load(args.checkpoint)
    model = model_of(checkpoint)
    histories = read_inter(args.clicks, model.tokens, Layout.of(checkpoint.config))
    histories = [history - 1 for history in np.random.default_rng(0).permutation(np.array(histories, object))]
    print(f"{describe()}, onnxruntime {onnxruntime.__version__}, faiss {faiss.__version__}")
    print(f"\n{model.name} {model.architecture}\n")
    print("| items | d | HNSW built in s | | recall@10 | p50 ms | of the exact file's |\n|---|---|---|---|---|---|---|")
    figures = []
    for items in args.items:
        rows = measure(resized(model, items), histories)
        for row in rows:
            recall = "" if row["recall"] is None else f"{row['recall']:.3f}"
            share = f"{row['p50'] / rows[0]['p50']:.2f}"
            cells = (
                f"{row['items']:,} | {row['dimensions']} | {row['built']:.0f} | {row['way']} | {recall} | {row['p50']:.3f}"
            )
            print(f"| {cells} | {share} |", flush=True)
        figures += rows
    if args.plot:
        plot(figures, args.plot)


if __name__ == "__main__":
    main()
