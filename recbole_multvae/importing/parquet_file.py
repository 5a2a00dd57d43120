"""Parquet files. They have no lines: errors name the number of the row, counted from 1."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from recbole_multvae.errors import DataError
from recbole_multvae.importing.arrow import pa, parquet
from recbole_multvae.importing.files import open_binary, reading
from recbole_multvae.importing.source import Chunk

#: Rows that are read at once.
_ROWS = 1 << 19


class ParquetFile:
    """A Parquet file: a ``Source``.

    Raises:
        DataError: the file is damaged, is not a Parquet file, or has no rows.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_binary(path) as file, reading(path):
            try:
                table = parquet.ParquetFile(_seekable(file))
            except pa.ArrowInvalid as error:
                reason = str(error).splitlines()[0].rstrip(".")
                raise DataError(
                    f"{path} is not a whole Parquet file ({reason}): get it again, or name its --format."
                ) from None
            self.names = list(table.schema_arrow.names)
            if not table.metadata.num_rows:
                raise DataError(f"{path} has columns and no rows.")

    def chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        """Read some columns, in Arrow's types."""
        first = 1
        with open_binary(self.path) as file, reading(self.path):
            for batch in parquet.ParquetFile(_seekable(file)).iter_batches(_ROWS, columns=list(names)):
                yield Chunk(
                    {name: batch.column(name) for name in names},
                    lambda row, first=first: f"Row {first + row} of {self.path}",  # type: ignore[misc]
                )
                first += len(batch)


def _seekable(file: BinaryIO) -> BinaryIO:
    """The file itself; for gzip an unpacked copy, as Parquet is read from its end."""
    if not isinstance(file, gzip.GzipFile):
        return file
    copy = TemporaryFile()  # noqa: SIM115  (Arrow closes it.)
    shutil.copyfileobj(file, copy)
    copy.seek(0)
    return copy
