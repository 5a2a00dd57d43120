"""RecBole's ``normalize_field`` and ``normalize_all``, which make the numbers of a column those from 0 to 1."""

from __future__ import annotations

from typing import Any

import numpy as np


def normalizing_key(config: Any, column: str) -> str | None:
    """The key that normalises a column of numbers; None if none does."""
    if column in (config["normalize_field"] or []):
        return "normalize_field"
    return "normalize_all" if config["normalize_all"] else None


def normalize(original: Any, dataset: Any) -> None:
    """RecBole's ``Dataset._normalize``. Before it, the first and the last time are noted in ``time_span``: see below."""
    feat, time = dataset.inter_feat, dataset.time_field
    if time in feat and normalizing_key(dataset.config, time):
        times = feat[time].to_numpy(np.float64)
        dataset.time_span = (times.min(), times.max(), bool((times == np.rint(times)).all()))
    original(dataset)


def times_in_file(dataset: Any, times: np.ndarray) -> np.ndarray:
    """Times as they are in the file. RecBole's own ml-100k has ``normalize_all``, which makes them 0 to 1."""
    if not hasattr(dataset, "time_span"):
        return times
    first, last, whole = dataset.time_span
    times = first + times * (last - first)
    return np.rint(times) if whole else times
