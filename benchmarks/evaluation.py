"""Full-ranking evaluation: MultVAE beside RecBole's MultiVAE and beside the plain product of the last layer.

    python benchmarks/evaluation.py                 # 1,000 of 20,000 users x 20,108 items, 600-200-600

Each contestant has a process of its own and evaluates with RecBole's ``Trainer.evaluate``; they take turns. The weights are
random: the time does not depend on them. MiB is the memory that an evaluation adds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from machine import describe
from workers import OURS, RECBOLE, made, recbole, rounds, spread, workers

MANY, FLOOR = "the same, 500 users at once", "product alone"


def main() -> None:
    """Let the contestants take turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000, help="of the made data (default: %(default)s)")
    parser.add_argument("--items", type=int, default=20_108)
    parser.add_argument("--tested", type=int, default=1000, help="users of an evaluation (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--data_path", type=Path, default=Path("dataset"), help="where the made data are kept")
    args = parser.parse_args()
    dataset = made(args.data_path, args.users, args.items)
    described = {name: recbole(name, dataset, args.data_path, evaluated=args.tested) for name in (OURS, RECBOLE)}
    many = {"eval_batch_size": 500 * (args.items + 1)}
    described[MANY] = recbole(RECBOLE, dataset, args.data_path, evaluated=args.tested, **many)
    described[FLOOR] = {"kind": "product", "users": args.tested, "items": args.items}
    with workers(described) as started:
        answers = rounds(started, args.tested, args.tested, args.repetitions)
    print(f"{describe()}\n\n{args.tested} test users of {dataset}, {args.repetitions} turns: median (least to most)\n")
    print("| | seconds | times ours | times the product alone | most MiB |\n|---|---|---|---|---|")
    seconds = {name: np.array([turn["seconds"] for turn in turns]) for name, turns in answers.items()}
    for name, taken in seconds.items():
        cells = [spread((taken / other).tolist()) for other in (1, seconds[OURS], seconds[FLOOR])]
        added = answers[name][-1]["peak"] - started[name].ready["resident"]
        print(f"| {name} | {' | '.join(cells)} | {added:.0f} |")


if __name__ == "__main__":
    main()
