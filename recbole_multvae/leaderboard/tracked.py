"""Telling a tracker of the runs and the rows of a report, each when it is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from recbole_multvae.leaderboard.run_inputs import Run
from recbole_multvae.tracking.base import Entry, Tracker, named, number, tags
from recbole_multvae.tracking.telling import Telling


class TrackedReport:
    """Tells of what finished, once: what was told before, by this process or another, is left as it is.

    Args:
        telling: the tracker.
        report: the name of the report; it stands before the rows in the names of their groups.
    """

    def __init__(self, telling: Telling, report: str) -> None:
        self._telling, self._report = telling, report

    def tell_run(self, run: Run) -> None:
        """Tell of a run if it finished."""
        if run["status"] == "finished":
            self._telling.attempt(lambda tracker: self._add_run(tracker, run))

    def tell_rows(self, rows: Sequence[Mapping[str, Any]], runs: Sequence[Run]) -> None:
        """Tell of the rows of the report that finished with several seeds: means and standard deviations over the runs."""
        for row in rows:
            finished = [run for run in runs if run["row"] == row["name"]]
            if row["status"] == "finished" and len(finished) > 1:
                self._telling.attempt(partial(self._add_row, row=row, finished=finished))

    def _add_run(self, tracker: Tracker, run: Run) -> None:
        file = run["checkpoint"] if Path(run["checkpoint"]).is_file() else None
        # A result of an earlier version has no curve.
        tracker.add(self._entry(run), run.get("curve", []), _metrics(run), file)

    def _add_row(self, tracker: Tracker, row: Mapping[str, Any], finished: Sequence[Run]) -> None:
        seeds, splits = (list(dict.fromkeys(run[key] for run in finished)) for key in ("seed", "split"))
        entries = [self._entry(run) for run in finished]
        numbers = sorted(str(entry.number) for entry in entries)
        entry = Entry(
            name=f"{row['name']}, {len(seeds)} seeds",
            keys={key: str(value) for key, value in row["settings"].items()},
            tags=tags(row["model"], row["name"], finished[0]["dataset"], ", ".join(map(str, seeds)), ", ".join(splits)),
            number=number(*numbers),
            group=entries[0].group,
            runs=numbers,
        )
        tracker.add(entry, [], _means(row), None)

    def tell_onnx(self, runs: Sequence[Run], row: Mapping[str, Any], file: str) -> None:
        """Tell of the ONNX file of a row, which was made of the best of its runs."""
        best = next(run for run in runs if run.get("checkpoint") == row["best_checkpoint"])
        self._telling.attempt(lambda tracker: tracker.add_onnx(self._entry(best), file))

    def close(self, remedy: str) -> None:
        """See :meth:`.Telling.close`."""
        self._telling.close(remedy)

    def _entry(self, run: Run) -> Entry:
        return Entry(
            name=f"{run['row']}, seed {run['seed']}",
            keys=run.get("configuration", {}),
            tags=tags(run["model"], run["row"], run["dataset"], run["seed"], run["split"]),
            number=number(Path(run["result"]).stem),
            group=f"{self._report}/{run['row']}",
        )


def _test(refitted: bool) -> str:
    return "refit_test" if refitted else "test"


def _metrics(run: Run) -> dict[str, float]:
    sizes = {key: run[key] for key in ("memory", "gpu_memory", "parameters") if run[key] is not None}
    seconds = named("seconds", run["seconds"] | {"in_all": run["seconds_in_all"]})
    return named("best_valid", run["valid"]) | named(_test(run.get("refitted", False)), run["metrics"]) | seconds | sizes


def _means(row: Mapping[str, Any]) -> dict[str, float]:
    parts = {"best_valid": row["validation"], _test(row["refitted"]): row["metrics"], "seconds": row["seconds"]}
    means: dict[str, float] = {}
    for part, spreads in parts.items():
        means |= named(part, {name: spread["mean"] for name, spread in spreads.items()})
        for key in ("sd", "sd_splits"):
            means |= named(part, {f"{name}_{key}": spread[key] for name, spread in spreads.items()})
    return means
