"""Which of RecBole's general models work: the leaderboard trains each for one epoch on ml-100k and tests it.

    python benchmarks/every_model.py --report_dir every_model --results benchmarks/leaderboards/every_model.json

After an interruption the same command goes on. The seconds are those of one epoch and of one test: with many users at once,
as this package ranks, and one user at a time, as RecBole ranks by default (see one_by_one.py).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import one_by_one
from environments import recbole_models
from machine import describe, quiet
from runs import leaderboard

from recbole_multvae.leaderboard.json_file import write_json
from recbole_multvae.leaderboard.table import number


def main() -> None:
    """Run the leaderboard and the comparison, and print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=recbole_models("general"), help="names (default: all general models)")
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument(
        "--report_dir", type=Path, default=Path("every_model"), help="of the leaderboard (default: %(default)s)"
    )
    parser.add_argument("--results", type=Path, help="a JSON file for the table")
    args = parser.parse_args()
    keys = {"data_path": args.data_path, "epochs": "1", "valid_metric": "NDCG@10"}
    report = leaderboard(args.models, args.dataset, [], keys, [2020], args.report_dir)
    quiet()
    rows = [summary(row) for row in sorted(report["rows"], key=lambda row: row["name"])]
    if args.results:
        args.results.parent.mkdir(parents=True, exist_ok=True)
        machine = {key: report[key] for key in ("created", "machine", "versions", "dataset", "protocol")}
        write_json(args.results, {**machine, "models": rows})
    print(f"\n{describe()}\n\n| | works | s an epoch | s a test | s a test, one user at a time |\n|---|---|---|---|---|")
    for row in rows:
        times = [number(row[key], 2) for key in ("training_seconds", "test_seconds", "one_by_one_seconds")]
        print(f"| {row['model']} | {'yes' if row['works'] else row['error']} | {' | '.join(times)} |")


def summary(row: dict[str, Any]) -> dict[str, Any]:
    """The measurements of a row of the report."""
    works, mean = row["status"] == "finished", {name: spread["mean"] for name, spread in row["seconds"].items()}
    compared = one_by_one.measure(row["best_checkpoint"]) if works else None
    return {
        "model": row["name"],
        "works": works,
        "error": row["error"],
        "training_seconds": mean.get("training"),
        "test_seconds": mean.get("test"),
        "one_by_one_seconds": compared and compared["one_by_one"],
        "lists_compared": compared and compared["users"],
        "lists_different": compared and compared["different"],
    }


if __name__ == "__main__":
    main()
