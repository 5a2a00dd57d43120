"""A leaderboard: several models, several seeds, or a search of hyper-parameters, in one command."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_multvae.config.yaml_files import read_keys
from recbole_multvae.data.digests import short_digest
from recbole_multvae.errors import ConfigurationError, LeaderboardError
from recbole_multvae.leaderboard.entries import read_entries
from recbole_multvae.leaderboard.export import check_export, export_best, name_exports
from recbole_multvae.leaderboard.forms import write_all
from recbole_multvae.leaderboard.measuring import measure, validate
from recbole_multvae.leaderboard.report import make_report
from recbole_multvae.leaderboard.rows import Row, configure
from recbole_multvae.leaderboard.runs import Run, Runner
from recbole_multvae.leaderboard.space import Params
from recbole_multvae.leaderboard.table import text_table
from recbole_multvae.leaderboard.tuning import Tuning, read_trials, tune, tunings


def is_leaderboard(options: argparse.Namespace) -> bool:
    """Whether a command line asks for a leaderboard: for several models or seeds, for a search, or to export the best."""
    return "," in options.model or ":" in options.model or bool(options.seeds or options.export or options.tune)


def run_leaderboard(options: argparse.Namespace, keys: Mapping[str, str]) -> None:
    """Train and test every row with every seed, and report them.

    Args:
        options: those of the command line.
        keys: its configuration keys, their values as text.

    Raises:
        ConfigurationError: a mistake in the command line or in a configuration; nothing has run then.
        LeaderboardError: at least one row failed, or the export did; the others are in the report.
    """
    if options.export:
        check_export(options.export)
    if options.nproc != 1 or options.world_size > 0:
        raise ConfigurationError(
            f"--nproc={options.nproc} does not go with several models or seeds, each of which has a process of its own: "
            "leave it out."
        )
    entries = read_entries(options.model, options.config_files)
    rows, reasons = configure(entries, options.dataset, keys)
    config = next(iter(rows.values())).config
    seeds = _seeds(options.seeds, config["seed"])
    searches = tunings(rows, options.params_file, read_trials(options.tune)) if options.tune else {}
    folder = Path(options.report_dir or _folder(options, keys))
    for name in ("runs", "trials") if searches else ("runs",):
        _make(folder / name)
    print(f"{len(rows)} models, seeds {', '.join(map(str, seeds))}: the report will be in {folder}")
    runs, found = _run_all(rows, seeds, searches, folder)

    settings = {name: row.settings() | found.get(name, {}).get("best", {}) for name, row in rows.items()}
    command = f"python run_recbole.py {shlex.join(sys.argv[1:])}"
    report = make_report(runs, [entry.name for entry in entries], config, command, reasons, settings, found)
    data_path = os.path.normpath(Path(config["data_path"]).parent)  # RecBole spells that of its ml-100k with "..".
    name_exports(report["rows"], data_path)
    files = write_all(report, folder)
    print(f"\n{text_table(report)}\n\nWrote {', '.join(map(str, files))}")
    if options.export:
        export_best(report, options.export, data_path)
    if failed := [row["name"] for row in report["rows"] if row["status"] == "failed"]:
        raise LeaderboardError(
            f"{', '.join(failed)} failed, and the others are in the report: see the logs in {folder / 'runs'}; the same "
            "command runs only what failed again."
        )


def _run_all(
    rows: Mapping[str, Row], seeds: list[int], searches: Mapping[str, Tuning], folder: Path
) -> tuple[list[Run], dict[str, dict[str, Any]]]:
    """The runs of all rows and seeds, and what was searched before, by row."""
    keys = {"checkpoint_dir": str(folder / "checkpoints"), "show_progress": "False"}

    def say(line: str) -> None:
        print(line, flush=True)

    def run_trial(row: Row, params: Params, title: str) -> Run:
        return runner.run(row.task(folder / "trials", seeds[0], params, keys), validate, title)

    trials = {name: searches[name].trials if name in searches else 0 for name in rows}
    runner = Runner({name: len(seeds) + trials[name] for name in rows}, say)
    found = {name: tune(rows[name], seeds[0], tuning, run_trial, say) for name, tuning in searches.items()}
    runs = []
    for seed in seeds:
        for name, row in rows.items():
            task = row.task(folder / "runs", seed, found.get(name, {}).get("best", {}), keys)
            runs.append(runner.run(task, measure, f"{name}, seed {seed}"))
    return runs, found


def _seeds(text: str | None, first: int) -> list[int]:
    """``--seeds``: how many, from the configuration's seed on, or which, with commas between."""
    if text is None:
        return [first]
    try:
        numbers = [int(part) for part in text.split(",") if part]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < (1 if len(numbers) == 1 else 0):
        raise ConfigurationError(
            f"--seeds={text} is not allowed: expected a number of seeds such as 3, or seeds such as 2020,2021."
        )
    return [first + number for number in range(numbers[0])] if "," not in text else list(dict.fromkeys(numbers))


def _folder(options: argparse.Namespace, keys: Mapping[str, str]) -> Path:
    """The folder of the report: its name tells configurations apart, whatever the models, seeds and number of trials."""
    said: list[Any] = [{Path(file).stem: read_keys(file) for file in options.config_files}]
    said.append({key: value for key, value in keys.items() if key != "seed"})
    if options.tune:
        said.append([Path(file).read_text("utf-8") for file in options.params_file])
    return Path("leaderboard") / f"{options.dataset}-{short_digest(said)}"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--report_dir: cannot write the report into {folder}: {error}") from error
