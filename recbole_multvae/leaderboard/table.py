"""The main table of the report: its columns, which the page shows too, and the table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from recbole.evaluator.register import metrics_dict
from tabulate import tabulate

from recbole_multvae.leaderboard.report import Report

#: How many metrics the page shows besides the one that ranks, unless asked for more.
METRICS_SHOWN = 2

ReportRow = dict[str, Any]


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: what stands in it.
        value: the number by which the page sorts; None: there is none.
        more: what follows the text in smaller type.
        hint: what the page says about it to a mouse.
        lines: of a text with several.
    """

    text: str
    value: float | None = None
    more: str = ""
    hint: str = ""
    lines: tuple[str, ...] = ()


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        heading: its heading.
        cell: the cell of a row.
        sort: the order of the first click on the heading: ``ascending`` or ``descending`` by number, or ``text``.
        shown: whether the page shows it before anyone asks for it.
    """

    heading: str
    cell: Callable[[ReportRow], Cell]
    sort: str = "descending"
    shown: bool = True


def columns(report: Report) -> list[Column]:
    """The columns of the main table that hold anything: the metric that ranks stands beside the name of the model."""
    ranked_by = report["ranked_by"]
    others = [name for name in metric_names(report) if name != ranked_by]
    order = "descending" if report["bigger_is_better"] else "ascending"
    rows = measured(report)
    compared = [Column("difference to the best", _against_best)] if any("against_best" in row for row in rows) else []
    numbers = [
        _metric(ranked_by)._replace(sort=order),
        *compared,
        _number("training s", lambda row: row["seconds"]["training"]["mean"]),
        _number("evaluation s", evaluation_seconds),
        *(_metric(name, shown=name in others[:METRICS_SHOWN]) for name in others),
        _number("peak MiB", lambda row: row["memory"], 0, shown=False),
        _number("GPU MiB", lambda row: row["gpu_memory"], 0, shown=False),
        Column("parameters", _parameters, "ascending", shown=False),
        _number("weights MB", weights_mb, 2, shown=False),
    ]
    return [
        Column("#", lambda row: Cell(rank(row), row.get("rank")), "ascending"),
        NAME,
        *(column for column in numbers if any(column.cell(row).value is not None for row in rows)),
    ]


def measured(report: Report) -> list[ReportRow]:
    """The rows of the main table: those with at least one run that finished."""
    return [row for row in report["rows"] if row["metrics"]]


def _metric(metric: str, shown: bool = True) -> Column:
    return Column(heading(metric), lambda row: spread_cell(row["metrics"].get(metric)), shown=shown)


def _number(title: str, value: Callable[[ReportRow], float | None], digits: int = 1, shown: bool = True) -> Column:
    """A column of costs, of which the smallest is the best."""
    return Column(title, lambda row: Cell(number(value(row), digits), value(row)), "ascending", shown)


def evaluation_seconds(row: ReportRow) -> float:
    """The mean time of all validations and the test of a run."""
    return float(row["seconds"]["validation"]["mean"] + row["seconds"]["test"]["mean"])


def weights_mb(row: ReportRow) -> float | None:
    """The megabytes of what the model scores by, see :func:`.measuring.weights_bytes`; None in reports without it."""
    return None if row.get("weights_bytes") is None else row["weights_bytes"] / 1e6


def spread_cell(values: dict[str, Any] | None) -> Cell:
    """The cell of a mean and its deviations over the seeds and over the splits; the values of the runs are the hint."""
    if values is None:
        return Cell(number(None))
    over_seeds = "" if values["sd"] is None else f" ± {number(values['sd'])}"
    over_splits = "" if values.get("sd_splits") is None else f" ± {number(values['sd_splits'])} (splits)"
    return Cell(number(values["mean"]), values["mean"], over_seeds + over_splits, ", ".join(map(str, values["values"])))


def deviation(values: dict[str, Any]) -> float | None:
    """The standard deviation over seeds and splits together; None of one run."""
    parts = [part for part in (values["sd"], values.get("sd_splits")) if part is not None]
    return math.hypot(*parts) if parts else None


def _parameters(row: ReportRow) -> Cell:
    return Cell(f"{row['parameters']:,}", row["parameters"]) if row["parameters"] else Cell("closed form")


def metric_names(report: Report) -> list[str]:
    """The metrics of the rows, in the order of the configuration's ``metrics``."""
    return list(dict.fromkeys(name for row in report["rows"] for name in row["metrics"]))


def heading(metric: str) -> str:
    """A metric as the key ``metrics`` spells it: ``NDCG@10`` for RecBole's result ``ndcg@10``."""
    name, at, k = metric.partition("@")
    return metrics_dict[name].__name__ + at + k


def name(row: ReportRow) -> str:
    """The name of a row; it says whether the model was refitted, as it has then learnt from validation's clicks too."""
    return f"{row['name']} (refitted)" if row.get("refitted") else row["name"]


#: The column of the model's name.
NAME = Column("model", lambda row: Cell(name(row)), "text")


def number(value: float | None, digits: int = 4) -> str:
    """A number with fixed digits; a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"  # noqa: RUF001


def rank(row: ReportRow) -> str:
    """``1``, ``1=`` for a tie with the best, or an empty text for a row that is not ranked."""
    return f"{row['rank']}{'=' if row['tie'] else ''}" if "rank" in row else ""


def _against_best(row: ReportRow) -> Cell:
    """The difference to the best with its interval and p-value; no text for the best and for rows that were not compared."""
    if "against_best" not in row:
        return Cell("", 0.0 if row.get("rank") == 1 else None)
    comparison = row["against_best"]  # The best minus this row.
    difference, low, high = (-comparison[key] for key in ("difference", "high", "low"))
    return Cell(f"{difference:+.4f}", difference, f" [{low:+.4f}, {high:+.4f}] p {p_value(comparison['p_holm'])}")


def p_value(p: float) -> str:
    """``= .012``, or ``< .001``."""
    return "< .001" if p < 0.001 else "= " + f"{p:.3f}".removeprefix("0")


def text_table(report: Report) -> str:
    """The table for the terminal, and below it the rows that did not finish, with the reason."""
    shown = columns(report)
    cells = [[cell.text + cell.more for cell in (column.cell(row) for column in shown)] for row in measured(report)]
    head = [column.heading for column in shown]
    table = tabulate(cells, head, tablefmt="simple", disable_numparse=True, stralign="right")
    errors = [f"{row['name']}: {row['status'].upper()}: {row['error']}" for row in report["rows"] if row.get("error")]
    return "\n".join([table, *errors])
