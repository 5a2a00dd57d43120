"""Tables of test metrics, our figures beside those that others published:

    python benchmarks/quality.py slides --data_path <folder of ml-1m>
    python benchmarks/quality.py strong --data_path <folder of ml-1m> --seeds 2020 2021 2022
    python benchmarks/quality.py sizes

The tables slides, leaderboard, strong (the paper's protocol, beside a public implementation) and likelihoods use ml-1m.
gowalla is LightGCN's split. ml-20m, netflix and msd are only described where the data are missing. sizes, precision and
sampled compare models of this project. quality_tables.py defines the rows of each table.

A table is a leaderboard: ``--report_dir`` holds its report, its runs and the configurations of its rows. If it is
interrupted, the same command goes on. Rows that have a script of their own are run after it. Our figures are means with
standard deviations over seeds. A seed decides the split too, except in strong, likelihoods, gowalla, sampled and the large
tables. Seconds are medians (least to most) over seeds. "s in all" and "peak MiB" count the import of the packages, some 250
MiB, only for scripts. To try a table out:

    python benchmarks/quality.py slides --dataset ml-100k --keys epochs=2 --seeds 1 2
    python benchmarks/quality.py strong --dataset ml-100k --seeds 1 --keys epochs=2 \
        "eval_args={'split': {'SG': {'valid_users': 100, 'test_users': 100, 'seed': 98765}}, 'mode': 'full'}"
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, NamedTuple

import vae_cf
import yaml
from machine import describe
from quality_tables import TABLES, Row, Table
from runs import describe_run, leaderboard, mean, measure_all, texts
from workers import spread

from recbole_multvae.config.yaml_files import read_keys


class Result(NamedTuple):
    """The measurements of one row: lists over the seeds, and the largest peak memory in MiB."""

    metrics: dict[str, list[float]]
    seconds: list[float]
    training: list[float]
    peak: float


def row_keys(row: Row, table: Table) -> dict[str, Any]:
    """The configuration keys of a row that are read after the table's files."""
    keys = {key: value for file in row.files for key, value in read_keys(file).items()}
    return keys | {key: yaml.safe_load(text) for key, text in texts(f"{table.keys} {row.keys}".split()).items()}


def leaderboard_name(name: str, row: Row, table: Table, folder: Path) -> str:
    """How a leaderboard names a row: its model, with a file of the row's keys if it has some, which is written here."""
    keys = row_keys(row, table)
    if not keys:
        return row.model
    file = folder / "rows" / f"{re.sub(r'[^a-zA-Z0-9]+', '-', name).strip('-')}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(keys), "utf-8")
    return f"{row.model}:{file}"


def run_leaderboard(rows: dict[str, Row], table: Table, args: argparse.Namespace) -> dict[str, Result]:
    """Run the rows as a leaderboard. Rows that failed are missing from the results."""
    models = {name: leaderboard_name(name, row, table, args.report_dir) for name, row in rows.items()}
    keys = {"data_path": str(args.data_path.resolve()), "state": "ERROR", **texts(args.keys)}
    report = leaderboard(models.values(), table.dataset, table.files, keys, args.seeds, args.report_dir)
    reported = {row["name"]: row for row in report["rows"] if row["status"] == "finished"}
    results = {}
    for name, model in models.items():
        model, colon, file = model.partition(":")
        if row := reported.get(f"{model}{colon}{Path(file).stem}"):
            seconds = {part: row["seconds"][part]["values"] for part in ("in_all", "training")}
            metrics = {metric: row["metrics"][metric]["values"] for metric in table.metrics}
            results[name] = Result(metrics, seconds["in_all"], seconds["training"], row["memory"])
    return results


def run_scripts(rows: dict[str, Row], table: Table, args: argparse.Namespace) -> dict[str, Result]:
    """Run the rows that have a script of their own."""
    described = []
    for seed in args.seeds:
        for name, row in rows.items():
            keys = texts([*f"{table.keys} {row.keys}".split(), *args.keys])
            run = describe_run(row.model, table.dataset, args.data_path, seed, [*table.files, *row.files], keys)
            described.append((name, {**run, "script": row.script}))
    measured = measure_all(described, args.report_dir / "scripts.json", keep=True)
    results = {}
    for name in rows:
        runs = [run for run in measured if run["name"] == name]
        metrics = {metric: [run["test"][metric] for run in runs] for metric in table.metrics}
        training = [float(sum(run["epochs"])) for run in runs if "epochs" in run]
        results[name] = Result(metrics, [run["seconds"] for run in runs], training, max(run["peak"] for run in runs))
    return results


def markdown(table: Table, names: list[str], results: dict[str, Result]) -> list[str]:
    """The lines of the Markdown table."""
    columns = [*table.metrics.values(), "s in all", "training s", "peak MiB"]
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        if result := results.get(name):
            cells = [mean(result.metrics[metric]) for metric in table.metrics]
            cells += [spread(seconds, ".1f") if seconds else "" for seconds in (result.seconds, result.training)]
            lines.append(f"| {name} | {' | '.join(cells)} | {result.peak:.0f} |")
        else:
            lines.append(f"| {name} | failed" + " |" * len(columns))
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
    parser.add_argument("--dataset", help="another data set than the table's, to try the table out")
    parser.add_argument("--keys", nargs="*", default=[], help="key=value for all rows; they win over the rows' keys")
    parser.add_argument("--report_dir", type=Path, help="the folder of the report (default: quality-<table>)")
    args = parser.parse_args()
    args.report_dir = args.report_dir or Path(f"quality-{args.table}")
    names = list(TABLES[args.table].rows)
    args.models = args.models or names
    if unknown := set(args.models) - set(names):
        parser.error(f"--models: {unknown.pop()!r} is no row of {args.table}, whose rows are {', '.join(map(repr, names))}")
    return args


def main() -> None:
    """Train every row with every seed and print the table."""
    args = read_arguments()
    table = TABLES[args.table]
    if args.dataset:
        table = table._replace(dataset=args.dataset, title=f"{table.title}; a trial on {args.dataset}", published={})
    if table.large and not (args.data_path / table.dataset).is_dir():
        print(f"{table.title}.\nNot run here: there are no data in {args.data_path / table.dataset}.")
        print("\n".join(markdown(table, [], {})))
        return
    rows = {name: table.rows[name] for name in args.models}
    scripts = {name: row for name, row in rows.items() if row.script}
    trained = {name: row for name, row in rows.items() if not row.script}
    if any(row.script == "vae_cf.py" for row in scripts.values()):
        vae_cf.fetch()
    args.report_dir.mkdir(parents=True, exist_ok=True)
    results = run_leaderboard(trained, table, args) if trained else {}
    results |= run_scripts(scripts, table, args)
    print(f"\n{describe()}\n\n{table.title}. Seeds {', '.join(map(str, args.seeds))}\n")
    print("\n".join(markdown(table, args.models, results)))


if __name__ == "__main__":
    main()
