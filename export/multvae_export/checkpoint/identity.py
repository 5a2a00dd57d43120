"""Which training a model comes from, as far as its checkpoint says so. What it does not say is left out."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any


@dataclass(frozen=True)
class Identity:
    """Where a model comes from; None, and no metrics, where the checkpoint does not say it.

    Attributes:
        checkpoint_sha256: the digest of the checkpoint's bytes.
        saved_at: when the training saved it, in seconds since 1970.
        seed: the seed of the training.
        test_metrics: the metrics of the test by name.
    """

    checkpoint_sha256: str | None = None
    saved_at: int | None = None
    seed: int | None = None
    test_metrics: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, parts: dict[Any, Any], config: dict[str, Any]) -> Identity:
        """What the parts of a checkpoint, and RecBole's configuration among them, say.

        The training command adds the time and the test. What RecBole's own script saves has only the seed.
        """
        saved_at, seed, metrics = _whole(parts.get("saved_at")), _whole(config.get("seed")), parts.get("test_result")
        return cls(None, saved_at if saved_at and 0 < saved_at < 2**37 else None, seed, _finite(metrics))

    @property
    def version(self) -> int:
        """A number that grows from training to training: :attr:`saved_at`, or 1."""
        return self.saved_at or 1

    def entries(self) -> dict[str, str]:
        """The entries of the metadata."""
        entries = {
            "checkpoint_sha256": self.checkpoint_sha256,
            "trained_at": self.saved_at and datetime.fromtimestamp(self.saved_at, timezone.utc).isoformat(),
            "seed": self.seed,
            "test_metrics": json.dumps(self.test_metrics) if self.test_metrics else None,
        }
        return {name: str(value) for name, value in entries.items() if value is not None}


#: Of a model that comes from no checkpoint.
UNKNOWN = Identity()


def _whole(value: Any) -> int | None:
    """A whole number of 64 bits."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def _finite(metrics: Any) -> dict[str, float]:
    """The numbers of a result by name."""
    pairs = metrics.items() if isinstance(metrics, dict) else ()
    return {str(name): value for name, value in pairs if isinstance(value, float) and math.isfinite(value)}
