"""The best items of every member for every user of the validation: the rankings of sums without scoring all items again.

With weights of 0 or more, an item near the top of a sum is near the top of a member. A shortlist has the best items of each
member; the list of a single member is exact, that of a sum nearly always (the trainer validates the chosen sum in full).

``B`` users in the batch, ``U`` users of the validation, ``I`` items with the padding item, ``M`` members, ``S`` items of a
shortlist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recbole_multvae.clicks import Clicks, columns_of
from recbole_multvae.evaluation.ranking import top_k
from recbole_multvae.sums.member import score_into
from recbole_multvae.sums.model import Sum

#: Items of a shortlist from each member, for each position of the ranking, and the smallest number.
ITEMS_PER_POSITION, LEAST_ITEMS = 5, 50


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
        size = min(max(ITEMS_PER_POSITION * k, LEAST_ITEMS), model.n_items - 1)
        model.eval()
        memory: list[Tensor] = []
        parts = [_of_batch(model, batch, size, memory) for batch in valid_data]
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


def _of_batch(model: Sum, batch: Any, size: int, memory: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four attributes of :class:`Shortlists` for the users of a batch."""
    interaction, seen, positive_u, positive_i = batch
    scores = _scores(model, model.histories(interaction.to(model.device)), seen, memory)
    items = _once(torch.cat([_best(member, size) for member in scores], dim=1))
    places = columns_of(items).clamp(min=0)
    listed = [member.gather(1, places).masked_fill_(items == 0, 0) for member in scores]
    pairs = torch.arange(len(items), device=items.device).unsqueeze(1) * model.n_items + items
    positive = torch.isin(pairs, (positive_u * model.n_items + positive_i).to(items.device))
    counts = torch.bincount(positive_u, minlength=len(items))
    scales = torch.tensor(model.scales, device=items.device).view(-1, 1, 1)
    return items.int().cpu(), (torch.stack(listed) / scales).cpu(), positive.cpu(), counts.cpu()


def _scores(model: Sum, clicks: Clicks, seen: tuple[Tensor, Tensor], memory: list[Tensor]) -> list[Tensor]:
    """The scores of each member, [B, I - 1], -inf for what must not be recommended. All batches share the ``memory``."""
    if not memory or len(memory[0]) < len(clicks):
        memory[:] = [torch.empty(len(clicks), model.n_items - 1, device=model.device) for _ in model.members]
    users, items = seen
    scores = [member_scores[: len(clicks)] for member_scores in memory]
    for member, member_scores in zip(model.members, scores, strict=True):
        score_into(member, clicks, member_scores)
        member_scores[users, columns_of(items)] = -torch.inf
    return scores


def _best(scores: Tensor, size: int) -> Tensor:
    """The ids of the items with the largest scores of each row; 0 in place of those that must not be recommended."""
    columns = top_k(scores, size)
    return (columns + 1).masked_fill_(scores.gather(1, columns) == -torch.inf, 0)


def _once(items: Tensor) -> Tensor:
    """The items of each row, sorted; 0 in place of an item that occurred before."""
    items = items.sort(dim=1).values
    repeated = torch.zeros_like(items, dtype=torch.bool)
    repeated[:, 1:] = items[:, 1:] == items[:, :-1]
    return items.masked_fill(repeated, 0)
