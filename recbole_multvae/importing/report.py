"""The lines that an import prints: the guessed columns, the figures of its files, and the next command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from recbole_multvae.importing.arrow import pc
from recbole_multvae.importing.columns import Roles
from recbole_multvae.importing.interactions import Written
from recbole_multvae.importing.items import WrittenItems
from recbole_multvae.times import day

#: Ratings up to here are stars or marks. Larger ones may be counts, and a high count is not a good rating.
_HIGHEST_MARK = 100
#: A rating is good from this share of the highest mark on: 4 of 5.
_GOOD = 0.8


def counted(number: int, singular: str, plural: str) -> str:
    """A number with its noun: ``1 row``, ``2,000 rows``."""
    return f"{number:,} {singular if number == 1 else plural}"


def guesses(roles: Roles, guessed: Sequence[str]) -> str:
    """The line about the columns that were guessed, and how to name others."""
    columns = ", ".join(f"{role} {vars(roles)[role]!r}" for role in guessed)
    flags = ", ".join(f"--{role}" for role in guessed)
    leave_out = "; none leaves one out" if {"rating", "time"} & set(guessed) else ""
    return f"Columns by their usual names: {columns} (others with {flags}{leave_out})."


def about_interactions(path: Path, written: Written) -> Iterator[str]:
    """The lines about a ``.inter`` file."""
    text = f"{path}: {counted(written.rows, 'row', 'rows')}, {counted(written.users, 'user', 'users')}, "
    text += counted(len(written.items), "item", "items")
    if written.ratings is not None:
        text += f", ratings from {written.ratings.smallest:g} to {written.ratings.largest:g}"
    if written.times is not None:
        first, last = (day(time, written.unit) for time in (written.times.smallest, written.times.largest))
        kind = "dates, now seconds since 1970" if written.dates else written.unit
        text += f", times from {first} to {last} ({kind}, UTC)"
    yield f"{text}."
    if written.repeated:
        repeat = counted(written.repeated, "row repeats", "rows repeat")
        yield f"{repeat} a pair of user and item: training counts each pair once."
    if written.mixed_units:
        yield "Some times are so much larger than others that they may be in another unit, such as milliseconds: check them."


def about_items(path: Path, written: WrittenItems, interactions: Written) -> Iterator[str]:
    """The lines about a ``.item`` file."""
    known = pc.sum(pc.is_in(interactions.items, value_set=written.ids)).as_py() or 0
    total = len(interactions.items)
    yield (
        f"{path}: {counted(len(written.ids), 'item', 'items')} with {', '.join(written.columns)}; {known:,} "
        f"of the {total:,} items above are among them."
    )
    if written.repeated:
        name = counted(written.repeated, "row names", "rows name")
        yield f"{name} an item again: the first row of each is kept."
    if written.left_out:
        yield f"Left out, as they hold objects, bytes or nothing: {', '.join(written.left_out)}."
    if written.changed:
        yield f"{counted(written.changed, 'text', 'texts')} held a tab or a line end: it is a space now."
    if written.separator not in (None, " "):
        yield (
            f"Entries of lists hold spaces, so {written.separator!r} is between them: RecBole needs "
            f"--seq_separator={shlex.quote(str(written.separator))} where it reads these columns."
        )


def next_commands(name: str, data_path: Path, written: Written) -> Iterator[str]:
    """The lines with the next command, and with the key that keeps only good ratings."""
    folder = "" if data_path == Path("dataset") else f" --data_path={shlex.quote(str(data_path))}"
    command = f"multvae-train --model=MultVAE --dataset={shlex.quote(name)}{folder}"
    yield f"Next: {command}"
    ratings = written.ratings
    if ratings is not None and ratings.smallest < ratings.largest and 0 < ratings.largest <= _HIGHEST_MARK:
        good = f"{_GOOD * ratings.largest:g}" if ratings.largest > 1 else f"{ratings.largest:g}"
        yield f"For good ratings only, add --val_interval=\"{{'rating': '[{good},inf)'}}\": without it all count as clicks."
