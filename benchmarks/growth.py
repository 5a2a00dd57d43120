"""How cost grows with users and items: MultVAE beside RecBole's MultiVAE at 1, 4 and 16 times the users, and the items.

    python benchmarks/growth.py --plot benchmarks/growth.svg

Each contestant has a process of its own, trains with its library's own ``fit``, and then evaluates some users with default
settings; the two take turns. Preparation, from reading the file to the first batch, is done once. Sizes that are in
``--results`` are not measured again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from pathlib import Path

from machine import describe
from workers import HERE, OURS, RECBOLE, Answer, Worker, made, peers_python, recbole, rounds, workers

BATCH, BATCHES, EVALUATED, REPETITIONS = 500, 2, 250, 5
FACTORS = (1, 4, 16)
QUANTITIES = ("preparation s", "ms a training batch", "ms an evaluated user", "peak MiB")

#: The values of each quantity, by contestant.
Figures = dict[str, dict[str, list[float]]]


def measure(users: int, items: int, data_path: Path) -> Figures:
    """The figures of both contestants at one size."""
    dataset = made(data_path, users, items)
    both = {name: recbole(name, dataset, data_path, BATCH, evaluated=EVALUATED) for name in (OURS, RECBOLE)}
    with workers(both) as started:
        trained = rounds(started, BATCHES * BATCH, BATCH, REPETITIONS)
        for worker in started.values():
            worker.turn(0)
        evaluated = rounds(started, EVALUATED, EVALUATED, REPETITIONS)
    return {name: figures(started[name], trained[name], evaluated[name]) for name in both}


def figures(worker: Worker, trained: list[Answer], evaluated: list[Answer]) -> dict[str, list[float]]:
    """The values of each quantity."""
    batch = [1000 * BATCH * turn["seconds"] / turn["users"] for turn in trained]
    user = [1000 * turn["seconds"] / turn["users"] for turn in evaluated]
    peak = max(turn["peak"] for turn in (worker.ready, trained[-1], evaluated[-1]))
    return dict(zip(QUANTITIES, ([worker.ready["seconds"]], batch, user, [peak]), strict=True))


def rows(users: int, items: int, figures: Figures, base: Figures) -> list[str]:
    """The lines of a size in the Markdown table: the cost of each contestant, its growth, and the ratio by turns."""
    lines = []
    for name, values in figures.items():
        cells = []
        for quantity in QUANTITIES:
            median, before = statistics.median(values[quantity]), statistics.median(base[name][quantity])
            cells.append(f"{median:.{1 if median < 100 else 0}f} (x {median / before:.1f})")
        lines.append(f"| {users:,} x {items:,} | {name} | " + " | ".join(cells) + " |")
    ratios = []
    for quantity in QUANTITIES:
        pairs = zip(figures[RECBOLE][quantity], figures[OURS][quantity], strict=True)
        ratio = [recbole_cost / our_cost for recbole_cost, our_cost in pairs]
        least_to_most = f" ({min(ratio):.1f} to {max(ratio):.1f})" if len(ratio) > 1 else ""
        ratios.append(f"{statistics.median(ratio):.1f}{least_to_most}")
    return [*lines, "| | RecBole's / ours | " + " | ".join(ratios) + " |"]


def main() -> None:
    """Measure every size, print the table and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=5000, help="1x (default: %(default)s)")
    parser.add_argument("--items", type=int, default=5027, help="1x (default: %(default)s)")
    parser.add_argument("--data_path", type=Path, default=Path("dataset"), help="where the made data are kept")
    parser.add_argument("--results", type=Path, default=Path("growth.json"))
    parser.add_argument("--plot", type=Path, help="an SVG or PNG file")
    args = parser.parse_args()
    print(describe() + "\n")
    print("| users x items | | " + " | ".join(QUANTITIES) + " |\n|---|---|" + "---|" * len(QUANTITIES), flush=True)
    by_users = [(factor * args.users, args.items) for factor in FACTORS]
    by_items = [(args.users, factor * args.items) for factor in FACTORS]
    results = json.loads(args.results.read_text("utf-8")) if args.results.exists() else {}
    for users, items in [*by_users, *by_items[1:]]:
        size = f"{users} {items}"
        if size not in results:
            results[size] = measure(users, items, args.data_path)
            args.results.write_text(json.dumps(results), "utf-8")
        print("\n".join(rows(users, items, results[size], results[f"{args.users} {args.items}"])), flush=True)
    if args.plot:
        subprocess.run([peers_python(), HERE / "growth_plot.py", args.results, args.plot], check=True)


if __name__ == "__main__":
    main()
