"""Time to accuracy: validation over wall-clock seconds, of MultVAE and of RecBole's MultiVAE with the defaults of each.

    python benchmarks/time_to_accuracy.py --dataset=ml-1m --config_files ml-1m-leaderboard --seeds 2020 2021 --plot=time.svg
    python benchmarks/time_to_accuracy.py --models MultVAE "MultVAE train_batch_size=100" MultiVAE \
        "MultiVAE learning_rate=0.007" --keys epochs=20

A contestant is a model with configuration keys of its own. Each run has a process of its own, one after the other. Its clock
starts before the process does: imports and the preparation of the data count. All contestants have the same split, the same
``valid_metric`` and ``--keys``. This package's command starts all of them. It imports less than RecBole's own command, and
ranks many users at once with RecBole's models too, where RecBole's default is one. The metrics do not depend on that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from runs import Run, describe_run, machines, mean, measure_all, texts
from time_plot import draw
from workers import spread


def describe_contestant(contestant: str, seed: int, args: argparse.Namespace) -> Run:
    """The description of a contestant's run for timed_run.py."""
    model, *model_keys = contestant.split()
    keys = texts([*args.keys, *model_keys])
    return describe_run(model, args.dataset, args.data_path, seed, args.config_files, keys, valid_metric=args.metric)


def best(run: Run) -> tuple[float, float]:
    """The best validation of a run: its value, and the seconds until it was first reached."""
    value = (max if run["bigger"] else min)(point["score"] for point in run["validations"])
    return value, reached(run, value) or 0.0


def reached(run: Run, value: float) -> float | None:
    """The seconds until the validation was as good as the value; None if it never was."""
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
        its_runs = [run for run in runs if run["name"] == name]
        pairs = [(run, references[run["described"]["keys"]["seed"]]) for run in its_runs]
        times = [(reached(run, best(other)[0]), best(other)[1]) for run, other in pairs]
        ends = [(seconds, other) for seconds, other in times if seconds is not None]
        missed = f", {len(times) - len(ends)} of {len(times)} never" if len(ends) < len(times) else ""
        cells = [
            mean([best(run)[0] for run in its_runs]),
            mean([run["test"][metric.lower()] for run in its_runs]),
            spread([best(run)[1] for run in its_runs], ".1f"),
            spread([run["seconds"] for run in its_runs], ".1f"),
            (spread([seconds for seconds, _ in ends], ".1f") if ends else "-") + missed,
            spread([other / seconds for seconds, other in ends]) if ends else "-",
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


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
    parser.add_argument(
        "--reference",
        default="MultiVAE",
        help="the contestant to be reached (default: %(default)s)",
    )
    parser.add_argument("--metric", default="NDCG@10", help="valid_metric (default: %(default)s)")
    parser.add_argument("--keys", nargs="*", default=[], help="key=value for all contestants")
    parser.add_argument("--results", type=Path, default=Path("time.json"), help="a JSON file (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="take the runs in --results, and measure only the others")
    parser.add_argument("--plot", help="an SVG or PNG file")
    args = parser.parse_args()
    if args.reference not in args.models:
        parser.error(f"--reference={args.reference} is none of --models")
    return args


def main() -> None:
    """Measure every contestant with every seed, print the table and draw the plot."""
    args = read_arguments()
    described = [(name, describe_contestant(name, seed, args)) for seed in args.seeds for name in args.models]
    runs = measure_all(described, args.results, args.keep)
    print(f"{machines(runs)}\n\n{args.dataset}, seeds {', '.join(map(str, args.seeds))}\n")
    print("\n".join(rows(runs, args.reference, args.metric)))
    if args.plot:
        draw(runs, args.metric, args.plot)


if __name__ == "__main__":
    main()
