"""How long requests take, beside a lower bound on that time.

The files, the reads of the lower bound and torch take turns, so that a slow moment of the machine hits all of them. The
first 50 ms of a turn do not count, as threads of the turn before may still be spinning. A request is ``batch`` histories,
different ones each time. On CUDA the input is copied to the GPU and the output stays there, by IO binding; item tokens,
which IO binding does not take, go through the CPU.

The lower bound, the floor of a request, is the larger of two times, which take turns with the files: one read of the file's
weights, of the table only the rows of the histories' items; and the last layer alone, in the file's precision and at the
speed that it has with many rows. Of both the fastest counts, of requests the median.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from multvae_export.architectures import Architecture
from multvae_export.benchmark.floor import last_layer, read
from multvae_export.benchmark.session import CUDA, TOP, Call, ServedFile

#: Every competitor has TURNS turns. A large batch gets fewer requests, but at least LEAST.
TURNS, LEAST = 10, 50
WARM_SECONDS = 0.05
HEADER = (
    "file", "form", "provider", "batch", "p50 ms", "p95 ms", "p99 ms", "users/s", "p50 / first", "floor ms", "p50 / floor",
)  # fmt: skip


class Eager:
    """The model in plain torch, as a service without onnxruntime would run it."""

    def __init__(self, architecture: Architecture, device: str) -> None:
        self.device, self.scores = device, architecture.eager(device)

    @torch.inference_mode()
    def __call__(self, history: np.ndarray) -> tuple[Tensor, Tensor]:
        """The TOP unseen items and their scores, [B, L] -> [B, TOP] each; between equal scores in any order."""
        ids = torch.from_numpy(history).to(self.device)
        x = self.scores(ids)
        scores, items = x.topk(min(TOP, x.shape[1] - 1))
        _wait(self.device)
        return items, scores


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def take_turns(calls: dict[str, Call], requests: int) -> dict[str, np.ndarray]:
    """Milliseconds of ``requests`` requests, rounded up to whole turns, by competitor; those of the warm-up do not count."""
    length = -(-requests // TURNS)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(TURNS):
        for name, call in calls.items():
            begun = time.perf_counter()
            while time.perf_counter() - begun < WARM_SECONDS:
                call(turn)
            for n in range(turn * length, (turn + 1) * length):
                start = time.perf_counter()
                call(n)
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: np.array(values) for name, values in times.items()}


def _parts(file: ServedFile, items: float, batch: int) -> dict[str, tuple[Call, float]]:
    """What the floor of a request is made of, each with the factor of its time: a read, and the last layer of several."""
    parts = {f"read {file.path}": read(file.bytes_read(items), file.provider)}
    if file.decoder[0]:
        call, one_row = last_layer(*file.decoder, file.precision, file.provider)
        parts[f"last layer {file.precision}"] = call, batch * one_row
    return parts


def measure(files: list[ServedFile], model: Architecture | None, batch: int, requests: int) -> Iterator[list[str]]:
    """The rows of a provider's table at a batch size."""
    first = files[0]
    device = "cuda" if first.provider == CUDA else "cpu"
    batches = first.requests(batch)
    items = float(np.mean([(rows > 0).sum() for rows in batches]))
    competitors = {f"{file.path} {among}": (file, among) for file in files for among in file.among}
    calls: dict[str, Call] = {name: file.call(batches, among) for name, (file, among) in competitors.items()}
    if model:
        eager = Eager(model, device)
        calls["torch eager"] = lambda n: eager(batches[n % len(batches)])
    parts = {file.path: _parts(file, items, batch) for file in files}
    calls |= {name: call for of_file in parts.values() for name, (call, _) in of_file.items()}
    times = take_turns(calls, max(LEAST, requests // batch))
    place, plain = first.provider.removesuffix("ExecutionProvider"), float(np.median(next(iter(times.values()))))
    for name, (file, among) in competitors.items():
        # For some items only, not all weights are read.
        least = [] if among else [factor * float(times[part].min()) for part, (_, factor) in parts[file.path].items()]
        floor = max(least, default=None)
        form = [f"{file.io} {file.precision}", *file.options, *([f"among {among}"] if among else [])]
        yield [Path(file.path).name, " ".join(form), place, str(batch), *_figures(times[name], batch, plain, floor)]
    if model:
        yield ["torch eager", "fp32", place, str(batch), *_figures(times["torch eager"], batch, plain, None)]


def _figures(times: np.ndarray, batch: int, plain: float, floor: float | None) -> list[str]:
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    beside = [f"{p50 / plain:.2f}", *([f"{floor:.2f}", f"{p50 / floor:.2f}"] if floor else ["", ""])]
    return [*(f"{value:.2f}" for value in (p50, p95, p99)), f"{1000 * batch / times.mean():.0f}", *beside]
