"""The drawings as one PNG."""

from __future__ import annotations

from pathlib import Path

from recbole_multvae.leaderboard.drawing import draw
from recbole_multvae.leaderboard.report import Report

FILE = "report.png"


def write(report: Report, path: Path) -> None:
    """Write the file."""
    draw(report).savefig(path, format="png", dpi=150)
