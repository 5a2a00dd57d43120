"""Which of RecBole's general models work: the leaderboard trains each for one epoch on ml-100k and tests it.

    python benchmarks/every_model.py --report_dir every_model --results benchmarks/leaderboards/every_model.json

Interrupted, the same command goes on. The seconds are those of one epoch and of one test: many users at once, as the
leaderboard ranks, and one user at a time, as RecBole does by default.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from environments import recbole_models
from machine import describe

from recbole_multvae.leaderboard.json_file import write_json
from recbole_multvae.leaderboard.table import number

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Run the leaderboard, and print and keep its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=recbole_models("general"), help="names (default: all general models)")
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument(
        "--report_dir", type=Path, default=Path("every_model"), help="of the leaderboard (default: %(default)s)"
    )
    parser.add_argument("--results", type=Path, help="where the table is kept as JSON")
    args = parser.parse_args()
    flags = [f"--{name}={getattr(args, name)}" for name in ("dataset", "data_path", "report_dir")]
    command = [sys.executable, str(ROOT / "run_recbole.py"), f"--model={','.join(args.models)}", *flags]
    subprocess.run([*command, "--epochs=1", "--valid_metric=NDCG@10"], check=False)  # Exit code 1: some models failed.
    report = json.loads((args.report_dir / "report.json").read_text("utf-8"))
    rows = [described(row) for row in sorted(report["rows"], key=lambda row: row["name"])]
    if args.results:
        args.results.parent.mkdir(parents=True, exist_ok=True)
        machine = {key: report[key] for key in ("created", "machine", "versions", "dataset", "protocol")}
        write_json(args.results, {**machine, "models": rows})
    print(f"\n{describe()}\n\n| | works | s an epoch | s a test | s a test, one user at a time |\n|---|---|---|---|---|")
    for row in rows:
        times = [number(row[key], 2) for key in ("training_seconds", "test_seconds", "one_by_one_seconds")]
        print(f"| {row['model']} | {'yes' if row['works'] else row['error']} | {' | '.join(times)} |")


def described(row: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a row of the report."""
    seconds, one_by_one = row["seconds"], row.get("one_by_one")
    mean = {name: found["mean"] for name, found in seconds.items()}
    return {
        "model": row["name"],
        "works": row["status"] == "finished",
        "error": row["error"],
        "training_seconds": mean.get("training"),
        "test_seconds": mean.get("test"),
        "one_by_one_seconds": one_by_one and one_by_one["one_by_one"] / 2,  # Of a validation and of the test.
        "lists_compared": one_by_one and one_by_one["users_compared"],
        "lists_different": one_by_one and one_by_one["users_different"],
    }


if __name__ == "__main__":
    main()
