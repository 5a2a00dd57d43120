"""The reference that an exported file must agree with: a history in, a ranking out. torch only.

``B`` histories in the batch, ``L`` their padded length, ``C`` items of the catalogue with the padding item (RecBole's ids
run from 0, the padding item, to C - 1), ``K`` latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

#: weight [d_in, d_out], bias [d_out].
Layer = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Scorer:
    """The inference half of an auto-encoder of the Mult-VAE family: tanh stands between the layers of each network.

    Attributes:
        encoder: its layers; the first has a row for every item but the padding item, the last has K columns.
        decoder: its layers; the last has a column for every item but the padding item.
        latent_tanh: whether tanh follows the encoder's last layer (Mult-DAE).

    Source: Liang et al., WWW 2018, sections 2.2 and 2.4.
    """

    encoder: tuple[Layer, ...]
    decoder: tuple[Layer, ...]
    latent_tanh: bool

    @property
    def n_items(self) -> int:
        """C, the catalogue with the padding item."""
        return len(self.encoder[0][0]) + 1

    def clicks(self, history: Tensor) -> Tensor:
        """The multi-hot rows of histories of item ids, int64 [B, L] -> float32 [B, C].

        Padding (0) and unknown ids are ignored, and an item counts once however often it occurs.
        """
        known = (history > 0) & (history < self.n_items)
        rows = torch.zeros(len(history), self.n_items)
        rows.scatter_(1, history.where(known, 0), 1.0)
        rows[:, 0] = 0
        return rows

    def logits(self, clicks: Tensor) -> Tensor:
        """The decoder's logits of multi-hot rows, [B, C] -> [B, C]; the padding item's is -inf."""
        x = normalize(clicks[:, 1:])
        for n, (weight, bias) in enumerate(self.encoder):
            x = x @ weight + bias
            if n < len(self.encoder) - 1 or self.latent_tanh:
                x = torch.tanh(x)
        for n, (weight, bias) in enumerate(self.decoder):
            x = x @ weight + bias
            if n < len(self.decoder) - 1:
                x = torch.tanh(x)
        return pad(x, (1, 0), value=-torch.inf)

    def unseen(self, history: Tensor) -> Tensor:
        """The logits of histories of item ids with what was seen at -inf, int64 [B, L] -> float32 [B, C]."""
        clicks = self.clicks(history)
        return self.logits(clicks).masked_fill(clicks > 0, -torch.inf)


def best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Rank the unseen items.

    Args:
        scores: what :meth:`Scorer.unseen` returns, float32 [B, C].
        k: how many items; more than the catalogue holds is clamped.

    Returns:
        ``items`` int64 [B, k] and ``scores`` float32 [B, k], best first, the lower id first between equal scores. Where
        fewer than k unseen items remain, the rest is padding: id 0 with score -inf.
    """
    k = min(k, scores.shape[1] - 1)
    scores, items = scores.sort(dim=1, descending=True, stable=True)
    return items[:, :k].masked_fill(scores[:, :k].isneginf(), 0), scores[:, :k]
