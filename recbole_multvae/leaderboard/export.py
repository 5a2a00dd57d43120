"""The best row as an ONNX file, and what to type for the others. ``multvae-export`` does it, in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from recbole_multvae.errors import ConfigurationError, LeaderboardError
from recbole_multvae.leaderboard.report import Report

_EXPORTER = "multvae_export"


def check_export(path: str) -> None:
    """Look for mistakes in ``--export`` before hours of training.

    Raises:
        ConfigurationError: the file cannot be there, or ``multvae-export`` is not installed.
    """
    file = Path(path)
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise ConfigurationError(f"--export={path} cannot be written: expected a file in a folder that is there.")
    if importlib.util.find_spec("onnxruntime") is None:
        raise ConfigurationError(f"--export={path} needs multvae-export: install this package with [export].")


def name_exports(rows: list[dict[str, Any]], data_path: str) -> None:
    """Write into each row of a model that can be exported what to type for it.

    Of several seeds it is the checkpoint with the best validation.

    Args:
        rows: the report's.
        data_path: the folder of the data sets.
    """
    done = subprocess.run([sys.executable, "-m", _EXPORTER, "--list-models"], capture_output=True, text=True, check=False)
    known = done.stdout.split()
    for row in rows:
        if row.get("checkpoints") and row["model"] in known:
            row["export_command"] = shlex.join(["multvae-export", *_arguments(row, "model.onnx", data_path)])


def _arguments(row: dict[str, Any], path: str, data_path: str) -> list[str]:
    """What ``multvae-export`` is told of a row."""
    return [row["best_checkpoint"], path, "--dataset-path", data_path]


def export_best(report: Report, path: str, data_path: str) -> None:
    """Write the first row of the report that can be exported, with its figures in the file's metadata.

    Args:
        report: with what :func:`name_exports` writes into it.
        path: the ONNX file.
        data_path: the folder of the data sets.

    Raises:
        LeaderboardError: no row can be exported, or ``multvae-export`` failed.
    """
    row = next((row for row in report["rows"] if "rank" in row and "export_command" in row), None)
    if row is None:
        raise LeaderboardError(f"--export={path}: none of the models that finished can be exported; nothing was written.")
    figures = {key: report[key] for key in ("command", "dataset", "protocol", "splits", "ranked_by")}
    figures |= {key: row[key] for key in ("name", "rank", "tie", "metrics", "seeds")}
    print(f"\nThe best that can be exported is {row['name']}:", flush=True)
    metadata = f"leaderboard={json.dumps(figures, default=str)}"
    command = [sys.executable, "-m", _EXPORTER, *_arguments(row, path, data_path), "--metadata", metadata]
    if subprocess.run(command, check=False).returncode:
        raise LeaderboardError(f"--export={path}: multvae-export could not write {row['name']}, as it says above.")
