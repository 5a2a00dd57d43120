"""The best row as an ONNX file, and the export command of each row. ``multvae-export`` works in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from recbole_multvae.config.values import check_output_file
from recbole_multvae.errors import ConfigurationError, LeaderboardError
from recbole_multvae.leaderboard import shell
from recbole_multvae.leaderboard.report import Report
from recbole_multvae.leaderboard.table import name

_EXPORTER = [sys.executable, "-m", "multvae_export"]


def check_export(path: str) -> None:
    """Look for mistakes in ``--export`` before hours of training.

    Raises:
        ConfigurationError: the file cannot be written, or ``multvae-export`` is not installed.
    """
    check_output_file("--export", path)
    if importlib.util.find_spec("onnxruntime") is None:
        raise ConfigurationError(f"--export={path} needs multvae-export: install this package with [export].")


def add_export_commands(rows: list[dict[str, Any]], data_path: str) -> None:
    """Write the export command into each row of a model that can be exported.

    It names the checkpoint of the seed with the best validation.

    Args:
        rows: those of the report.
        data_path: the folder of the data sets.
    """
    exportable = _exportable_models()
    for row in rows:
        if row.get("checkpoints") and row["model"] in exportable:
            row["export_command"] = shell.join(["multvae-export", *_arguments(row, "model.onnx", data_path)])


def _exportable_models() -> list[str]:
    """The models that the installed exporter can export; empty if it is not installed.

    Only the exporter, which is another program, knows them: this function runs its command.
    """
    command = [*_EXPORTER, "--list-models"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def _arguments(row: dict[str, Any], path: str, data_path: str) -> list[str]:
    """The arguments of ``multvae-export`` for a row."""
    return [row["best_checkpoint"], path, "--dataset-path", data_path]


def export_best(report: Report, path: str, data_path: str) -> dict[str, Any]:
    """Write the best row that can be exported as an ONNX file, with its figures in the file's metadata.

    The row's ``exported`` then has the file and its bytes.

    Args:
        report: with the export commands of :func:`add_export_commands`.
        path: the ONNX file.
        data_path: the folder of the data sets.

    Returns:
        The row.

    Raises:
        LeaderboardError: no row can be exported, or ``multvae-export`` failed.
    """
    row = next((row for row in report["rows"] if "rank" in row and "export_command" in row), None)
    if row is None:
        raise LeaderboardError(f"--export={path}: none of the models that finished can be exported; nothing was written.")
    figures = {key: report[key] for key in ("command", "dataset", "protocol", "splits", "ranked_by")}
    figures |= {key: row[key] for key in ("name", "rank", "tie", "refitted", "metrics", "seeds")}
    print(f"\nThe best model that can be exported is {name(row)}:", flush=True)
    metadata = f"leaderboard={json.dumps(figures, default=str)}"
    command = [*_EXPORTER, *_arguments(row, path, data_path), "--metadata", metadata]
    if subprocess.run(command, check=False).returncode:
        raise LeaderboardError(f"--export={path}: multvae-export could not write {row['name']}: see its message above.")
    row["exported"] = {"file": path, "bytes": Path(path).stat().st_size}
    best: dict[str, Any] = row
    return best
