"""A transcription of what becomes of the rows: keys, files, filters and splits, by the rules that RecBole documents.

It works on rows as Python's dictionaries and on times as they are in the file, and takes of RecBole only the order that its
seed gives ``RO``: a permutation drawn by torch. Faults of RecBole are copied where they are asked for by name.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.differential.files import PARTS
from tests.differential.made import TOPK, Example
from tests.differential.reading import FailsError, Reading, Row, SentenceError, number
from tests.differential.splitting import split_rows

#: A record of a part: user, item, and the time where it is loaded.
Record = tuple[str, str, float | None]
PAD = "[PAD]"
FILTERS = {
    "rm_dup_inter", "val_interval", "user_inter_num_interval", "item_inter_num_interval", "filter_inter_by_user_or_item",
}  # fmt: skip


@dataclass
class Data:
    """The rows that are left of each file; ``sizes`` are those of the benchmark files."""

    inter: list[Row]
    item: list[Row] | None = None
    user: list[Row] | None = None
    sizes: list[int] = field(default_factory=list)

    def catalogue(self, kind: str) -> list[str]:
        """The tokens of users or items, in the order of their ids."""
        rows = [*self.inter, *(getattr(self, kind) or [])]
        return list(dict.fromkeys(row[f"{kind}_id"] for row in rows if row[f"{kind}_id"] is not None))


@dataclass(frozen=True)
class Result:
    """The parts for training, validation and test, and the tokens of all users and items."""

    parts: list[list[Record]]
    users: list[str]
    items: list[str]


def transcribe(example: Example, faults: frozenset[str] = frozenset()) -> Result:
    """What is right for an example; with ``faults``, what RecBole makes of it.

    Raises:
        SentenceError: the right answer is a sentence.
        FailsError: RecBole ends in an error.
    """
    if not faults:
        check_keys(example.keys)
    data = read(example, faults)
    check_times(data.inter, example, faults)
    if not example.benchmark:
        filter_rows(data, example.keys, faults)
    if not data.inter:
        raise SentenceError("nothing is left")
    fill_times(data.inter)
    users, items = data.catalogue("user"), data.catalogue("item")
    if not faults and (len(data.inter) < 2 or max(TOPK) > len(items)):
        raise SentenceError("too little is left")
    parts = [[record(row) for row in part] for part in split_rows(data.inter, data.sizes, example, faults)]
    return Result(parts, users, items)


def check_keys(keys: dict[str, Any]) -> None:
    """What is refused before data are read."""
    args = keys["eval_args"]
    if "labeled" in str(args.get("mode")):
        raise SentenceError("labeled with rankings")
    if "threshold" in keys:
        raise SentenceError("threshold")
    if keys.get("benchmark_filename"):
        if FILTERS & keys.keys():
            raise SentenceError("filters of benchmark files")
    elif "TS" in args["split"] and args.get("order") == "RO":
        raise SentenceError("TS in random order")


def read(example: Example, faults: frozenset[str]) -> Data:
    """The rows of all files, as they are."""
    keys = example.keys
    reading = Reading(keys.get("field_separator", "\t"), keys.get("encoding", "utf-8"), faults)
    load, unload = loaded(example, faults), keys.get("unload_col") or {}

    def table(name: str, kind: str, identities: list[str]) -> list[Row]:
        wanted = None if load is None else set(load.get(kind, ()))
        return reading.table(example.files[name], identities, wanted, set(unload.get(kind, ())))

    names = [f".{part}.inter" for part in PARTS] if example.benchmark else [".inter"]
    tables = [table(name, "inter", ["user_id", "item_id"]) for name in names]
    if not faults:
        for name in names:
            check_columns(reading, example.files[name], keys)
    data = Data([row for rows in tables for row in rows], sizes=[len(rows) for rows in tables])
    for kind in ("user", "item"):
        if f".{kind}" in example.files and (load is None or kind in load):
            rows = table(f".{kind}", kind, [f"{kind}_id"])
            setattr(data, kind, list({row[f"{kind}_id"]: row for row in reversed(rows)}.values())[::-1])
    if not faults:
        check_shared_columns(data)
    return data


def check_shared_columns(data: Data) -> None:
    """RecBole keeps one file for a column: another with a column of the same name cannot be loaded too."""
    names = [name for rows in (data.inter, data.item, data.user) if rows for name in rows[0]]
    if any(count > 1 for name, count in Counter(names).items() if name not in ("user_id", "item_id")):
        raise SentenceError("a column in two files")


def loaded(example: Example, faults: frozenset[str]) -> dict[str, list[str]] | None:
    """The columns to load by file; None for all. Where the user names none, they are those that other keys read."""
    keys = example.keys
    if "load_col" in keys:
        return keys["load_col"]
    names = ["user_id", "item_id"]
    if "loading" not in faults and not example.benchmark:
        names += [*(keys.get("val_interval") or {})]
        names += ["timestamp"] if decides_by_time(example) else []
    return {"inter": names}


def check_columns(reading: Reading, content: bytes, keys: dict[str, Any]) -> None:
    """Columns that are named and not there, and those that say that a row is no click of its own."""
    header, *lines = reading.lines(content)
    names, _ = reading.columns(header)
    load, unload = (keys.get("load_col") or {}).get("inter"), (keys.get("unload_col") or {}).get("inter", [])
    if not {*(load or []), *unload} <= set(names):
        raise SentenceError("a column that is not there")
    for name in [name for name in names if name not in unload and (load is None or name in load)]:
        if name == "item_id_list":
            raise SentenceError("histories in a column")
        values = [str(reading.fields_of(line, len(names))[names.index(name)]) for line in lines] if name == "label" else []
        if name not in keys.get("val_interval", {}) and any(number(value) <= 0 for value in values):
            raise SentenceError("labels of 0")


def decides_by_time(example: Example) -> bool:
    """Whether the order of time decides something."""
    args = example.eval_args
    return not example.benchmark and (args.get("order") == "TO" or "TS" in args["split"] or "rm_dup_inter" in example.keys)


def record(row: Row) -> Record:
    """A row of a part."""
    return row["user_id"] or PAD, row["item_id"] or PAD, row.get("timestamp")  # type: ignore[return-value]


# Filters ---------------------------------------------------------------------------------------------------------------


def filter_rows(data: Data, keys: dict[str, Any], faults: frozenset[str] = frozenset()) -> None:
    """Leave rows out, in the order of RecBole's ``Dataset._data_filtering``."""
    if "na" in faults:
        drop_missing(data)
    if keep := keys.get("rm_dup_inter"):
        data.inter = distinct(data.inter, keep, "unstable" in faults)
    for name, allowed in (keys.get("val_interval") or {}).items():
        keep_values(data, name, allowed)
    for kind in ("user", "item"):
        known = getattr(data, kind)
        if known is not None and keys.get("filter_inter_by_user_or_item", True):
            tokens = {row[f"{kind}_id"] for row in known}
            data.inter = [row for row in data.inter if row[f"{kind}_id"] in tokens]
    keep_counts(data, {kind: keys.get(f"{kind}_inter_num_interval", "[0,inf)") for kind in ("user", "item")})


def drop_missing(data: Data) -> None:
    """RecBole's ``_filter_nan_user_or_item``: it takes line numbers for places, once rows are gone."""
    rows = list(enumerate(data.inter))
    for name in ("user", "item"):
        feature = getattr(data, name)
        if feature is not None:
            setattr(data, name, [row for row in feature if row[f"{name}_id"] is not None])
        places = [index for index, row in rows if row[f"{name}_id"] is None]
        if places and max(places) >= len(rows):
            raise FailsError("index")
        gone = {rows[place][0] for place in places}
        rows = [(index, row) for index, row in rows if index not in gone]
    data.inter = [row for _, row in rows]


def distinct(rows: list[Row], keep: str, unstable: bool) -> list[Row]:
    """The first or last row of each user and item in order of time, and all rows in this order."""
    if "timestamp" in rows[0]:
        rows = unstable_order(rows) if unstable else sorted(rows, key=lambda row: row["timestamp"])  # type: ignore
    chosen: dict[Any, int] = {}
    for place, row in enumerate(rows):
        pair = row["user_id"], row["item_id"]
        if keep == "last" or pair not in chosen:
            chosen[pair] = place
    return [row for place, row in enumerate(rows) if chosen[row["user_id"], row["item_id"]] == place]


def unstable_order(rows: list[Row]) -> list[Row]:
    """By NumPy's quicksort of float64, which pandas takes where nothing else is asked for; missing times are last."""
    times = np.array([row["timestamp"] for row in rows], dtype=np.float64)
    there, missing = np.flatnonzero(~np.isnan(times)), np.flatnonzero(np.isnan(times))
    return [rows[n] for n in [*there[np.argsort(times[there])], *missing]]


def keep_values(data: Data, name: str, allowed: Any) -> None:
    """``val_interval``: rows with a value in the intervals, or among the tokens; a missing number is in none."""
    owners = ["inter", name.removesuffix("_id")] if name in ("user_id", "item_id") else owners_of(data, name)
    for owner in owners:
        rows = getattr(data, owner)
        if rows is None:
            continue
        setattr(data, owner, [row for row in rows if fits(row[name], allowed)])


def owners_of(data: Data, name: str) -> list[str]:
    """The file that a column belongs to: the last that has it."""
    found = [owner for owner in ("inter", "user", "item") if (rows := getattr(data, owner)) and name in rows[0]]
    if not found:
        raise SentenceError("a column is not loaded")
    return found[-1:]


def fits(value: Any, allowed: Any) -> bool:
    """Whether a token is among some, or a number in one of some intervals."""
    return value in allowed if isinstance(allowed, list) else inside(value, allowed)


def inside(value: float, intervals: str) -> bool:
    """Whether a number is in ``(1,4];[5,inf)``."""
    for interval in intervals.split(";"):
        low, high = map(float, interval[1:-1].split(","))
        above = value >= low if interval[0] == "[" else value > low
        below = value <= high if interval[-1] == "]" else value < high
        if above and below:
            return True
    return False


def keep_counts(data: Data, intervals: dict[str, str]) -> None:
    """Leave out users and items with too few or too many rows, both at once, until none is left to leave out."""
    while True:
        gone = {kind: outside(data, kind, interval) for kind, interval in intervals.items()}
        if not any(gone.values()):
            return
        data.inter = [row for row in data.inter if not any(row[f"{kind}_id"] in gone[kind] for kind in gone)]
        for kind, tokens in gone.items():
            if (rows := getattr(data, kind)) is not None:
                setattr(data, kind, [row for row in rows if row[f"{kind}_id"] not in tokens])


def outside(data: Data, kind: str, interval: str) -> set[Any]:
    """The tokens whose number of rows is outside an interval; those without rows only below its lower end."""
    counts = Counter(row[f"{kind}_id"] for row in data.inter)
    least = float(interval.split(";")[0][1:-1].split(",")[0])
    cold = {row[f"{kind}_id"] for row in getattr(data, kind) or [] if counts[row[f"{kind}_id"]] < least}
    return cold | {token for token, count in counts.items() if not inside(count, interval)}


# Times -----------------------------------------------------------------------------------------------------------------


def check_times(rows: list[Row], example: Example, faults: frozenset[str]) -> None:
    """Times that decide must be there."""
    args = example.eval_args
    if not decides_by_time(example):
        return
    if "timestamp" not in rows[0]:
        if args.get("order") == "TO" or "TS" in args["split"]:
            raise SentenceError("no times")
        return
    if not faults and any(math.isnan(row["timestamp"]) for row in rows):  # type: ignore[arg-type]
        raise SentenceError("a time that decides is missing")


def fill_times(rows: list[Row]) -> None:
    """A missing time is the mean of the others."""
    times = [row["timestamp"] for row in rows if "timestamp" in row and not math.isnan(row["timestamp"])]  # type: ignore[arg-type]
    if "timestamp" in rows[0] and 0 < len(times) < len(rows):
        mean = float(np.mean(np.array(times)))
        for row in rows:
            row["timestamp"] = mean if math.isnan(row["timestamp"]) else row["timestamp"]  # type: ignore[arg-type]
