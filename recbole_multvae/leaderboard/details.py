"""The tables of the page below the main one, which are there only where the report has something for them."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from recbole_multvae.evaluation.activity import clicks_of
from recbole_multvae.leaderboard.report import Report
from recbole_multvae.leaderboard.table import NAME, Cell, Column, ReportRow, heading, measured, number, spread_cell

#: The groups of users and of items: their key in a row, and their title.
GROUPS = {
    "activity": "Users by activity",
    "popularity": "Popular items (head) and other items (tail)",
    "age": "Items by their first click in training",
    "cold": "Items that are unseen in training",
}


class Table(NamedTuple):
    """A table: without columns there is only its note. What a command line asks for is ``unfolded``."""

    title: str
    columns: list[Column]
    rows: list[ReportRow]
    note: str = ""
    unfolded: bool = False


def details(report: Report) -> list[Table]:
    """The tables, those that were asked for first."""
    rows = measured(report)
    groups = [_groups(report, key, title) for key, title in GROUPS.items()]
    tables = [_search(report), _weights(rows), *groups, _lists(rows), _settings(report)]
    return [table for table in tables if table.rows]


def _groups(report: Report, key: str, title: str) -> Table:
    """The metric that ranks in each group of users or of items."""
    rows, metric = [row for row in measured(report) if row.get(key)], report["ranked_by"]
    headings = list(map(group_heading, rows[0][key] if rows else []))
    title = f"{title}: {heading(metric)}"
    if len(headings) == 1:
        return Table(title, [], rows, f"There is one group: {headings[0]}.")
    columns = [Column(group, partial(_of_group, key, n, metric)) for n, group in enumerate(headings)]
    return Table(title, [NAME, *columns], rows)


def _of_group(key: str, n: int, metric: str, row: ReportRow) -> Cell:
    return spread_cell(row[key][n]["metrics"].get(metric) if n < len(row[key]) else None)


def group_heading(group: dict[str, Any]) -> str:
    """The heading of a group of users or of items: ``5-12 clicks, 240 users``."""
    if "items" in group:
        return f"{group['items']}, {group['users']:,.0f} users"
    return f"{clicks_of(group['shortest'], group['longest'])} clicks, {group['users']:,.0f} users"


def _lists(rows: list[ReportRow]) -> Table:
    names = list(dict.fromkeys(name for row in rows for name in row["lists"]))
    columns = [Column(heading(name), partial(_of_lists, name)) for name in names]
    return Table("Coverage, novelty and diversity", [NAME, *columns], rows if names else [])


def _of_lists(name: str, row: ReportRow) -> Cell:
    return spread_cell(row["lists"].get(name))


def _weights(rows: list[ReportRow]) -> Table:
    members = Column("weights of the members' scores on one scale", lambda row: _lines(row["weights"], _spread), "text")
    note = "Chosen on validation, or as configured. A member of weight 0 adds nothing."
    return Table("Weights of the sums", [NAME, members], [row for row in rows if row.get("weights")], note, unfolded=True)


def _search(report: Report) -> Table:
    metric = report["protocol"].get("valid_metric", heading(report["ranked_by"]))
    columns = [
        NAME._replace(cell=lambda row: Cell(row["name"])),
        Column("best hyper-parameters", lambda row: _lines(row["search"]["best"]), "text"),
        Column(f"{metric} of the best", lambda row: _number(row["search"]["valid_score"], 4)),
        Column("as configured", lambda row: _number(row["search"]["valid_score_as_configured"], 4)),
        Column("trials", lambda row: _number(len(row["search"]["trials"]), 0)),
        Column("failed", lambda row: _number(row["search"]["failed"], 0)),
        Column("seconds", lambda row: _number(row["search"]["seconds"], 1), "ascending"),
    ]
    rows = [row for row in report["rows"] if row.get("search")]
    note = "Every trial uses the first seed, and never the test. All trials are in report.json."
    return Table("Search on validation", columns, rows, note, unfolded=True)


def _number(value: float | None, digits: int) -> Cell:
    return Cell(number(value, digits), value)


def _settings(report: Report) -> Table:
    settings = Column("settings besides RecBole's defaults", lambda row: _lines(row["settings"]), "text")
    rows = [row for row in report["rows"] if row["settings"]]
    return Table("Settings", [NAME._replace(cell=lambda row: Cell(row["name"])), settings], rows)


def _spread(values: dict[str, Any]) -> str:
    cell = spread_cell(values)
    return cell.text + cell.more


def _lines(values: dict[str, Any], show: Any = str) -> Cell:
    lines = tuple(f"{key}: {show(value)}" for key, value in values.items())
    return Cell("" if lines else "as configured", lines=lines)
