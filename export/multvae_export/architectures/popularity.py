"""RecBole's Pop: every item's score is its share of the clicks of the most clicked one, whatever the history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from multvae_export.architectures.base import HistoryModel
from multvae_export.checkpoint.contents import Checkpoint, checked
from multvae_export.errors import WeightsError
from multvae_export.nodes import filters
from multvae_export.nodes.factors import Factors
from multvae_export.nodes.layers import RowsOfNew
from multvae_export.nodes.nodes import Nodes
from multvae_export.target import Target


@dataclass(frozen=True)
class Popularity(HistoryModel):
    """The same scores for every user; only the seen items differ. They are float32 in every precision: one for each item.

    Attributes:
        scores: of each item, [C]; the padding item's is -inf.
    """

    name: ClassVar[str] = "popularity"
    models: ClassVar[tuple[str, ...]] = ("Pop",)
    no_reasons_because = "its scores are the same whatever the history"
    no_vectors_because = ""

    scores: Tensor

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Popularity:
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
        return self.scores.to(clicks.device).repeat(len(clicks), 1)

    def rounded(self, precision: str) -> Popularity:
        return self

    def with_items(self, rows: RowsOfNew) -> Popularity:
        new = rows(self.scores[1:, None])[:, 0].clamp(min=0)
        return Popularity(torch.cat([self.scores, new]))

    def shifted(self, shift: Tensor) -> Popularity:
        return Popularity(self.scores + pad(shift, (1, 0)))

    def graph(self, target: Target, output: str) -> Nodes:
        text = f"""
    scores_shape = Shape({"x" if target.dense else "seen"})
    {output} = Expand(popularity, scores_shape)
"""
        return filters.masked(Nodes(text, {"popularity": self.scores.numpy()}), target, output)

    def factors(self) -> Factors:
        """The scores are the bias; the user's part has no dimension."""
        text = """
    no_units_shape = Concat <axis: int = 0> (batch_shape, no_items)
    no_units = Expand(zero_float, no_units_shape)
"""
        return Factors(Nodes(text), "no_units", torch.zeros(self.n_items - 1, 0), self.scores[1:])

    def spec(self) -> dict[str, Any]:
        return {"sizes": [self.n_items - 1]}
