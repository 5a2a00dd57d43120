"""The clicks of the histories file: what the models see of each user, and what they must find. Items go by number."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from multvae_export.errors import HistoriesError
from multvae_export.histories import Layout, read_rows

LAYOUT = Layout(time="timestamp")
#: How clicks are put in order, and so the later fifth is found; or that other clicks are to be found.
BY_TIME, BY_ROW, TARGETS = "timestamp", "the order of the file", "targets"


class Items:
    """The items of both files, and those of the clicks: 0 is padding, the old file's come first, in its order.

    Attributes:
        numbers: of the items, by token.
    """

    def __init__(self, old: Iterable[str], new: Iterable[str]) -> None:
        self.numbers = {"": 0}
        self._old, self._new = (
            np.array([self.numbers.setdefault(token, len(self.numbers)) for token in tokens]) for tokens in (old, new)
        )

    @property
    def tokens(self) -> list[str]:
        """The tokens by number."""
        return list(self.numbers)

    def known(self) -> tuple[np.ndarray, np.ndarray]:
        """Whether the old file, and the new file, know an item, bool [number of items] each."""
        masks = np.zeros((2, len(self.numbers)), bool)
        masks[0, self._old] = masks[1, self._new] = True
        return masks[0], masks[1]


@dataclass(frozen=True)
class Clicks:
    """The rows of a file of interactions, in its order: ``users`` and ``items`` by number, int64 [N], ``times`` float64 [N].

    A file without times has ``times`` None.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray | None

    @classmethod
    def read(cls, path: str, users: dict[str, int], items: dict[str, int]) -> Clicks:
        """Read an ``.inter`` file. New users and items get the next numbers.

        Raises:
            HistoriesError: it cannot be read, is no ``.inter`` file, or has no row.
        """
        rows, columns, times = read_rows(path, LAYOUT), (array("q"), array("q")), array("d")
        for user, item, time in rows:
            columns[0].append(users.setdefault(user, len(users)))
            columns[1].append(items.setdefault(item, len(items)))
            if time is not None:
                times.append(time)
        if not columns[0]:
            raise HistoriesError(f"{path} has no clicks: expected rows of users and items below its header.")
        return cls(np.array(columns[0]), np.array(columns[1]), np.array(times) if times else None)

    def of_users(self, count: int) -> list[np.ndarray]:
        """The distinct items of each of the first ``count`` users, those that were clicked first come first."""
        keys = (self.users,) if self.times is None else (self.times, self.users)
        order = np.lexsort(keys)  # It is stable: of equal times, the order of the file counts.
        users, items = self.users[order], self.items[order]
        _, first = np.unique(users * (items.max() + 1) + items, return_index=True)
        first.sort()
        users, items = users[first], items[first]
        ends = np.searchsorted(users, np.arange(count + 1))
        return [items[start:end] for start, end in pairwise(ends)]


@dataclass(frozen=True)
class Test:
    """What is compared.

    Attributes:
        histories: the items that the models see of each user, int64 [length].
        relevant: the items that they must find, known to a file at least; none for a user who only counts in overlap and
            coverage.
        order: :data:`BY_TIME`, :data:`BY_ROW` or :data:`TARGETS`.
        unknown: the share of the clicks of the histories file that the old file, and the new one, do not know.
        left_out: how many relevant items were left out, as no file knows them.
        only_old, only_new: how many relevant items only one file knows; they count against the other.
        repeated: how many targets were left out, as they are in the user's history, which is never recommended.
        new_users: how many users of the targets were left out, as they have no history.
    """

    histories: list[np.ndarray]
    relevant: list[np.ndarray]
    order: str
    unknown: tuple[float, float]
    left_out: int
    only_old: int
    only_new: int
    repeated: int = 0
    new_users: int = 0

    @property
    def users(self) -> int:
        """How many users have a relevant item."""
        return sum(len(items) > 0 for items in self.relevant)


def read_test(histories: str, targets: str | None, items: Items) -> Test:
    """Read the clicks, and put aside what is to be found.

    Without targets, the later fifth of a user's distinct items is relevant, at least one, and the earlier ones are the
    history; of a user with one item it is the history. With targets, all clicks of the first file are histories.

    Raises:
        HistoriesError: a file cannot be read, has no clicks, or has no item that a model knows.
    """
    users: dict[str, int] = {}
    clicks = Clicks.read(histories, users, items.numbers)
    rows = clicks.of_users(count := len(users))
    further: dict[str, int] = {}
    if targets is None:
        rows, relevant = map(list, zip(*map(_later_fifth, rows), strict=True))
        order = BY_ROW if clicks.times is None else BY_TIME
    else:
        wanted = Clicks.read(targets, users, items.numbers).of_users(count)
        relevant, order = [row[~np.isin(row, seen)] for row, seen in zip(wanted, rows, strict=True)], TARGETS
        further = {"repeated": sum(map(len, wanted)) - sum(map(len, relevant)), "new_users": len(users) - count}
    old, new = items.known()
    if not (old | new)[clicks.items].any():
        raise HistoriesError(f"no model knows an item of {histories}: expected clicks on items of their catalogues.")
    every = np.concatenate(relevant)
    return Test(
        histories=rows,
        relevant=[row[(old | new)[row]] for row in relevant],
        order=order,
        unknown=(float((~old[clicks.items]).mean()), float((~new[clicks.items]).mean())),
        left_out=int((~old & ~new)[every].sum()),
        only_old=int((old & ~new)[every].sum()),
        only_new=int((new & ~old)[every].sum()),
        **further,
    )


def _later_fifth(items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The earlier items and the later fifth of them."""
    cut = len(items) - (max(1, len(items) // 5) if len(items) > 1 else 0)
    return items[:cut], items[cut:]
