"""Times as they are in the file, where RecBole makes them numbers from 0 to 1 while it reads them."""

from __future__ import annotations

from typing import Any

import numpy as np


def normalize(original: Any, dataset: Any) -> None:
    """RecBole's ``Dataset._normalize``, which leaves in ``time_span`` what it made of the times, see :func:`in_file`."""
    feat, time, config = dataset.inter_feat, dataset.time_field, dataset.config
    if time in feat and (config["normalize_all"] or time in (config["normalize_field"] or [])):
        times = feat[time].to_numpy(np.float64)
        dataset.time_span = (times.min(), times.max(), bool((times == np.rint(times)).all()))
    original(dataset)


def in_file(dataset: Any, times: np.ndarray) -> np.ndarray:
    """Times as they are in the file. RecBole's ``normalize_all``, the default of its own ml-100k, makes them 0 to 1."""
    if not hasattr(dataset, "time_span"):
        return times
    first, last, whole = dataset.time_span
    times = first + times * (last - first)
    return np.rint(times) if whole else times
