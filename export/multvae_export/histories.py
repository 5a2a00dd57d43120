"""Histories to try a file on: made ones, and those of a RecBole file of interactions."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multvae_export.errors import HistoriesError

#: The logarithm of a made history's length is normal: 47 items in the mean.
LOG_MEAN, LOG_SPREAD = 3.41, 1.0


def made(n_items: int, count: int, longest: int | None = None) -> list[np.ndarray]:
    """Made histories of distinct items, drawn evenly: the same ones at every call.

    Args:
        n_items: C, the catalogue with the padding item.
        count: how many histories.
        longest: the length of the longest; by default, and at most, half the catalogue.

    Returns:
        RecBole item ids, int64 [length] each.
    """
    rng = np.random.default_rng(0)
    half = max(1, (n_items - 1) // 2)
    lengths = np.clip(rng.lognormal(LOG_MEAN, LOG_SPREAD, count), 1, min(longest or half, half)).astype(int)
    return [rng.choice(n_items - 1, length, replace=False) + 1 for length in lengths]


def padded(histories: Sequence[np.ndarray]) -> np.ndarray:
    """Histories as the rows of an array, int64 [B, L], with 0 for padding."""
    rows = np.zeros((len(histories), max(map(len, histories), default=0)), np.int64)
    for row, history in zip(rows, histories, strict=True):
        row[: len(history)] = history
    return rows


@dataclass(frozen=True)
class Layout:
    """How RecBole's configuration says that a file of interactions is written.

    Attributes:
        user, item: the names of the two columns, without their type.
        separator: what stands between the fields of a line, one character.
        encoding: of the text.
    """

    user: str = "user_id"
    item: str = "item_id"
    separator: str = "\t"
    encoding: str = "utf-8"

    @classmethod
    def of(cls, config: dict[str, Any]) -> Layout:
        """The layout of a checkpoint's configuration; a key that is missing or no text is as RecBole has it by default."""
        keys = ("USER_ID_FIELD", "ITEM_ID_FIELD", "field_separator", "encoding")
        values = zip(keys, (cls.user, cls.item, cls.separator, cls.encoding), strict=True)
        return cls(*(found if isinstance(found := config.get(key), str) and found else value for key, value in values))


def read_inter(path: str | Path, tokens: Sequence[str], layout: Layout) -> list[np.ndarray]:
    """The histories of the users of RecBole's atomic file of interactions, in order of the file.

    The file is read as RecBole reads it: quotes may surround a field, and double within one; empty lines and lines without a
    user are left out. Items that the model does not know are left out.

    Args:
        path: an ``.inter`` file.
        tokens: the model's item tokens by id, the padding item's first.
        layout: its columns, separator and encoding.

    Returns:
        The known item ids of each user who has any, distinct and in order, int64 [length] each.

    Raises:
        HistoriesError: the file cannot be read, or lacks a column or a field.
    """
    ids = {token: n for n, token in enumerate(tokens) if n}
    users: dict[str, set[int]] = {}
    try:
        with Path(path).open(encoding=layout.encoding, newline="") as file:
            for user, item in _pairs(file, path, layout):
                if user and item in ids:
                    users.setdefault(user, set()).add(ids[item])
    except OSError as error:
        raise HistoriesError(f"cannot read the histories in {path}: {error}") from error
    except (LookupError, ValueError, TypeError, csv.Error) as error:
        raise HistoriesError(
            f"{path} is not as the checkpoint's encoding={layout.encoding} and field_separator={layout.separator!r} say: "
            f"{str(error).splitlines()[0]}"
        ) from error
    return [np.array(sorted(items)) for items in users.values()]


def _pairs(file: Any, path: str | Path, layout: Layout) -> Iterator[tuple[str, str]]:
    # What pandas' engine "python", which RecBole reads with, does too.
    lines = csv.reader(file, delimiter=layout.separator, strict=True)
    header = next(lines, [])
    if header:
        header[0] = header[0].removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    columns = [f"{name}:token" for name in (layout.user, layout.item)]
    if missing := [name for name in columns if name not in header]:
        found = layout.separator.join(header)[:80]
        raise HistoriesError(f"{path} has no column {missing[0]}: expected a RecBole .inter file, found {found!r}.")
    user_at, item_at = (header.index(name) for name in columns)
    for fields in lines:
        if not fields:
            continue
        if len(fields) != len(header):
            raise HistoriesError(f"line {lines.line_num} of {path} has {len(fields)} fields, expected {len(header)}.")
        yield fields[user_at], fields[item_at]
