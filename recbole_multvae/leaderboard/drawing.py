"""The drawings of the report: each row's metric, its difference to the best, and the metric against what the row costs."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from recbole_multvae.leaderboard.report import Report
from recbole_multvae.leaderboard.table import ReportRow, deviation, evaluation_seconds, heading, name, weights_mb

INK, LINE, BEST, TIE, OTHER = "#1a202c", "#d0d5dd", "#0b6e4f", "#2a8453", "#4a5568"
_STYLE = {
    "font.size": 9, "figure.titlesize": 10, "axes.edgecolor": OTHER, "axes.facecolor": "none", "grid.color": LINE,
    "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none", "svg.hashsalt": "report",
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}  # fmt: skip
#: The width of a panel and the height of a line of text, in inches; the most letters of a line of a name.
WIDTH, TEXT, LETTERS = 4.0, 0.17, 18


class Point(NamedTuple):
    """A row in a drawing of its metric, ``y``, against a cost, ``x``."""

    x: float
    y: float
    row: ReportRow


#: Draws into the axes that it is given.
Panel = Callable[[Any], None]


def draw(report: Report) -> Figure:
    """All panels in one figure."""
    panels = _panels(report)
    lines = -(-len(panels) // 2)
    with matplotlib.rc_context(_STYLE):
        figure = _figure(2 * WIDTH, lines * _height(report))
        for (title, panel), part in zip(panels.items(), figure.subfigures(lines, 2, squeeze=False).flat, strict=False):
            _draw(title, panel, part)
    return figure


def draw_each(report: Report) -> dict[str, str]:
    """Each panel as an SVG file of its own, by its title; none of a single run."""
    files = {}
    for title, panel in _panels(report).items() if len(_rows(report)) > 1 or len(report["seeds"]) > 1 else ():
        with matplotlib.rc_context(_STYLE):
            figure, text = _figure(WIDTH, _height(report)), io.StringIO()
            _draw(title, panel, figure)
            figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
        files[title] = text.getvalue()
    return files


def _draw(title: str, panel: Panel, figure: Any) -> None:
    """Draw a panel into a figure, or into a part of one."""
    figure.suptitle(title, x=0.01, ha="left")
    panel(figure.add_subplot())


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _rows(report: Report) -> list[ReportRow]:
    """The ranked rows, the best first."""
    return [row for row in report["rows"] if "rank" in row]


def _height(report: Report) -> float:
    return max(3.0, 0.9 + TEXT * sum(_lines(row) + 0.6 for row in _rows(report)))


def _lines(row: ReportRow) -> int:
    return 1 + _label(row).count("\n")


def _label(row: ReportRow) -> str:
    """The name of a row; that of a sum in several lines."""
    return re.sub(rf"(.{{{LETTERS // 2},{LETTERS}}}[+ ])(?=.{{4}})", r"\1\n", name(row))


def _color(row: ReportRow) -> str:
    return TIE if row["tie"] else BEST if row["rank"] == 1 else OTHER


def _panels(report: Report) -> dict[str, Panel]:
    """By title that of the metric, and others that have something to compare."""
    rows, metric = _rows(report), report["ranked_by"]
    several = any(len(row["metrics"][metric]["values"]) > 1 for row in rows)
    label, runs = heading(metric), ": each run, mean ± deviation" if several else ""
    panels: dict[str, Panel] = {f"{label}{runs}": partial(_spread, rows, metric)}
    if any("against_best" in row for row in rows):
        panels[f"{label}: difference to the best, 95 % interval"] = partial(_differences, rows)
    costs: dict[str, Callable[[ReportRow], float | None]] = {
        "training, seconds": lambda row: float(row["seconds"]["training"]["mean"]),
        "validations and test, seconds": evaluation_seconds,
        "weights in the checkpoint, MB": weights_mb,
    }
    for title, cost in costs.items():
        points = [Point(x, row["metrics"][metric]["mean"], row) for row in rows if (x := cost(row))]
        if len(points) > 1:
            panels[f"{label} against {title}"] = partial(_against, points, metric)
    return panels


def _spread(rows: list[ReportRow], metric: str, axes: Any) -> None:
    for line, row in enumerate(rows):
        spread, color = row["metrics"][metric], _color(row)
        axes.plot(spread["values"], [line] * len(spread["values"]), "o", color=color, alpha=0.5, markersize=5)
        if (sd := deviation(spread)) is not None:
            axes.errorbar(spread["mean"], line, xerr=sd, fmt="|", color=color, markersize=12, capsize=3)
    _list_names(axes, rows)


def _differences(rows: list[ReportRow], axes: Any) -> None:
    axes.axvline(0, color=BEST, linewidth=1)
    for line, row in enumerate(rows):
        if "against_best" in row:
            difference, low, high = (row["against_best"][key] for key in ("difference", "low", "high"))
            axes.errorbar(-difference, line, xerr=[[high - difference], [difference - low]], fmt="o", color=_color(row),
                          markersize=5, capsize=3)  # fmt: skip
    _list_names(axes, rows)


def _list_names(axes: Any, rows: list[ReportRow]) -> None:
    axes.set_yticks(range(len(rows)), list(map(_label, rows)))
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    axes.grid(axis="x")
    axes.locator_params(axis="x", nbins=5)


def _against(points: list[Point], metric: str, axes: Any) -> None:
    """The metric against a cost, with the names beside the axes, where they have room."""
    for point in points:
        sd = deviation(point.row["metrics"][metric])
        axes.errorbar(point.x, point.y, yerr=sd, fmt="o", color=_color(point.row), markersize=5, capsize=2)
    costs = [point.x for point in points]
    if max(costs) > 10 * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.locator_params(axis="x", nbins=5)
    axes.grid()
    _name_points(axes, points)


def _name_points(axes: Any, points: list[Point]) -> None:
    """Write the names of points, the highest first, to the right of the axes, each with a line to its point."""
    points = sorted(points, key=lambda point: -point.y)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    heights = [(_lines(point.row) + 0.2) * TEXT for point in points]
    room = max(sum(heights), axes.figure.bbox.height / axes.figure.dpi - 0.8)
    places = apart([(point.y - low) / (high - low) for point in points], [height / room for height in heights])
    for point, place in zip(points, places, strict=True):
        color = _color(point.row)
        line = {"arrowstyle": "-", "color": color, "alpha": 0.35, "linewidth": 0.7, "relpos": (0, 0.5), "shrinkA": 0}
        axes.annotate(_label(point.row), (point.x, point.y), (1.03, place), textcoords="axes fraction", va="center",
                      color=color, arrowprops=line)  # fmt: skip


def apart(wanted: list[float], heights: list[float]) -> list[float]:
    """The middles of labels, from the top, 1, down to 0: near to where they are wanted, and without overlaps.

    Args:
        wanted: in descending order.
        heights: of the labels, at most 1 together.
    """
    places: list[float] = []
    free = 1.0
    for place, height in zip(wanted, heights, strict=True):
        places.append(min(place, free - height / 2))
        free = places[-1] - height / 2
    free = 0.0
    for n in reversed(range(len(places))):
        places[n] = max(places[n], free + heights[n] / 2)
        free = places[n] + heights[n] / 2
    return places
