"""The main table of the report: its headings and cells as text, and the table for the terminal."""

from __future__ import annotations

from typing import Any

from recbole.evaluator.register import metrics_dict
from tabulate import tabulate

from recbole_multvae.leaderboard.report import Report


def metric_names(report: Report) -> list[str]:
    """The metrics of the rows, in the order of the configuration's ``metrics``."""
    return list(dict.fromkeys(name for row in report["rows"] for name in row["metrics"]))


def heading(metric: str) -> str:
    """A metric as the key ``metrics`` spells it: ``NDCG@10`` for RecBole's result ``ndcg@10``."""
    name, at, k = metric.partition("@")
    return metrics_dict[name].__name__ + at + k


def group_heading(group: dict[str, Any]) -> str:
    """The heading of a group of users or of items: ``5-12 clicks``, or ``head``."""
    return group["items"] if "items" in group else f"{group['shortest']}-{group['longest']} clicks"


def name(row: dict[str, Any]) -> str:
    """The name of a row; it says whether the model was refitted, as it has then learnt from validation's clicks too."""
    return f"{row['name']} (refitted)" if row.get("refitted") else row["name"]


def number(value: float | None, digits: int = 4) -> str:
    """A number with fixed digits; a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"  # noqa: RUF001


def spread(values: dict[str, Any] | None) -> str:
    """``mean ± standard deviation``, or the mean alone of one seed."""
    if values is None:
        return number(None)
    return number(values["mean"]) + ("" if values["sd"] is None else f" ± {number(values['sd'])}")


def rank(row: dict[str, Any]) -> str:
    """``1``, ``1=`` for a tie with the best, or an empty text for a row that is not ranked."""
    return f"{row['rank']}{'=' if row['tie'] else ''}" if "rank" in row else ""


def against_best(row: dict[str, Any]) -> str:
    """The difference to the best with its interval and p-value; empty for the best and for rows that were not compared."""
    if "against_best" not in row:
        return ""
    comparison = row["against_best"]  # The best minus this row.
    low, high = -comparison["high"], -comparison["low"]
    return f"{-comparison['difference']:+.4f} [{low:+.4f}, {high:+.4f}] p {p_value(comparison['p_holm'])}"


def p_value(p: float) -> str:
    """``= .012``, or ``< .001``."""
    return "< .001" if p < 0.001 else "= " + f"{p:.3f}".removeprefix("0")


def text_table(report: Report) -> str:
    """The table for the terminal, and below it the rows that did not finish, with the reason."""
    metrics = metric_names(report)
    head = [
        "",
        "model",
        *map(heading, metrics),
        f"{heading(report['ranked_by'])}: difference to the best",
        "train s",
        "eval s",
        "peak MiB",
    ]
    lines = []
    for row in report["rows"]:
        if row["metrics"]:
            seconds = row["seconds"]
            evaluation = seconds["validation"]["mean"] + seconds["test"]["mean"]
            cells = [spread(row["metrics"].get(metric)) for metric in metrics]
            times = [f"{seconds['training']['mean']:.0f}", f"{evaluation:.1f}", f"{row['memory']:.0f}"]
            lines.append([rank(row), name(row), *cells, against_best(row), *times])
    table = tabulate(lines, head, tablefmt="simple", disable_numparse=True, stralign="right")
    errors = [f"{row['name']}: {row['status'].upper()}: {row['error']}" for row in report["rows"] if row.get("error")]
    return "\n".join([table, *errors])
