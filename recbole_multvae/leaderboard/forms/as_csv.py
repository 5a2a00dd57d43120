"""The main table as CSV: one line for each row, numbers with all digits."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from recbole_multvae.leaderboard.report import Report
from recbole_multvae.leaderboard.table import metric_names

FILE = "report.csv"


def write(report: Report, path: Path) -> None:
    """Write the file."""
    lines = [_line(row, metric_names(report)) for row in report["rows"]]
    names = list(dict.fromkeys(name for line in lines for name in line))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def _line(row: dict[str, Any], metrics: list[str]) -> dict[str, Any]:
    line = {"rank": row.get("rank"), "name": row["name"], "status": row["status"], "tie": row.get("tie"),
            "refitted": row.get("refitted")}  # fmt: skip
    for metric in metrics:
        spread = row["metrics"].get(metric, {})
        line |= {metric: spread.get("mean"), f"{metric}_sd": spread.get("sd")}
        line |= {f"{metric}_sd_splits": spread["sd_splits"]} if spread.get("sd_splits") is not None else {}
    line |= {f"against_best_{key}": value for key, value in row.get("against_best", {}).items()}
    line |= {f"seconds_{key}": spread["mean"] for key, spread in row.get("seconds", {}).items()}
    line |= {key: row.get(key) for key in ("memory", "gpu_memory", "parameters", "weights_bytes")}
    return line | {"checkpoints": " ".join(row.get("checkpoints", [])), "error": row.get("error")}
