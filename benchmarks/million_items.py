"""Training on a catalogue of a million items: seconds a batch and peak memory, exact and with a sampled softmax.

    python benchmarks/million_items.py [--items 1000000] [--users 20000] [--batches 5]

600-200-600, batch 500, made data. Each kind trains alone, in a process of its own, with RecBole's ``Trainer.fit``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from machine import describe
from workers import OURS, made, recbole, rounds, workers

BATCH = 500
KINDS: dict[str, dict[str, Any]] = {
    "`sampled_softmax: 10000`, `learner: sparse_adam`": {"sampled_softmax": 10000, "learner": "sparse_adam"},
    "`sampled_softmax: 10000`": {"sampled_softmax": 10000},
    "exact softmax": {},
}


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--data_path", type=Path, default=Path("dataset"), help="where the made data are kept")
    args = parser.parse_args()
    dataset = made(args.data_path, args.users, args.items)
    print(f"{describe()}\n\n| training | preparation s | s a batch | peak GiB |\n|---|---|---|---|")
    for name, keys in KINDS.items():
        with workers({name: recbole(OURS, dataset, args.data_path, BATCH, **keys)}) as started:
            ready = started[name].ready
            (turn,) = rounds(started, args.batches * BATCH, BATCH, 1)[name]
        seconds, peak = BATCH * turn["seconds"] / turn["users"], max(ready["peak"], turn["peak"]) / 1024
        print(f"| {name} | {ready['seconds']:.0f} | {seconds:.2f} | {peak:.1f} |", flush=True)


if __name__ == "__main__":
    main()
