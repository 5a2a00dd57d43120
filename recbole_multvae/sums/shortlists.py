"""The best items of every member for every user of the validation: the rankings of sums without scoring all items again.

With weights of 0 or more, an item near the top of a sum is near the top of a member. A shortlist has the best items of each
member; the list of a single member is exact, that of a sum nearly always (the trainer validates the chosen sum in full).

``B`` users in the batch, ``U`` users of the validation, ``I`` items with the padding item, ``M`` members, ``S`` items of a
shortlist.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recbole_multvae.evaluation.ranking import only_ranked, top_k
from recbole_multvae.sums.member import scores_of
from recbole_multvae.sums.model import Sum

#: Items of a shortlist from each member, for each position of the ranking, and the smallest number.
ITEMS_PER_POSITION, LEAST_ITEMS = 10, 100


@dataclass(frozen=True)
class Shortlists:
    """The shortlists of all users.

    Attributes:
        items: RecBole's ids, int32 [U, S]; 0 where an item is listed by another member, or is not to be ranked.
        scores: of each member, divided by its scale, float32 [M, U, S]; 0 at padding.
        positive: whether an item is one of the user's clicks of the validation, bool [U, S].
        counts: the user's clicks of the validation, int64 [U].
    """

    items: Tensor
    scores: Tensor
    positive: Tensor
    counts: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, model: Sum, valid_data: Any, k: int) -> Shortlists:
        """Those of the users of the validation, for lists of ``k`` items."""
        size = min(max(ITEMS_PER_POSITION * k, LEAST_ITEMS), model.n_items)
        model.eval()
        parts = [_of_batch(model, batch, size) for batch in valid_data]
        items, scores, positive, counts = zip(*parts, strict=True)
        return cls(torch.cat(items), torch.cat(scores, dim=1), torch.cat(positive), torch.cat(counts))

    def of_some_users(self, most: int) -> Shortlists:
        """Those of at most so many users, evenly spaced."""
        users = torch.linspace(0, len(self.counts) - 1, min(most, len(self.counts))).long()
        return Shortlists(self.items[users], self.scores[:, users], self.positive[users], self.counts[users])

    def ranked(self, weights: Sequence[float], k: int) -> tuple[Tensor, Tensor]:
        """Rank the items by the sum of the scores, each times its weight.

        Returns:
            The lists, int64 [U, k], with 0 behind a list that is shorter; and RecBole's ``rec.topk``, int64 [U, k + 1]:
            whether each item of the list is a click of the validation, and then the number of these clicks.
        """
        total = torch.zeros_like(self.scores[0])
        for weight, scores in zip(weights, self.scores, strict=True):
            total.add_(scores, alpha=weight)
        places = total.masked_fill_(self.items == 0, -torch.inf).topk(k, dim=1).indices
        hits = self.positive.gather(1, places).long()
        return self.items.gather(1, places).long(), torch.cat((hits, self.counts.unsqueeze(1)), dim=1)


def _of_batch(model: Sum, batch: Any, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four attributes of :class:`Shortlists` for the users of a batch."""
    interaction, seen, positive_u, positive_i = batch
    clicks = model.histories(interaction.to(model.device))
    scores = list(_scores(model, clicks, seen))
    best = torch.cat([only_ranked(top_k(member, size), member) for member in scores], dim=1)
    items = _once(best)
    listed = [member.gather(1, items).masked_fill(items == 0, 0) for member in scores]
    pairs = torch.arange(len(items), device=items.device).unsqueeze(1) * model.n_items + items
    positive = torch.isin(pairs, (positive_u * model.n_items + positive_i).to(items.device))
    counts = torch.bincount(positive_u, minlength=len(items))
    return items.int().cpu(), torch.stack(listed).cpu(), positive.cpu(), counts.cpu()


def _scores(model: Sum, clicks: Any, seen: tuple[Tensor, Tensor]) -> Iterable[Tensor]:
    """The scores of each member, [B, I], -inf for the padding item and what must not be recommended."""
    for member, scale in zip(model.members, model.scales, strict=True):
        scores = torch.nn.functional.pad(scores_of(member, clicks) / scale, (1, 0), value=-torch.inf)
        scores[seen] = -torch.inf
        yield scores


def _once(items: Tensor) -> Tensor:
    """The items of each row, sorted; 0 in place of an item that occurred before."""
    items = items.sort(dim=1).values
    repeated = torch.zeros_like(items, dtype=torch.bool)
    repeated[:, 1:] = items[:, 1:] == items[:, :-1]
    return items.masked_fill(repeated, 0)
