"""The report: the rows of all runs, ranked, as plain values for every form of it."""

from __future__ import annotations

import datetime
import platform
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import recbole
import torch

import recbole_multvae
from recbole_multvae.hardware import describe_machine
from recbole_multvae.leaderboard.runs import Run
from recbole_multvae.leaderboard.significance import ALPHA, RESAMPLES, UserScores, bootstrap_rows

#: The version of the report's JSON.
FORMAT = 1
#: What a protocol is: the keys of a configuration that say which clicks there are and how lists are judged.
PROTOCOL = ("eval_args", "load_col", "benchmark_filename", "metrics", "topk", "valid_metric", "val_interval", "threshold",
            "user_inter_num_interval", "item_inter_num_interval", "filter_inter_by_user_or_item", "repeatable")  # fmt: skip

Report = dict[str, Any]


def make_report(
    runs: list[Run], names: list[str], config: Any, command: str, not_applicable: dict[str, str],
    settings: dict[str, Any], searches: dict[str, Any] | None = None,
) -> Report:  # fmt: skip
    """Put the runs together.

    Args:
        runs: of all rows and seeds, finished or failed.
        names: the rows in the order in which they were asked for.
        config: RecBole's configuration of one of them, for what they share.
        command: what was typed.
        not_applicable: the rows that the protocol is not for, with the reason.
        settings: for each row, what was set for it besides RecBole's defaults.
        searches: what was searched, by row.
    """
    metric = config["valid_metric"].lower()
    rows = [
        _row(name, [run for run in runs if run["entry"] == name], settings[name], config["valid_metric_bigger"])
        for name in names
        if name not in not_applicable
    ]
    _check_splits(rows)
    sign = 1 if config["valid_metric_bigger"] else -1
    rows.sort(key=lambda row: -sign * row["metrics"][metric]["mean"] if metric in row["metrics"] else np.inf)
    ranked = [row for row in rows if row["status"] == "finished"]
    bootstrap_rows(ranked, _users(ranked, metric, sign))
    _number(ranked)
    rows += [
        {"name": name, "status": "not applicable", "error": reason, "metrics": {}, "settings": {}, "tie": False}
        for name, reason in not_applicable.items()
    ]
    for row in rows:
        row.pop("runs", None)
        row["search"] = (searches or {}).get(row["name"])
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
        "splits": {str(run["seed"]): run["split"] for run in runs if "split" in run},
        "seeds": sorted({run["seed"] for run in runs}),
        "ranked_by": metric,
        "bigger_is_better": bool(config["valid_metric_bigger"]),
        "bootstrap": {"resamples": RESAMPLES, "alpha": ALPHA, "correction": "Holm"},
        "rows": rows,
    }


def _row(name: str, runs: list[Run], settings: dict[str, Any], bigger: bool) -> dict[str, Any]:
    """One row: means and standard deviations over the seeds that finished; ``bigger`` metrics are better ones, or not."""
    finished = [run for run in runs if run["status"] == "finished"]
    errors: dict[str, list[str]] = {}
    for run in runs:
        if run["status"] != "finished":
            errors.setdefault(run["error"], []).append(str(run["seed"]))
    row = {
        "name": name,
        "model": runs[0]["model"],
        "status": "failed" if errors else "finished",
        "error": " ".join(f"seed {', '.join(seeds)}: {error}" for error, seeds in errors.items()) or None,
        "settings": settings,
        "tie": False,
        "seeds": [run["seed"] for run in finished],
        "metrics": _spread(run["metrics"] for run in finished),
        "lists": _spread(run["lists"] for run in finished),
        "validation": _spread(run["valid"] for run in finished),
        "seconds": _spread(run["seconds"] | {"in_all": run["seconds_in_all"]} for run in finished),
        "checkpoints": [run["checkpoint"] for run in finished],
        "runs": finished,
    }
    if finished:
        sign = 1 if bigger else -1
        row |= {
            "best_checkpoint": max(finished, key=lambda run: sign * (run["valid_score"] or 0))["checkpoint"],
            "parameters": finished[0]["parameters"],
            "memory": max(run["memory"] for run in finished),
            "gpu_memory": finished[0]["gpu_memory"] and max(run["gpu_memory"] for run in finished),
            "one_by_one": _one_by_one(finished),
            "activity": [
                _group(groups, ("shortest", "longest"))
                for groups in zip(*(run["activity"] for run in finished), strict=False)
            ],
            "popularity": [
                _group(groups, ("items",)) for groups in zip(*(run["popularity"] for run in finished), strict=False)
            ],
        }
    return row


def _spread(results: Iterable[dict[str, float | None]]) -> dict[str, dict[str, Any]]:
    """For each name the mean, the standard deviation (None of one seed), and the values in the order of the seeds."""
    found = list(results)
    names = dict.fromkeys(name for result in found for name in result)
    spreads = {}
    for name in names:
        values = [value for result in found if (value := result.get(name)) is not None]
        if values:
            sd = statistics.stdev(values) if len(values) > 1 else None
            spreads[name] = {"mean": statistics.fmean(values), "sd": sd, "values": values}
    return spreads


def _group(groups: tuple[dict[str, Any], ...], said: tuple[str, ...]) -> dict[str, Any]:
    described = {key: groups[0][key] for key in said}
    users = statistics.fmean(group["users"] for group in groups)
    return {**described, "users": users, "metrics": _spread(group["metrics"] for group in groups)}


def _one_by_one(runs: list[Run]) -> dict[str, float] | None:
    """What evaluation, validations included, takes here and would take one user at a time, in seconds, for the mean seed."""
    measured = [run for run in runs if run["one_by_one"]]
    if not measured:
        return None
    here = statistics.fmean(run["seconds"]["validation"] + run["seconds"]["test"] for run in measured)
    there = statistics.fmean(run["one_by_one"]["seconds"] * (run["validations"] + 1) for run in measured)
    different = sum(run["one_by_one"]["different"] for run in measured)
    users = sum(run["one_by_one"]["users"] for run in measured)
    return {"here": here, "one_by_one": there, "users_compared": users, "users_different": different}


def _check_splits(rows: list[dict[str, Any]]) -> None:
    """A row whose model saw another split is no row of this board: it fails, with the reason."""
    splits: dict[int, str] = {}
    for row in rows:
        for run in row["runs"]:
            if splits.setdefault(run["seed"], run["split"]) != run["split"]:
                row["status"] = "failed"
                row["error"] = f"seed {run['seed']}: its split differs from that of {rows[0]['name']}"


def _users(rows: list[dict[str, Any]], metric: str, sign: int) -> dict[str, list[UserScores]]:
    """The metric of each user under each seed, by row, for rows that have it; what is better is bigger."""
    users = {}
    for row in rows:
        seeds = []
        for run in sorted(row["runs"], key=lambda run: run["seed"]):
            with np.load(Path(run["result"]).with_suffix(".npz"), allow_pickle=False) as held:
                if metric in held:
                    seeds.append(UserScores(held["users"], sign * held[metric]))
        if seeds:
            users[row["name"]] = seeds
    return users


def _number(rows: list[dict[str, Any]]) -> None:
    """Write ranks: 1 for the best and all that tie with it, and the place for the others."""
    for place, row in enumerate(rows, 1):
        row["rank"] = 1 if row["tie"] else place
