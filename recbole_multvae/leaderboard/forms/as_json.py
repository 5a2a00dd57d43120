"""The whole report as JSON."""

from __future__ import annotations

from pathlib import Path

from recbole_multvae.leaderboard.json_file import write_json
from recbole_multvae.leaderboard.report import Report

FILE = "report.json"


def write(report: Report, path: Path) -> None:
    """Write the file."""
    write_json(path, report)
