"""Preparation of the training: MultVAE beside RecBole's MultiVAE, step by step, on 1, 4 and 10 million clicks.

python benchmarks/preparation.py [--users 20000 73000 182000] [--items 20108] [--repetitions 5]
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contestants import configure, memory
from machine import describe
from workers import OURS, RECBOLE, made, recbole, spread


@contextmanager
def phase(name: str, phases: dict[str, float]) -> Iterator[None]:
    """Note the seconds of the block."""
    start = time.perf_counter()
    yield
    phases[name] = time.perf_counter() - start


def prepare(name: str, dataset: str, data_path: Path) -> dict[str, float]:
    """The seconds of each step of ``create_dataset``, ``data_preparation`` and the model; and the peak MiB."""
    described = recbole(name, dataset, data_path)
    config = configure(described["model"], described["keys"], dataset, described["data_path"])
    from recbole.data import create_dataset, create_samplers, get_dataloader
    from recbole.utils import get_model

    phases: dict[str, float] = {}
    with phase("read, filter, number", phases):
        data = create_dataset(config)
    with phase("split", phases):
        parts = data.build()
    with phase("used items", phases):
        samplers = create_samplers(config, data, parts)
    with phase("loaders", phases):
        for part_name, part, sampler in zip(("train", "valid", "test"), parts, samplers, strict=True):
            loader = get_dataloader(config, part_name)(config, part, sampler, shuffle=part_name == "train")
    with phase("hand out the test batches", phases):
        for _ in loader:
            pass
    with phase("model and its history", phases):
        get_model(config["model"])(config, parts[0])
    return {**phases, "sum": sum(phases.values()), "peak MiB": memory("VmHWM")}


def main() -> None:
    """Print a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[20_000, 73_000, 182_000], help="of the made data")
    parser.add_argument("--items", type=int, default=20_108)
    parser.add_argument("--repetitions", type=int, default=5, help="of each, in turns, every time in a new process")
    parser.add_argument("--data_path", type=Path, default=Path("dataset"), help="where the made data are kept")
    args = parser.parse_args()
    print(describe() + "\n")
    for users in args.users:
        dataset = made(args.data_path, users, args.items)
        runs: dict[str, list[dict[str, float]]] = {OURS: [], RECBOLE: []}
        for _ in range(args.repetitions):
            for name, taken in runs.items():
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    taken.append(pool.apply(prepare, (name, dataset, args.data_path)))
        print(f"| {dataset}: seconds | {OURS} | {RECBOLE} | RecBole's / ours |\n|---|---|---|---|")
        for step in runs[OURS][0]:
            our_times, recbole_times = ([run[step] for run in taken] for taken in runs.values())
            form = ".0f" if "MiB" in step else ".2f"
            ratios = [b / a for a, b in zip(our_times, recbole_times, strict=True)]
            print(f"| {step} | {spread(our_times, form)} | {spread(recbole_times, form)} | {spread(ratios, '.1f')} |")
        print(flush=True)


if __name__ == "__main__":
    main()
