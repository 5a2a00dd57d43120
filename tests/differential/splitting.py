"""A transcription of RecBole's splits, by the rules that it documents, with times that are exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch

from tests.differential.made import Example
from tests.differential.reading import Row


def split_rows(rows: list[Row], sizes: list[int], example: Example, faults: frozenset[str]) -> list[list[Row]]:
    """The rows for training, validation and test; ``sizes`` are those of benchmark files."""
    if example.benchmark:
        return cut(rows, sizes)
    args = example.eval_args
    way, how = next(iter(args["split"].items()))
    kind = np.float32 if "float32" in faults else exact
    ordered_by_time = args.get("order") == "TO" or (way == "TS" and "TS" not in faults)
    rows = by_time(rows, kind) if ordered_by_time else shuffled(rows, example.keys["seed"])
    if way == "TS":
        return by_boundary(rows, how, kind)
    if way == "LS":
        return in_groups(rows, lambda n: leave_out(n, how), True)
    return in_groups(rows, lambda n: ratio_sizes(n, how), args.get("group_by", "user") == "user")


def exact(time: Any) -> Any:
    """A time as it is: Python compares whole numbers and others without rounding."""
    return time


def by_time(rows: list[Row], kind: Any) -> list[Row]:
    """In order of time; rows of the same time stay in the order of the file."""
    return sorted(rows, key=lambda row: kind(row["timestamp"]))


def shuffled(rows: list[Row], seed: int) -> list[Row]:
    """In the order that RecBole's ``shuffle`` draws first after ``init_seed``."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return [rows[place] for place in order]


def in_groups(rows: list[Row], sizes: Callable[[int], list[int]], by_user: bool) -> list[list[Row]]:
    """The rows of every user, or all, cut into consecutive parts of the sizes that their number gives."""
    groups = of_users(rows) if by_user else [rows]
    return joined(cut(group, sizes(len(group))) for group in groups)


def of_users(rows: list[Row]) -> list[list[Row]]:
    """The rows of every user, in their order."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["user_id"], []).append(row)
    return list(groups.values())


def cut(rows: list[Row], sizes: list[int]) -> list[list[Row]]:
    """Consecutive pieces of some sizes."""
    return [rows[start:end] for start, end in pairwise(accumulate([0, *sizes]))]


def joined(pieces: Iterable[list[list[Row]]]) -> list[list[Row]]:
    """The parts, from those of every group."""
    return [[row for piece in part for row in piece] for part in zip(*pieces, strict=True)]


def ratio_sizes(total: int, ratios: list[float]) -> list[int]:
    """RecBole's ``_calcu_split_ids``: all parts but the first are rounded down, or up to 1 while the first has 2."""
    shares = [ratio / sum(ratios) for ratio in ratios]
    _, valid, test = (int(share * total) for share in shares)
    train = total - valid - test
    if train > 1 and 0 < shares[2] * total < 1:
        test, train = 1, train - 1
    if train > 1 and 0 < shares[1] * total < 1:
        valid, train = 1, train - 1
    return [train, valid, test]


def leave_out(total: int, mode: str) -> list[int]:
    """The last row for the test and the one before for validation; the first of a user is for training."""
    if mode == "valid_and_test":
        test = int(total > 1)
        valid = int(total > 2)
        return [total - valid - test, valid, test]
    one = int(total > 1)
    return [total - one, one, 0] if mode == "valid_only" else [total - one, 0, one]


def by_boundary(rows: list[Row], ratios: list[float], kind: Any) -> list[list[Row]]:
    """``TS``: the test is what is later than a time; of each user's rows before, the last are for validation."""
    shares = [ratio / sum(ratios) for ratio in ratios]
    boundary = last_before(np.sort([kind(row["timestamp"]) for row in rows]), ratios, shares[2])
    sizes = []
    for group in (groups := of_users(rows)):
        early = sum(kind(row["timestamp"]) <= boundary for row in group)
        train = int(early * (shares[0] / (1 - shares[2])))
        sizes.append([train, early - train, len(group) - early])
    return joined(map(cut, groups, sizes))


def last_before(times: np.ndarray, ratios: list[float], share: float) -> Any:
    """The boundary, a percentile of all times; between two of them the first does as well, and is exact."""
    if times.dtype == np.float32:
        return np.float32(np.percentile(times, 100 * (1 - share)))
    return times.tolist()[math.floor((len(times) - 1) * (1 - Fraction(ratios[2]) / sum(map(Fraction, ratios))))]
