"""Training: MultVAE beside RecBole's MultiVAE, Cornac's VAECF and the floor, the three products of the output layer alone.

    python benchmarks/training.py                                    # 20,000 users x 20,108 items, 600-200-600, batch 500
    python benchmarks/training.py --users 136677                     # ML-20M's shape, for a GPU
    python benchmarks/training.py --users 136677 --batch 24576       # as NVIDIA's published figure has it
    python benchmarks/training.py --profile                          # where the time of our step goes

Each contestant has a process of its own and trains with its library's own ``fit``; they take turns of ``--batches`` batches.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import contestants
import numpy as np
import torch
from contestants import DEVICE, Enough
from machine import describe, quiet
from workers import CORNAC, OURS, RECBOLE, SHARED, Answer, Worker, made, recbole, rounds, spread, workers

from recbole_multvae.hardware import has_bf16

#: Users per second in training, and where that stands.
NVIDIA = 219_000
NVIDIA_SOURCE = (
    "NVIDIA's VAE-CF on ML-20M: one V100 16G, mixed precision, batch 24,576 "
    "(github.com/NVIDIA/DeepLearningExamples at 678c71b, TensorFlow/Recommendation/VAE-CF/README.md)"
)

PRODUCTS, SOFTMAX, REST = "products of the output layer", "softmax, loss and their gradients", "rest"
#: A text that the names of a part's operations contain.
SIGNS = {
    "Adam": "Optimizer.step",
    "encoder's table: rows and their gradient": "mbedding",
    "small layers": "ddmm",
    "handing over gradients": "AccumulateGrad",
}


def training_clicks(dataset: str, data_path: Path) -> Path:
    """A NumPy file of the clicks that RecBole's default split trains on, counted from 0: [2, number of clicks]."""
    from recbole.config import Config
    from recbole.data import create_dataset

    path = data_path / dataset / "train.npy"
    config = Config(OURS, dataset, config_dict={**SHARED, "data_path": str(data_path)})
    clicks = create_dataset(config).build()[0].inter_feat
    np.save(path, np.stack([clicks["user_id"].numpy() - 1, clicks["item_id"].numpy() - 1]))
    return path.resolve()


def descriptions(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The descriptions of all, for contestants.py."""
    dataset = made(args.data_path, args.users, args.items)
    train = str(training_clicks(dataset, args.data_path))
    sizes = {"items": args.items, "batch": args.batch}
    described = {}
    for precision in args.precision:
        described[f"{OURS} {precision}"] = recbole(OURS, dataset, args.data_path, args.batch, precision=precision)
        described[f"floor {precision}"] = {"kind": "floor", "precision": precision, **sizes}
    described[RECBOLE] = recbole(RECBOLE, dataset, args.data_path, args.batch)
    return {**described, CORNAC: {"kind": "cornac", "train": train, "users": args.users, **sizes}}


def table(started: dict[str, Worker], answers: dict[str, list[Answer]], batch: int) -> None:
    """Print the Markdown table; ratios are of turns that came one after the other."""
    per_user = {name: np.array([turn["seconds"] / turn["users"] for turn in turns]) for name, turns in answers.items()}
    gpu = " GPU peak MiB |" if DEVICE.type == "cuda" else ""
    print("| | ms a batch | users/s | RecBole / this | this / floor | peak MiB before the first batch | peak MiB |" + gpu)
    print("|---|---|---|---|---|---|---|" + "---|" * bool(gpu))
    for name, seconds in per_user.items():
        floor = per_user["floor bf16" if name.endswith("bf16") else "floor fp32"]
        median, last = np.median(seconds), answers[name][-1]
        cells = [spread((1000 * batch * seconds).tolist(), ".0f"), f"{1 / median:,.0f}"]
        cells += [spread(ratio.tolist()) for ratio in (per_user[RECBOLE] / seconds, seconds / floor)]
        cells += [f"{started[name].ready['peak']:.0f}", f"{last['peak']:.0f}"] + [f"{last['gpu']:.0f}"] * bool(gpu)
        print(f"| {name} | " + " | ".join(cells) + " |")


def compare(args: argparse.Namespace) -> None:
    """Let the contestants take turns and print the table."""
    with workers(descriptions(args)) as started:
        answers = rounds(started, args.batches * args.batch, 2 * args.batch, args.repetitions)
    print(f"{args.users:,} users x {args.items:,} items, 600-200-600, batch {args.batch}, {args.batches} batches a turn,")
    print(f"{args.repetitions} turns each: median (least to most).\n")
    table(started, answers, args.batch)
    if DEVICE.type == "cuda":
        print(f"\nPublished: {NVIDIA:,} users/s, {NVIDIA_SOURCE}.")


class Profiled:
    """Hands out three batches, then some more under torch's profiler, and ends the training."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def __call__(self, batches: Iterable[Any]) -> Iterator[Any]:
        iterator = itertools.cycle(batches)
        yield from itertools.islice(iterator, 3)
        with torch.profiler.profile() as self.profiler:
            start = time.perf_counter()
            yield from itertools.islice(iterator, self.batches)
            self.seconds = time.perf_counter() - start
        raise Enough


def part_of_step(event: Any) -> str:
    """The part of a training step to which an operation of the profiler belongs, by the operations that it is in."""
    names = []
    while event is not None:
        names.append(event.name)
        event = event.cpu_parent
    if any("_FusedLoss" in name for name in names):
        return PRODUCTS if names[0].startswith("aten::addmm") else SOFTMAX
    return next((part for part, sign in SIGNS.items() if any(sign in name for name in names)), REST)


def profile(args: argparse.Namespace) -> None:
    """Print the time of each part of our training step, within ``fit``."""
    profiled = Profiled(args.batches)
    described = recbole(
        OURS, made(args.data_path, args.users, args.items), args.data_path, args.batch, precision=args.precision[0]
    )
    contestants.KINDS[described.pop("kind")](profiled, **described)
    taken = dict.fromkeys((PRODUCTS, SOFTMAX, *SIGNS, REST), 0.0)
    for event in profiled.profiler.events():
        taken[part_of_step(event)] += event.self_device_time_total if DEVICE.type == "cuda" else event.self_cpu_time_total
    taken[REST] += 1e6 * profiled.seconds - sum(taken.values())
    print("| part of a step | ms | % |\n|---|---|---|")
    for part, microseconds in taken.items():
        milliseconds = microseconds / 1000 / args.batches
        print(f"| {part} | {milliseconds:.1f} | {milliseconds * args.batches / profiled.seconds / 10:.1f} |")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=20_108)
    parser.add_argument("--batch", type=int, default=500, help="users in a batch (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=10, help="in a turn; 40 are an epoch of 20,000 users (default: 10)")
    parser.add_argument("--repetitions", type=int, default=5)
    best = ["fp32", "bf16"] if has_bf16(DEVICE) else ["fp32"]
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=best, help="of our output layer")
    parser.add_argument("--data_path", type=Path, default=Path("dataset"), help="where the made data are kept")
    parser.add_argument("--profile", action="store_true", help="only print where the time of our step goes")
    args = parser.parse_args()
    quiet()
    print(describe() + "\n")
    profile(args) if args.profile else compare(args)


if __name__ == "__main__":
    main()
