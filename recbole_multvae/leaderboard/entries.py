"""The rows of a leaderboard, as ``--model`` and ``--config_files`` name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recbole_multvae.errors import ConfigurationError


@dataclass(frozen=True)
class Entry:
    """One row.

    Attributes:
        name: what the report calls it: the model, or ``model:file``.
        model: the name of the model.
        files: its configuration files in the order in which they are read, with those of all rows.
    """

    name: str
    model: str
    files: tuple[str, ...]

    @property
    def file_name(self) -> str:
        """The name as a part of the name of a file."""
        return self.name.replace(":", "-")


def read_entries(models: str, files: Sequence[str]) -> list[Entry]:
    """The rows that a command line names.

    Args:
        models: ``--model``, names with commas between. ``MultVAE:gaussian`` is MultVAE with this configuration file.
        files: ``--config_files``. A file that has the name of one of the models, such as ``EASE.yaml``, is read for this
            model only; the others are for all.

    Raises:
        ConfigurationError: a row has no name or is there twice.
    """
    pairs = [text.strip().partition(":") for text in models.split(",")]
    named = {model for model, _, _ in pairs}
    entries: list[Entry] = []
    for model, colon, file in pairs:
        name = f"{model}:{Path(file).stem}" if file else model
        if not model or (colon and not file):
            raise ConfigurationError(
                f"--model={models} has an empty name: write models with commas between, such as MultVAE,EASE."
            )
        if any(entry.name == name for entry in entries):
            raise ConfigurationError(f"--model={models} names {name} twice: leave one of them out.")
        shared = [path for path in files if Path(path).stem not in named - {model}]
        entries.append(Entry(name, model, (*shared, *([file] if file else []))))
    return entries
