"""The command in this process, and the files that it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from recbole_multvae.commands.import_data import main


@dataclass(frozen=True)
class Import:
    """Runs ``multvae-import`` and catches what it prints."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: object) -> str:
        """Import, and return the output."""
        code = main([str(argument) for argument in arguments])
        printed = self.capsys.readouterr()
        assert code == 0, printed.err
        return printed.out

    def refusal(self, *arguments: object) -> str:
        """The sentence with which an import ends. Nothing may be left behind."""
        before = sorted(Path().rglob("*"))
        assert main([str(argument) for argument in arguments]) == 1
        error = self.capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1, error
        assert sorted(Path().rglob("*")) == before
        return error.removeprefix("error: ").rstrip("\n")


def written(file: str | Path = "dataset/mine/mine.inter") -> tuple[list[str], list[tuple[str, ...]]]:
    """The header and the rows of an atomic file that holds no quotes: a line is a row, and tabs are between values."""
    header, *rows, end = Path(file).read_bytes().decode().split("\n")
    assert end == ""
    return header.split("\t"), [tuple(row.split("\t")) for row in rows]


def read_by_recbole(file: str | Path = "dataset/mine/mine.inter") -> list[tuple[str, ...]]:
    """The rows as RecBole's parser reads them, but for what it takes to be missing."""
    table = pd.read_csv(file, delimiter="\t", dtype=str, engine="python", keep_default_na=False)
    return [tuple(row) for row in table.itertuples(index=False)]


def write(file: str, rows: Sequence[str]) -> str:
    """Write some lines."""
    Path(file).write_bytes("".join(f"{row}\n" for row in rows).encode())
    return file
