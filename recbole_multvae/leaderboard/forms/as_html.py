"""The report as one HTML page that loads no other file: tables that sort, drawings, and commands to copy."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from recbole_multvae.leaderboard import drawing, shell, table
from recbole_multvae.leaderboard.details import details
from recbole_multvae.leaderboard.report import Report

FILE = "report.html"


def write(report: Report, path: Path) -> None:
    """Write the file."""
    environment = Environment(
        loader=PackageLoader("recbole_multvae.leaderboard", "forms"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(heading=table.heading, command=shell.lines, breakable=_breakable)
    page = environment.get_template("report.html.jinja").render(
        report=report, columns=table.columns(report), measured=table.measured(report), tables=details(report),
        drawings=[_element(svg, title) for title, svg in drawing.draw_each(report).items()], table=table,
    )  # fmt: skip
    path.write_text(page, "utf-8")


def _breakable(name: str) -> Markup:
    """The name of a row; that of a sum may be broken after each +."""
    return Markup("+<wbr>").join(name.split("+"))


def _element(svg: str, title: str) -> Markup:
    """An SVG file as an element without the names of its parts, in the colours of the page, light or dark."""
    svg = svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
    svg = re.sub(r' id="[a-z]\w*_\d+"', "", svg)
    for name in ("INK", "LINE", "BEST", "TIE", "OTHER"):
        svg = svg.replace(getattr(drawing, name), f"var(--{name.lower()})")
    return Markup(svg)
