"""RecBole's Pop: every item's score is its share of the clicks of the most clicked one, whatever the history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from multvae_export.architectures.base import Architecture
from multvae_export.checkpoint.contents import Checkpoint, checked
from multvae_export.errors import WeightsError


@dataclass(frozen=True)
class Popularity(Architecture):
    """The same scores for everybody; only what was seen differs.

    Attributes:
        scores: of each item, [C]; the padding item's is -inf.
    """

    name: ClassVar[str] = "popularity"
    models: ClassVar[tuple[str, ...]] = ("Pop",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    why_not: ClassVar[str] = "it has one number for each item"
    no_reasons_because: ClassVar[str] = "its scores are the same whatever the history"

    scores: Tensor

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Popularity:
        """Read the clicks of each item in training. See the base class."""
        clicks = checked(checkpoint.other_parameter.get("item_cnt"), "item_cnt", 2)
        if clicks.shape[1] != 1 or len(clicks) < 2 or not clicks.max() > 0:
            raise WeightsError(f"the weights item_cnt of shape {list(clicks.shape)} are no clicks of two or more items.")
        scores = clicks[:, 0].double() / clicks.max().double()
        scores[0] = -torch.inf
        return cls(scores.float())

    @property
    def n_items(self) -> int:
        """C, the catalogue with the padding item."""
        return len(self.scores)

    def logits(self, clicks: Tensor) -> Tensor:
        """See the base class."""
        return self.scores.to(clicks.device).repeat(len(clicks), 1)

    def rounded(self, precision: str) -> Popularity:
        """See the base class."""
        return self

    def nodes(self, io: str, precision: str, output: str) -> str:
        """See the base class."""
        return f"""
    scores_shape = Shape({"x" if io == "dense" else "seen"})
    {output} = Expand(popularity, scores_shape)
"""

    def constants(self, io: str, precision: str) -> dict[str, Any]:
        """See the base class."""
        return {"popularity": self.scores.numpy()}

    def spec(self) -> dict[str, Any]:
        """See the base class."""
        return {"sizes": [self.n_items - 1]}
