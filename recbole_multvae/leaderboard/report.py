"""The report: all rows, ranked, as plain values that every form shows."""

from __future__ import annotations

import datetime
import math
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import recbole
import torch

import recbole_multvae
from recbole_multvae.hardware import describe_machine
from recbole_multvae.leaderboard.run_inputs import Run
from recbole_multvae.leaderboard.significance import ALPHA, RESAMPLES, UserScores, bootstrap_rows

#: The version of the report's JSON.
FORMAT = 1
#: The configuration keys of a protocol: they decide which clicks there are and how rankings are judged.
PROTOCOL = ("eval_args", "split_seed", "load_col", "benchmark_filename", "metrics", "topk", "valid_metric", "propensity",
            "propensity_exponent", "propensity_clip", "diversity_of", "cold_items", "val_interval", "threshold",
            "user_inter_num_interval", "item_inter_num_interval", "filter_inter_by_user_or_item", "repeatable")  # fmt: skip

Report = dict[str, Any]


def make_report(
    runs: list[Run], settings: dict[str, dict[str, Any]], config: Any, command: str, not_applicable: dict[str, str],
    searches: dict[str, dict[str, Any]],
) -> Report:  # fmt: skip
    """Make the report of all runs.

    Args:
        runs: of all rows and seeds, finished or failed.
        settings: for each row, in the order of the command line, the settings besides RecBole's defaults.
        config: RecBole's configuration of one row, for the keys that all share.
        command: the command line.
        not_applicable: the rows that the protocol does not suit, with the reason.
        searches: the result of each search, by row.
    """
    metric, sign = config["valid_metric"].lower(), 1 if config["valid_metric_bigger"] else -1
    rows = _ranked_rows(runs, settings, metric, sign)
    rows += [
        {"name": name, "status": "not applicable", "error": reason, "metrics": {}, "settings": {}, "tie": False}
        for name, reason in not_applicable.items()
    ]
    first = next((run for run in runs if run["status"] == "finished"), {})
    return {
        "format": FORMAT,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "machine": describe_machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "recbole": recbole.__version__,
            "recbole_multvae": recbole_multvae.__version__,
        },
        "dataset": {"name": config["dataset"], **first.get("data", {})},
        "protocol": {key: config[key] for key in PROTOCOL if config[key] is not None},
        "splits": {str(_split_name(run)): run["split"] for run in runs if "split" in run},
        "seeds": sorted({run["seed"] for run in runs}),
        "split_seeds": sorted({split for run in runs if (split := drawn_by(run)) is not None}),
        "ranked_by": metric,
        "bigger_is_better": sign > 0,
        "bootstrap": {"resamples": RESAMPLES, "alpha": ALPHA, "correction": "Holm"},
        "rows": [{**row, "search": searches.get(row["name"])} for row in rows],
    }


def _ranked_rows(runs: list[Run], settings: dict[str, dict[str, Any]], metric: str, sign: int) -> list[dict[str, Any]]:
    """The rows, the best first, with their ranks and their comparison with the best; ``sign`` -1: smaller is better."""
    runs_of = {name: [run for run in runs if run["row"] == name] for name in settings}
    rows = [_row(name, runs_of[name], settings[name], sign) for name in settings]
    _fail_other_splits({row["name"]: row for row in rows}, runs)
    rows.sort(key=lambda row: -sign * row["metrics"][metric]["mean"] if metric in row["metrics"] else np.inf)
    finished = [row for row in rows if row["status"] == "finished"]
    users = {row["name"]: _user_scores(runs_of[row["name"]], metric, sign) for row in finished}
    bootstrap_rows(finished, {name: scores for name, scores in users.items() if scores})
    for position, row in enumerate(finished, 1):
        row["rank"] = 1 if row["tie"] else position
    return rows


def _row(name: str, runs: list[Run], settings: dict[str, Any], sign: int) -> dict[str, Any]:
    """One row: means and standard deviations over the seeds that finished."""
    finished = [run for run in runs if run["status"] == "finished"]
    splits = list(map(drawn_by, finished))
    seeds_of_error: dict[str, list[str]] = {}
    for run in runs:
        if run["status"] != "finished":
            seeds_of_error.setdefault(run["error"], []).append(str(run["seed"]))
    row = {
        "name": name,
        "model": runs[0]["model"],
        "status": "failed" if seeds_of_error else "finished",
        "error": " ".join(f"seed {', '.join(seeds)}: {error}" for error, seeds in seeds_of_error.items()) or None,
        "settings": settings,
        "tie": False,
        "refitted": any(run.get("refitted") for run in finished),
        "seeds": [run["seed"] for run in finished],
        "metrics": _spread([run["metrics"] for run in finished], splits),
        "lists": _spread([run["lists"] for run in finished], splits),
        "validation": _spread([run["valid"] for run in finished], splits),
        "seconds": _spread(run["seconds"] | {"in_all": run["seconds_in_all"]} for run in finished),
        "checkpoints": [run["checkpoint"] for run in finished],
        "weights": _spread(run.get("weights", {}) for run in finished),
    }
    if not finished:
        return row
    return row | {
        "best_checkpoint": max(finished, key=lambda run: sign * (run["valid_score"] or 0))["checkpoint"],
        "parameters": finished[0]["parameters"],
        "weights_bytes": finished[0].get("weights_bytes"),
        "memory": max(run["memory"] for run in finished),
        "gpu_memory": finished[0]["gpu_memory"] and max(run["gpu_memory"] for run in finished),
        "activity": _groups([run["activity"] for run in finished], ("shortest", "longest")),
        **{key: _groups([run.get(key, []) for run in finished], ("items",)) for key in ("popularity", "age", "cold")},
    }


def drawn_by(run: Run) -> int | None:
    """The ``split_seed`` of a run; None if its ``seed`` draws the split."""
    seed = run.get("keys", {}).get("split_seed", "None")
    return None if seed == "None" else int(seed)


def _split_name(run: Run) -> Any:
    """The seed that draws the split of a run."""
    split = drawn_by(run)
    return run["seed"] if split is None else split


def _spread(results: Iterable[Mapping[str, float | None]], splits: Sequence[int | None] = ()) -> dict[str, dict[str, Any]]:
    """For each name the mean, standard deviations, and the values in the order of the runs.

    Args:
        results: of the runs.
        splits: what drew the split of each run; nothing if that does not matter.
    """
    values_of: dict[str, dict[int | None, list[float]]] = {}
    for result, split in zip_longest(results, splits):
        for name, value in result.items():
            if value is not None:
                values_of.setdefault(name, {}).setdefault(split, []).append(value)
    return {name: _deviations(list(by_split.values())) for name, by_split in values_of.items()}


def _deviations(splits: list[list[float]]) -> dict[str, Any]:
    """The mean of all values, the deviation over the seeds of a split, and that of the means over the splits.

    A deviation is None if it is of one value.
    """
    values = [value for of_split in splits for value in of_split]
    variances = [statistics.variance(of_split) for of_split in splits if len(of_split) > 1]
    return {
        "mean": statistics.fmean(values),
        "sd": math.sqrt(statistics.fmean(variances)) if variances else None,
        "sd_splits": statistics.stdev(map(statistics.fmean, splits)) if len(splits) > 1 else None,
        "values": values,
    }


def _groups(seeds: list[list[dict[str, Any]]], labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """Groups of users or of items, each with the mean of its users and the spread of its metrics over the seeds."""
    return [
        {
            **{label: group[0][label] for label in labels},
            "users": statistics.fmean(seed["users"] for seed in group),
            "metrics": _spread(seed["metrics"] for seed in group),
        }
        for group in zip(*seeds, strict=False)
    ]


def _fail_other_splits(rows: dict[str, dict[str, Any]], runs: list[Run]) -> None:
    """Rows can only be compared on one split: a row with another one fails, with the reason."""
    first_of: dict[tuple[int, int | None], Run] = {}
    for run in runs:
        if "split" in run and (first := first_of.setdefault((run["seed"], drawn_by(run)), run))["split"] != run["split"]:
            error = f"seed {run['seed']}: its split differs from that of {first['row']}"
            rows[run["row"]] |= {"status": "failed", "error": error}


def _user_scores(runs: list[Run], metric: str, sign: int) -> list[UserScores]:
    """The metric of each user under each seed, times ``sign``; empty for a metric that is not of users."""
    scores = []
    for run in sorted(runs, key=lambda run: (run["seed"], drawn_by(run) or 0)):
        with np.load(Path(run["result"]).with_suffix(".npz"), allow_pickle=False) as arrays:
            if metric in arrays:
                scores.append(UserScores(arrays["users"], sign * arrays[metric]))
    return scores


def table_of(run: Run) -> pd.DataFrame:
    """A finished run's metrics of each user, with ``model``, the row, ``seed`` and ``split_seed`` before them."""
    with np.load(Path(run["result"]).with_suffix(".npz"), allow_pickle=False) as arrays:
        columns = {name: arrays[name] for name in arrays.files if name != "users"}
    return pd.DataFrame({"model": run["row"], "seed": run["seed"], "split_seed": drawn_by(run), **columns})
