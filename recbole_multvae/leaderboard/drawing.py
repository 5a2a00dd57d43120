"""The drawing of the report: each row's metric under each seed, and its difference to the best with the interval."""

from __future__ import annotations

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from recbole_multvae.leaderboard.report import Report
from recbole_multvae.leaderboard.table import heading, name

BEST, TIE, OTHER = "#0b6e4f", "#5fa777", "#4a5568"


def draw(report: Report) -> Figure:
    """A figure of two panels with a line for each ranked row, the best on top."""
    rows = [row for row in report["rows"] if "rank" in row][::-1]
    metric = report["ranked_by"]
    figure = Figure(figsize=(10, 1.6 + 0.36 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for position, row in enumerate(rows):
        color = BEST if position == len(rows) - 1 else TIE if row["tie"] else OTHER
        spread = row["metrics"][metric]
        left.plot(spread["values"], [position] * len(spread["values"]), "o", color=color, alpha=0.4, markersize=5)
        left.errorbar(spread["mean"], position, xerr=spread["sd"], fmt="|", color=color, markersize=14, capsize=3)
        if "against_best" in row:
            _difference(right, row["against_best"], position, color)
    left.set_yticks(range(len(rows)), [name(row) for row in rows])
    left.set_xlabel(f"{heading(metric)} of the test: each seed, mean ± standard deviation")
    right.axvline(0, color=BEST, linewidth=1)
    right.set_xlabel("difference to the best: mean over users, 95 % interval")
    for panel in (left, right):
        panel.grid(axis="x", alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    return figure


def _difference(panel: Any, comparison: dict[str, float], position: int, color: str) -> None:
    difference, low, high = (comparison[key] for key in ("difference", "low", "high"))
    panel.errorbar(-difference, position, xerr=[[high - difference], [difference - low]], fmt="o", color=color, markersize=5,
                   capsize=3)  # fmt: skip
