"""The command ``multvae-benchmark``: how long exported files take for a request, beside a lower bound on that time.

Every file, the read of the floor and torch take turns, so that a slow moment of the machine hits all of them; the first
50 ms of a turn do not count, as the threads of whoever came before may still be spinning. A request is ``batch`` histories,
different ones each time. On CUDA the input is copied to the GPU and the output stays there, by IO binding; item tokens,
which IO binding does not take, come and go through the CPU.

The lower bound, the floor of a request, is the larger of two times measured in the same run with torch: reading once as many
bytes as the file's weights have, the table's only for the items of the histories, and the arithmetic of the decoder's last
layer at the speed of a large float32 product.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from multvae_export.architectures import Architecture
from multvae_export.benchmark.session import CPU, CUDA, TOP, Call, Served
from multvae_export.checkpoint import contents as checkpoints
from multvae_export.checkpoint.dataset import DataSet
from multvae_export.console import add_dataset_options, run_command
from multvae_export.errors import OptionError
from multvae_export.trained_model import architecture_of

BATCHES = {CUDA: (1, 256, 4096)}
DEFAULT_BATCHES = (1, 16, 256)
#: Every competitor has its turn TURNS times; a large batch gets fewer requests, but LEAST.
TURNS, LEAST = 10, 50
WARM_SECONDS = 0.05


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


def read_once(count: int, device: str) -> Call:
    """A read of so many bytes with all threads, or the whole GPU: their sum as float32."""
    values = torch.ones(max(1, count // 4), device=device)

    def summed(n: int) -> None:
        values.sum()
        _wait(device)

    return summed


def product_seconds(units: int, items: int, device: str, rows: int = 512) -> float:
    """Seconds for one row of a large float32 product [rows, units] x [units, items]: the best of five."""
    left, right = torch.ones(rows, units, device=device), torch.ones(units, items, device=device)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        left @ right
        _wait(device)
        times.append(time.perf_counter() - start)
    return min(times[1:]) / rows


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


def measure(files: list[Served], model: Architecture | None, batch: int, requests: int) -> Iterator[list[str]]:
    """The rows of a provider's table at a batch size."""
    first = files[0]
    device = "cuda" if first.provider == CUDA else "cpu"
    batches = first.requests(batch)
    items = float(np.mean([(rows > 0).sum() for rows in batches]))
    asked = {f"{file.path} {among}": (file, among) for file in files for among in file.among}
    calls: dict[str, Call] = {name: file.call(batches, among) for name, (file, among) in asked.items()}
    for file in files:
        calls[f"read {file.path}"] = read_once(file.bytes_read(items), device)
    if model:
        eager = Eager(model, device)
        calls["torch eager"] = lambda n: eager(batches[n % len(batches)])
    times = take_turns(calls, max(LEAST, requests // batch))
    arithmetic = 1000 * batch * product_seconds(*first.decoder, device)
    place, plain = first.provider.removesuffix("ExecutionProvider"), float(np.median(next(iter(times.values()))))
    for name, (file, among) in asked.items():
        # Of some items not all weights are read.
        floor = None if among else max(float(np.median(times[f"read {file.path}"])), arithmetic)
        said = [f"{file.io} {file.precision}", *file.options, *([f"among {among}"] if among else [])]
        yield [Path(file.path).name, " ".join(said), place, str(batch), *_figures(times[name], batch, plain, floor)]
    if model:
        yield ["torch eager", "fp32", place, str(batch), *_figures(times["torch eager"], batch, plain, None)]


def _figures(times: np.ndarray, batch: int, plain: float, floor: float | None) -> list[str]:
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    beside = [f"{p50 / plain:.2f}", *([f"{floor:.2f}", f"{p50 / floor:.2f}"] if floor else ["", ""])]
    return [*(f"{value:.2f}" for value in (p50, p95, p99)), f"{1000 * batch / times.mean():.0f}", *beside]


HEADER = [
    "file",
    "form",
    "provider",
    "batch",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "users/s",
    "p50 / first",
    "floor ms",
    "p50 / floor",
]


def _providers(asked: Sequence[str] | None) -> list[str]:
    if asked:
        return list(dict.fromkeys(asked))
    usable = torch.cuda.is_available() and CUDA in onnxruntime.get_available_providers()
    return [CPU, CUDA] if usable else [CPU]


def _opened(paths: Sequence[str], provider: str) -> list[Served]:
    files = [Served(path, provider) for path in dict.fromkeys(paths)]
    for file in files[1:]:
        if file.digest != files[0].digest:
            raise OptionError(f"{file.path} and {files[0].path} have different items: compare files of one model.")
        if (file.io == "users") != (files[0].io == "users"):
            raise OptionError(f"one of {file.path} and {files[0].path} answers for users, and the other for histories.")
    return files


def _model(checkpoint: str, data: DataSet | None, file: Served) -> Architecture:
    model = architecture_of(checkpoints.load(checkpoint, data))
    if (model.spec(), model.n_items) != (file.spec, file.n_items):
        raise OptionError(f"{checkpoint} is a model of {model.spec()}, and {file.path} one of {file.spec}: name its own.")
    return model


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="multvae-benchmark",
        description="Latency and throughput of files of multvae-export, beside the lower bound of memory and arithmetic.",
        allow_abbrev=False,
    )
    parser.add_argument("files", metavar="MODEL.onnx", nargs="+", help="files of one model; they take turns")
    parser.add_argument("--checkpoint", metavar="MODEL.pth", help="measure eager torch too; it is never executed")
    add_dataset_options(parser)
    parser.add_argument(
        "--batch-size", type=int, nargs="+", metavar="B", help="users in a request (default: 1 16 256; on CUDA 1 256 4096)"
    )
    parser.add_argument(
        "--provider", nargs="+", metavar="P", help=f"execution providers (default: {CPU}, and {CUDA} where there is a GPU)"
    )
    parser.add_argument(
        "--requests",
        type=int,
        default=500,
        metavar="N",
        help=f"requests at batch size 1, after a warm-up; N / B, but {LEAST} or more, at B (default: %(default)s)",
    )
    return parser


def run(args: argparse.Namespace) -> Iterator[list[str]]:
    """The rows of the table, as they are measured."""
    for name, values in (("--batch-size", args.batch_size or [1]), ("--requests", [args.requests])):
        if min(values) < 1:
            raise OptionError(f"{name}={min(values)} is not allowed: expected 1 or more.")
    data = DataSet.named(args.checkpoint, args.dataset_path, args.trust_dataset)
    for provider in _providers(args.provider):
        files = _opened(args.files, provider)
        model = _model(args.checkpoint, data, files[0]) if args.checkpoint else None
        for batch in args.batch_size or BATCHES.get(provider, DEFAULT_BATCHES):
            yield from measure(files, model, batch, args.requests)


def _print(args: argparse.Namespace) -> None:
    torch.set_float32_matmul_precision("high")  # TF32 where a GPU has it, as onnxruntime does.
    for number, row in enumerate(run(args)):
        if not number:
            print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
        print(f"| {' | '.join(row)} |", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    args = _parser().parse_args(argv)
    return run_command(lambda: _print(args))


if __name__ == "__main__":
    sys.exit(main())
