"""A leaderboard: several models, several seeds, or a search of hyper-parameters, with one report.

This file calls the steps, which are in this folder: the rows (:mod:`.rows`), their searches (:mod:`.search`), the runs
(:mod:`.runs`, :mod:`.measuring`), the report (:mod:`.report`, :mod:`.forms`), and the export of the best (:mod:`.export`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from recbole_multvae.config.values import check_output_file
from recbole_multvae.config.yaml_files import read_keys
from recbole_multvae.data.digests import short_digest
from recbole_multvae.errors import LeaderboardError
from recbole_multvae.evaluation.per_user import write_per_user
from recbole_multvae.leaderboard.export import add_export_commands, check_export, export_best
from recbole_multvae.leaderboard.forms import write_all
from recbole_multvae.leaderboard.jobs import start_jobs
from recbole_multvae.leaderboard.measuring import validate
from recbole_multvae.leaderboard.report import Report, make_report, table_of
from recbole_multvae.leaderboard.row_runs import RowRuns
from recbole_multvae.leaderboard.rows import Row, on_splits, read_rows, split_applicable, tell_unread, with_members
from recbole_multvae.leaderboard.run_inputs import DISPLAY, Run, make_folder
from recbole_multvae.leaderboard.runs import Runner
from recbole_multvae.leaderboard.search import Search, plan_searches
from recbole_multvae.leaderboard.space import Params
from recbole_multvae.leaderboard.table import text_table
from recbole_multvae.leaderboard.tracked import TrackedReport
from recbole_multvae.tracking.telling import Telling


def run_leaderboard(
    models: str, dataset: str, config_files: Sequence[str], keys: Mapping[str, str], *, command: str,
    seeds: int | Sequence[int] = 1, splits: int | Sequence[int] = 1, trials: int = 0, params_files: Sequence[str] = (),
    export: str | None = None, report_dir: str | None = None, jobs: int | None = 1, ray: str | None = None,
    per_user: str | None = None, track: str | None = None,
) -> None:  # fmt: skip
    """Train and test every row with every seed, and write the report.

    Args:
        models: names separated by commas, see :func:`.rows.read_rows`.
        dataset: the name of the data set.
        config_files: paths of configuration files, or names of shipped ones.
        keys: configuration keys that win over the files, their values as text.
        command: the command line, for the report.
        seeds: the number of seeds from the configuration's ``seed`` on, or the seeds.
        splits: the number of splits for each seed, from the configuration's ``split_seed`` or ``seed`` on, or their seeds.
        trials: the most trials of each row's search; 0 searches nothing.
        params_files: the spaces of the search, see :func:`.search.plan_searches`.
        export: the ONNX file for the best model that can be exported.
        report_dir: the folder of the report; None: a folder in ``leaderboard/``, named by data set and configuration.
        jobs: how many runs there are at a time, see :func:`.jobs.start_jobs`.
        ray: the address of a Ray cluster for the runs; None: this machine.
        per_user: a CSV file for the test's metrics of each user under each model and seed.
        track: the name of a tracker that is told of runs and rows, see :mod:`..tracking`.

    Raises:
        ConfigurationError: a mistake in the arguments or in a configuration; nothing has run.
        LeaderboardError: a row or the export failed; the other rows are in the report.
        TrackingError: the report is complete, but the tracker was not told everything.
    """
    _check_outputs(export, per_user)
    named = read_rows(models, config_files, dataset, keys)
    tell_unread(named, [*config_files, *params_files])
    applicable, not_applicable = split_applicable(named)
    rows, *on_others = on_splits(applicable, splits)
    trained = with_members(rows.values())
    searches = plan_searches(trained, params_files, trials) if trials else {}
    config = next(iter(rows.values())).config
    seeds = [config["seed"] + n for n in range(seeds)] if isinstance(seeds, int) else seeds
    folder = Path(report_dir or _report_dir(dataset, config_files, keys, params_files if trials else None))
    for name in ("runs", "trials") if searches else ("runs",):
        make_folder(folder / name, "report_dir")
    tracked = TrackedReport(Telling(track, config), folder.name)
    print(f"{len(rows)} models, seeds {', '.join(map(str, seeds))}: the report will be in {folder}")

    runs_of_row = len(seeds) * (1 + len(on_others))
    planned = {name: runs_of_row + (searches[name].trials if name in searches else 0) for name in trained}
    runner = Runner(planned, start_jobs(jobs, ray))
    results = _run_searches(searches, seeds[0], runner, folder)
    best = {name: results[name]["best"] if name in results else {} for name in trained}
    runs = _run_rows([rows, *on_others], seeds, best, runner, folder, tracked.tell_run)

    if per_user:
        write_per_user(per_user, [table_of(run) for run in runs if run["status"] == "finished"])
    settings = {name: row.settings() | best[name] for name, row in rows.items()}
    report = make_report(runs, settings, config, command, not_applicable, results)
    # RecBole writes the path of its ml-100k with "..".
    _publish(report, os.path.normpath(Path(config["data_path"]).parent), folder, export, tracked, runs)


def _check_outputs(export: str | None, per_user: str | None) -> None:
    if export:
        check_export(export)
    if per_user:
        check_output_file("--per_user", per_user)


def _run_searches(searches: Mapping[str, Search], seed: int, runner: Runner, folder: Path) -> dict[str, dict[str, Any]]:
    """The result of each search, by row. Trials are not refitted, and are the same with and without ``--refit``."""

    def run_side_by_side(row: Row, trials: Sequence[tuple[Params, str]]) -> list[Run]:
        return runner.side_by_side(partial(run_trial, row), trials)

    def run_trial(row: Row, params: Params, title: str) -> Run:
        row = replace(row, keys={key: value for key, value in row.keys.items() if key != "refit"})
        return runner.run(row.inputs(folder / "trials", seed, params, _overrides(folder)), validate, title)

    tasks = [(search,) for search in searches.values()]
    results = runner.side_by_side(lambda search: search.run(seed, run_side_by_side), tasks)
    return dict(zip(searches, results, strict=True))


def _run_rows(
    rows_on_splits: Sequence[Mapping[str, Row]], seeds: Sequence[int], params: Mapping[str, Params], runner: Runner,
    folder: Path, tell: Callable[[Run], None],
) -> list[Run]:  # fmt: skip
    """The runs of the rows on each split, under each seed."""
    runs = []
    for rows in rows_on_splits:
        row_runs = RowRuns(rows.values(), runner, folder / "runs", params, _overrides(folder), tell)
        runs += row_runs.run_all(rows.values(), seeds)
    return runs


def _overrides(folder: Path) -> dict[str, str]:
    """The configuration keys of all runs."""
    return {"checkpoint_dir": str(folder / "checkpoints"), "show_progress": "False"}


def _report_dir(
    dataset: str, config_files: Sequence[str], keys: Mapping[str, str], params_files: Sequence[str] | None
) -> Path:
    """The default folder. Its name depends on the configuration, not on the models, the seeds and the number of trials.

    It does not depend on ``--refit`` either, so that the trials of a search without it are found.
    """
    configuration: list[Any] = [{Path(file).stem: read_keys(file) for file in config_files}]
    configuration.append({key: value for key, value in keys.items() if key not in ("seed", "refit", *DISPLAY)})
    if params_files is not None:
        configuration.append([Path(file).read_text("utf-8") for file in params_files])
    return Path("leaderboard") / f"{dataset}-{short_digest(configuration)}"


def _publish(
    report: Report, data_path: str, folder: Path, export: str | None, tracked: TrackedReport, runs: Sequence[Run]
) -> None:
    """Write the report in all forms, print its table, export the best row if asked to, and fail if a row failed."""
    add_export_commands(report["rows"], data_path)
    files = write_all(report, folder)
    print(f"\n{text_table(report)}\n\nWrote {', '.join(map(str, files))}")
    tracked.tell_rows(report["rows"], runs)
    if export:
        best = export_best(report, export, data_path)
        write_all(report, folder)  # Now with the size of the exported file.
        tracked.tell_onnx(runs, best, export)
    if failed := [row["name"] for row in report["rows"] if row["status"] == "failed"]:
        finished = any(row["status"] == "finished" for row in report["rows"])
        others = "the others are in the report" if finished else "the report has no results"
        raise LeaderboardError(
            f"{', '.join(failed)} failed, and {others}: see the logs in {folder / 'runs'}; the same command runs only what "
            "failed again."
        )
    tracked.close("the report is complete, and the same command tells what is missing.")
