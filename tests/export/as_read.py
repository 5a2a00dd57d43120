"""A checkpoint as the exporter's reader gives it, by way of torch: for what a test makes itself, and so can trust."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from multvae_export.reader import Name, Record


def as_read(path: str | Path) -> Any:
    """Plain values, tensors, NumPy arrays, and a record of every other object."""
    return _inert(torch.load(path, weights_only=False))


def _inert(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: _inert(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_inert, value))
    if value is None or isinstance(value, (torch.Tensor, str, bytes, int, float)):
        return value
    if isinstance(value, type):
        return Name(value.__module__, value.__name__)
    return Record(
        Name(type(value).__module__, type(value).__name__), {k: _inert(v) for k, v in getattr(value, "__dict__", {}).items()}
    )
