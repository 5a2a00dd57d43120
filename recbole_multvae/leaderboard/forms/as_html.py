"""The report as one HTML page that loads no other file: tables that sort, and the drawing."""

from __future__ import annotations

import io
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from recbole_multvae.leaderboard import table
from recbole_multvae.leaderboard.drawing import draw
from recbole_multvae.leaderboard.report import Report

FILE = "report.html"


def write(report: Report, path: Path) -> None:
    """Write the file."""
    environment = Environment(
        loader=PackageLoader("recbole_multvae.leaderboard", "forms"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(heading=table.heading, group_heading=table.group_heading)
    template = environment.get_template("report.html.jinja")
    path.write_text(template.render(report=report, table=table, drawing=_svg(report)), "utf-8")


def _svg(report: Report) -> str:
    """The drawing as an element of the page, without the XML declaration."""
    text = io.StringIO()
    draw(report).savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
