"""Tables of test metrics, our figures beside those that others published:

    python benchmarks/quality.py slides --data_path <folder of ml-1m>
    python benchmarks/quality.py strong --data_path <folder of ml-1m> --seeds 2020 2021 2022
    python benchmarks/quality.py sizes

Of ml-1m are the tables slides, leaderboard, strong (the paper's protocol, beside a public implementation) and likelihoods.
gowalla is LightGCN's split. ml-20m, netflix and msd are only described where the data are not. sizes, precision and sampled
are this project's own. quality_tables.py says what each table trains.

Every run has a process of its own, one after the other, and its seconds go from the start of the process to the end of the
test; those of an epoch are its training alone. Rows of ours are means ± standard deviations over seeds. A seed decides the
split too, except in strong, likelihoods, gowalla, sampled and the large ones. ``--results`` holds all that was measured;
``--keep`` goes on from there. For a trial in small:

    python benchmarks/quality.py slides --dataset ml-100k --keys epochs=2 --seeds 1 2
    python benchmarks/quality.py strong --dataset ml-100k --seeds 1 --keys epochs=2 \
        "eval_args={'split': {'SG': {'valid_users': 100, 'test_users': 100, 'seed': 98765}}, 'mode': 'full'}"
"""

from __future__ import annotations

import argparse
import shlex
import statistics
from pathlib import Path

import vae_cf
from quality_tables import TABLES, Row, Table
from runs import Run, describe_run, machines, mean, measure_all, texts
from workers import spread


def describe(row: Row, table: Table, seed: int, args: argparse.Namespace) -> Run:
    """What the row's script is told."""
    own = texts([*f"{table.keys} {row.keys}".split(), *args.keys])
    described = describe_run(row.model, table.dataset, args.data_path, seed, [*table.files, *row.files], own)
    return {**described, "script": row.script}


def command(described: Run) -> str:
    """What to type to train the same alone."""
    keys = {"model": described["model"], "dataset": described["dataset"], "config_files": " ".join(described["files"]),
            **described["own"]}  # fmt: skip
    return "python run_recbole.py " + " ".join(f"--{key}={shlex.quote(value)}" for key, value in keys.items() if value)


def markdown(table: Table, runs: list[Run]) -> list[str]:
    """The lines of the Markdown table."""
    columns = [*table.metrics.values(), "s in all", "s an epoch", "peak MiB"]
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in dict.fromkeys(run["name"] for run in runs):
        own = [run for run in runs if run["name"] == name]
        cells = [mean([run["test"][metric] for run in own]) for metric in table.metrics]
        cells.append(spread([run["seconds"] for run in own], ".0f"))
        cells.append(spread([statistics.median(run["epochs"]) for run in own], ".2f") if own[0].get("epochs") else "")
        cells.append(f"{max(run['peak'] for run in own):.0f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name, values in table.published.items():
        cells = ["–" if value is None else f"{value:g}" for value in values]  # noqa: RUF001
        lines.append(f"| *published:* {name} | {' | '.join(cells)} | | | |")
    return lines


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument(
        "--data_path", type=Path, default=Path("dataset"), help="the folder that holds the data set's folder"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020, 2021, 2022])
    parser.add_argument("--models", nargs="+", help="names of rows of the table (default: all)")
    parser.add_argument("--dataset", help="another data set than the table's, for trials")
    parser.add_argument("--keys", nargs="*", default=[], help="key=value for all rows, which win over their own")
    parser.add_argument("--results", type=Path, help="a JSON file (default: quality-<table>.json)")
    parser.add_argument("--keep", action="store_true", help="take the runs that --results holds, and add what it lacks")
    args = parser.parse_args()
    args.results = args.results or Path(f"quality-{args.table}.json")
    names = list(TABLES[args.table].rows)
    args.models = args.models or names
    if unknown := set(args.models) - set(names):
        parser.error(f"--models: {unknown.pop()!r} is no row of {args.table}, whose rows are {', '.join(map(repr, names))}")
    return args


def title(table: Table, args: argparse.Namespace, runs: list[Run]) -> str:
    """What stands above the table: where and how it was measured, or that it was not."""
    if not runs:
        return f"{table.title}.\nNot run here: there are no data in {args.data_path / table.dataset}."
    return f"{machines(runs)}\n\n{table.title}. Seeds {', '.join(map(str, args.seeds))}"


def main() -> None:
    """Train every row with every seed and print the table."""
    args = read_arguments()
    table = TABLES[args.table]
    if args.dataset:
        table = table._replace(dataset=args.dataset, title=f"{table.title}; a trial on {args.dataset}", published={})
    rows = {name: table.rows[name] for name in args.models}
    described = [(name, describe(row, table, seed, args)) for seed in args.seeds for name, row in rows.items()]
    runs: list[Run] = []
    if not table.large or (args.data_path / table.dataset).is_dir():
        if any(row.script == "vae_cf.py" for row in rows.values()):
            vae_cf.fetch()
        runs = measure_all(described, args.results, args.keep)
    print("\n".join([title(table, args, runs), "", *markdown(table, runs)]))
    print("\nOne run of each row, with --seed and --data_path:\n")
    for name, run in described[: len(rows)]:
        print(f"- {name}: `{command(run)}`" + (", but by vae_cf.py" if run["script"] == "vae_cf.py" else ""))


if __name__ == "__main__":
    main()
