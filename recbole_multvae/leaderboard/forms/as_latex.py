"""The main table for a paper, with the package booktabs: the best and its ties are bold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_multvae.leaderboard.report import Report
from recbole_multvae.leaderboard.table import heading, metric_names, name, number

FILE = "report.tex"
_SPECIAL = str.maketrans({char: f"\\{char}" for char in "&%$#_{}"} | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
                          "\\": r"\textbackslash{}"})  # fmt: skip


def write(report: Report, path: Path) -> None:
    """Write the file."""
    metrics = metric_names(report)
    rows = [row for row in report["rows"] if "rank" in row]
    lines = [
        r"% \usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'r' * len(metrics)}}}",
        r"\toprule",
        " & ".join(["Model", *map(heading, metrics)]) + r" \\",
        r"\midrule",
        *(
            " & ".join([name(row).translate(_SPECIAL), *(_cell(row, metric, report) for metric in metrics)]) + r" \\"
            for row in rows
        ),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _cell(row: dict[str, Any], metric: str, report: Report) -> str:
    spread = row["metrics"].get(metric)
    if spread is None:
        return "--"
    mean = number(spread["mean"])
    if metric == report["ranked_by"] and row["rank"] == 1:
        mean = rf"\textbf{{{mean}}}"
    deviations = [spread[key] for key in ("sd", "sd_splits") if spread.get(key) is not None]
    return mean + "".join(rf" {{\scriptsize$\pm${number(sd)}}}" for sd in deviations)
