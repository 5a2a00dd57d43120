"""Time to accuracy: validation over wall-clock seconds, of MultVAE and of RecBole's MultiVAE with the defaults of each.

    python benchmarks/time_to_accuracy.py --dataset=ml-1m --config_files ml-1m-leaderboard --seeds 2020 2021 --plot=time.svg
    python benchmarks/time_to_accuracy.py --models MultVAE "MultVAE train_batch_size=100" MultiVAE \
        "MultiVAE learning_rate=0.007" "MultiVAE eval_batch_size=4096" --keys epochs=20

A contestant is a model and configuration keys of its own. Each run has a process of its own, one after the other, and its
clock starts before the process does: imports and the preparation of the data count. All have the same split, the same
``valid_metric`` and ``--keys``. All start by this package's command, which imports less than RecBole's own; and RecBole's
models get an ``eval_batch_size`` with which they rank many users at once. With RecBole's default, 4096, they rank one: the
last contestant above. The metrics do not depend on it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import recbole
import torch
from machine import describe
from time_plot import draw
from workers import HERE, spread

import recbole_multvae
from recbole_multvae.models import FAMILY
from recbole_multvae.training.checkpoints import replaced

#: Ours takes as many users as ``eval_memory`` holds.
EVAL_BATCH_SIZE = 10_000_000
OURS = {model.__name__ for model in FAMILY}
VERSIONS = {"python": platform.python_version(), "torch": torch.__version__, "recbole": recbole.__version__,
            "recbole_multvae": recbole_multvae.__version__}  # fmt: skip

Run = dict[str, Any]


def texts(keys: list[str]) -> dict[str, str]:
    """The keys and values of ``key=value``."""
    pairs = [key.partition("=") for key in keys]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise SystemExit(f"{wrong[0]!r} is not understood: write key=value.")
    return {key: value for key, _, value in pairs}


def describe_run(contestant: str, seed: int, args: argparse.Namespace) -> Run:
    """What timed_run.py is told of a contestant."""
    model, *own = contestant.split()
    keys = {"data_path": str(args.data_path.resolve()), "valid_metric": args.metric, "seed": seed, "checkpoint_dir": "saved",
            "show_progress": False, "state": "ERROR"}  # fmt: skip
    if model not in OURS:
        keys["eval_batch_size"] = EVAL_BATCH_SIZE
    files = [str(Path(file).resolve()) if Path(file).exists() else file for file in args.config_files]
    return {"model": model, "dataset": args.dataset, "files": files, "keys": keys, "own": texts([*args.keys, *own])}


def measure(contestant: str, described: Run) -> Run:
    """Train a contestant in a process of its own, in a folder that is removed in the end."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.json"
        command = [sys.executable, "-W", "ignore", str(HERE / "timed_run.py")]
        started = time.time()
        done = subprocess.run([*command, json.dumps({**described, "started": started}), file], cwd=folder, check=False)
        if done.returncode:
            raise SystemExit(f"{contestant} ended with exit status {done.returncode}: see above.")
        measured = json.loads(file.read_text("utf-8"))
    return {"name": contestant, "described": described, "machine": describe(), "versions": VERSIONS, **measured}


def best(run: Run) -> tuple[float, float]:
    """The best validation of a run: its value, and the seconds when it was first there."""
    value = (max if run["bigger"] else min)(point["score"] for point in run["validations"])
    return value, reached(run, value) or 0.0


def reached(run: Run, value: float) -> float | None:
    """The seconds after which validation was as good as the value; None: it never was."""
    sign = 1 if run["bigger"] else -1
    return next((point["seconds"] for point in run["validations"] if sign * (point["score"] - value) >= 0), None)


def rows(runs: list[Run], reference: str, metric: str) -> list[str]:
    """The lines of the Markdown table: means with deviations over seeds, medians with least and most of times."""
    references = {run["described"]["keys"]["seed"]: run for run in runs if run["name"] == reference}
    lines = [
        f"| | validation {metric} | test {metric} | s to its best validation | s in all | s to that of {reference} | "
        f"{reference} / this |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(run["name"] for run in runs):
        own = [run for run in runs if run["name"] == name]
        pairs = [(run, references[run["described"]["keys"]["seed"]]) for run in own]
        times = [(reached(run, best(theirs)[0]), best(theirs)[1]) for run, theirs in pairs]
        ends = [(ours, theirs) for ours, theirs in times if ours is not None]
        missed = f", {len(times) - len(ends)} of {len(times)} never" if len(ends) < len(times) else ""
        cells = [
            mean([best(run)[0] for run in own]),
            mean([run["test"][metric.lower()] for run in own]),
            spread([best(run)[1] for run in own], ".1f"),
            spread([run["seconds"] for run in own], ".1f"),
            (spread([ours for ours, _ in ends], ".1f") if ends else "-") + missed,
            spread([theirs / ours for ours, theirs in ends]) if ends else "-",
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def mean(values: list[float]) -> str:
    """The mean and the standard deviation."""
    return f"{statistics.mean(values):.4f}" + (f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else "")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument(
        "--data_path", type=Path, default=Path("dataset"), help="the folder that holds the data set's folder"
    )
    parser.add_argument(
        "--config_files", nargs="*", default=[], help="YAML files for all contestants, or names of shipped ones"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020])
    parser.add_argument("--models", nargs="+", default=["MultVAE", "MultiVAE"], help="a model, or 'model key=value ...'")
    parser.add_argument("--reference", default="MultiVAE", help="the contestant to be reached (default: %(default)s)")
    parser.add_argument("--metric", default="NDCG@10", help="valid_metric (default: %(default)s)")
    parser.add_argument("--keys", nargs="*", default=[], help="key=value for all contestants")
    parser.add_argument("--results", type=Path, default=Path("time.json"), help="a JSON file (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="take the runs that --results holds, and add what it lacks")
    parser.add_argument("--plot", help="an SVG or PNG file")
    args = parser.parse_args()
    if args.reference not in args.models:
        parser.error(f"--reference={args.reference} is none of --models")
    return args


def main() -> None:
    """Measure every contestant with every seed, print the table and draw the plot."""
    args = read_arguments()
    kept: list[Run] = json.loads(args.results.read_text("utf-8")) if args.keep and args.results.exists() else []
    runs: list[Run] = []
    for seed in args.seeds:
        for contestant in args.models:
            described = describe_run(contestant, seed, args)
            held = next((run for run in kept if run["described"] == described), None)
            runs.append(held or measure(contestant, described))
            others = [run for run in kept if run["described"] not in [mine["described"] for mine in runs]]
            with replaced(args.results) as part:
                Path(part).write_text(json.dumps(runs + others, indent=1), "utf-8")
    machines = dict.fromkeys(run["machine"] for run in runs)
    print("\n".join(machines) + f"\n\n{args.dataset}, seeds {', '.join(map(str, args.seeds))}\n")
    print("\n".join(rows(runs, args.reference, args.metric)))
    if args.plot:
        draw(runs, args.metric, args.plot)


if __name__ == "__main__":
    main()
