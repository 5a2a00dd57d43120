"""A table that is read piece by piece, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from recbole_multvae.errors import DataError
from recbole_multvae.importing.arrow import pa, pc


@dataclass(frozen=True)
class Chunk:
    """Some rows of a table.

    Attributes:
        columns: the Arrow arrays of the columns that are read, by name.
        place: the place in the file of a row of the chunk, counted from 0: "Line 17 of ratings.csv".
    """

    columns: dict[str, pa.Array]
    place: Callable[[int], str]

    def refuse(self, bad: pa.Array, message: Callable[[int], str]) -> None:
        """Raise an error about the first row that is bad.

        Args:
            bad: a truth value for each row.
            message: makes the error message of a row, which follows its place.

        Raises:
            DataError: a row is bad.
        """
        row = pc.index(bad, True).as_py()
        if row >= 0:
            raise DataError(f"{self.place(row)} {message(row)}")


class Source(Protocol):
    """A file of rows with named columns."""

    path: Path
    #: The names of all columns, in the file's order.
    names: list[str]

    def chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        """Read some columns, in the order of the file."""
        ...


def in_words(value: object) -> str:
    """A value for an error message: in quotes, and shortened to 60 characters."""
    text = str(value)
    return repr(text if len(text) <= 60 else text[:57] + "...")
