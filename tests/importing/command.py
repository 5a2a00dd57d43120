"""The command in this process, and what it wrote."""

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
        """Import, and return what was said."""
        code = main([str(argument) for argument in arguments])
        said = self.capsys.readouterr()
        assert code == 0, said.err
        return said.out

    def refusal(self, *arguments: object) -> str:
        """The sentence with which an import ends. Nothing may be left behind."""
        before = sorted(Path().rglob("*"))
        assert main([str(argument) for argument in arguments]) == 1
        said = self.capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1, said
        assert sorted(Path().rglob("*")) == before
        return said.removeprefix("error: ").rstrip("\n")


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
