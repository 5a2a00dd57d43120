"""The ``.inter`` file, written chunk by chunk, and its figures for the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_multvae.errors import DataError
from recbole_multvae.importing.arrow import pa, pc
from recbole_multvae.importing.cells import ids, lines, quoted
from recbole_multvae.importing.columns import Roles
from recbole_multvae.importing.numbers import numbers, present_text
from recbole_multvae.importing.source import Chunk, Source
from recbole_multvae.importing.times import Times
from recbole_multvae.times import unit_of


@dataclass
class Range:
    """The smallest and the largest of some numbers."""

    smallest: float = np.inf
    largest: float = -np.inf

    def add(self, values: pa.Array) -> None:
        """Extend the range to some more numbers."""
        ends = pc.min_max(values)
        self.smallest = min(self.smallest, ends["min"].as_py())
        self.largest = max(self.largest, ends["max"].as_py())


@dataclass(frozen=True)
class Written:
    """The figures of a ``.inter`` file.

    Attributes:
        rows: their number.
        users: the number of distinct users.
        items: the distinct items, an Arrow array of text.
        repeated: the number of rows whose user and item are those of an earlier row.
        ratings: their range; None without such a column.
        times: their range in ``unit``; None without such a column.
        unit: seconds, milliseconds, ...
        dates: whether the times are dates in the imported file.
        mixed_units: whether the times seem to be in different units.
    """

    rows: int
    users: int
    items: pa.Array
    repeated: int
    ratings: Range | None
    times: Range | None
    unit: str
    dates: bool
    mixed_units: bool


class _Ids:
    """Numbers the distinct ids of a column."""

    def __init__(self) -> None:
        self._chunks: list[pa.Array] = []

    def add(self, text: pa.Array) -> None:
        self._chunks.append(pc.dictionary_encode(text))

    def numbered(self) -> tuple[np.ndarray, pa.Array]:
        """The number of each row's id, int32 [rows], and the ids."""
        unified = pa.chunked_array(self._chunks).unify_dictionaries()
        self._chunks.clear()
        codes = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in unified.chunks]
        return np.concatenate(codes), unified.chunk(unified.num_chunks - 1).dictionary


def write_interactions(source: Source, roles: Roles, path: Path) -> Written:
    """Write a ``.inter`` file.

    Args:
        source: the table.
        roles: its columns.
        path: the file.

    Raises:
        DataError: a value is missing or is not of its column's kind; the message names the line.
    """
    users, items, times = _Ids(), _Ids(), Times(roles.time or "")
    ratings, span = Range(), Range()
    with path.open("wb") as file:
        file.write(_header(roles))
        for chunk in source.chunks([name for name in vars(roles).values() if name is not None]):
            columns = _ids(chunk, roles, users, items)
            if roles.rating is not None:
                text = present_text(chunk, roles.rating, "rating")
                ratings.add(numbers(chunk, text, roles.rating, "rating"))
                columns.append(text)
            if roles.time is not None:
                text, seconds = times.convert(chunk)
                span.add(seconds)
                columns.append(text)
            file.write(lines(columns))
    return _written(users, items, ratings if roles.rating else None, span if roles.time else None, bool(times.dates), source)


def _header(roles: Roles) -> bytes:
    rest = "\trating:float" * (roles.rating is not None) + "\ttimestamp:float" * (roles.time is not None)
    return f"user_id:token\titem_id:token{rest}\n".encode()


def _ids(chunk: Chunk, roles: Roles, users: _Ids, items: _Ids) -> list[pa.Array]:
    columns = []
    for column, role, all_ids in ((roles.user, "user", users), (roles.item, "item", items)):
        text = ids(chunk, column, role)
        all_ids.add(text)
        columns.append(quoted(text))
    return columns


def _written(
    users: _Ids, items: _Ids, ratings: Range | None, times: Range | None, dates: bool, source: Source
) -> Written:  # fmt: skip
    if not users._chunks:
        raise DataError(f"{source.path} has no rows.")
    (user, user_ids), (item, item_ids) = users.numbered(), items.numbered()
    pairs = user.astype(np.int64) * len(item_ids) + item
    pairs.sort()
    unit, mixed = "seconds", False
    if times is not None and not dates:
        unit = unit_of(max(abs(times.smallest), abs(times.largest)))
        mixed = times.smallest >= 1e8 and unit_of(times.smallest) != unit
    return Written(
        rows=len(pairs),
        users=len(user_ids),
        items=item_ids,
        repeated=int((pairs[1:] == pairs[:-1]).sum()),
        ratings=ratings,
        times=times,
        unit=unit,
        dates=dates,
        mixed_units=mixed,
    )
