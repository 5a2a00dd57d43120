r"""The multinomial likelihood (Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018, equation 2).

``B`` users in the batch, ``I`` items, ``H`` hidden units, ``N`` clicks of the batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from typing_extensions import override

from recbole_multvae.clicks import Clicks
from recbole_multvae.config.settings import setting
from recbole_multvae.likelihoods.base import Likelihood, LikelihoodSettings
from recbole_multvae.likelihoods.output_layer import Part, add_gradients, score

#: Logits need no shift while the log of the sum of their exponentials is between -40 and 40: float32 reaches from e^-87 to
#: e^88, and the gradients multiply by such sums.
SAFE_LOG = 40


class MultinomialSettings(LikelihoodSettings):
    """The settings of the multinomial likelihood."""

    sampled_softmax: int = setting(
        0,
        "an integer, 0 or more",
        "for large catalogues: items drawn for the softmax besides those clicked in the batch; 0: all items, the best NDCG",
        ge=0,
    )


class Multinomial(Likelihood):
    """All clicks of a user are drawn from one softmax over all items, or over a sample of them."""

    settings_class = MultinomialSettings
    settings: MultinomialSettings

    @property
    def sparse_output(self) -> bool:
        """Whether items are sampled, and the gradient of the output layer's weight holds only their rows."""
        return self.sparse and self.settings.sampled_softmax > 0

    @override
    def scored_items(
        self, output: nn.Linear, clicks: Clicks, generator: torch.Generator, n_items: int
    ) -> tuple[Tensor, Tensor, Clicks]:
        if not self.settings.sampled_softmax:
            return super().scored_items(output, clicks, generator, n_items)
        items, shift, columns = sample_items(clicks.columns, n_items, self.settings.sampled_softmax, generator)
        weight = nn.functional.embedding(items, output.weight, sparse=self.sparse)
        return weight, output.bias[items] + shift, Clicks(columns, clicks.offsets)

    @override
    def add_part(self, part: Part) -> Tensor:
        r"""Compute the loss of some users (paper, equation 2).

        .. math:: -\sum_u \sum_i x_{ui} \log \mathrm{softmax}_i f(z_u)
            = \sum_u \Big( N_u \log \sum_i e^{f_i(z_u)} - \sum_{i: x_{ui} = 1} f_i(z_u) \Big)

        Users without clicks add nothing to the sum.
        """
        counts = part.clicks.counts
        shifted = part.hidden.is_cuda  # Reading the totals would make the CPU wait for a GPU.
        while True:
            scores = score(part.hidden, part.weight, part.bias, part.clicks)
            clicked_scores = scores.flat[scores.clicked].float().sum()
            highest, total = _exponentiate(scores.blocks, shifted)
            if shifted or (total.log().abs() < SAFE_LOG).all():
                break
            shifted = True
        # The gradient of a user's logits is softmax * counts - clicks; counts / total is the factor of the user's row.
        clicks = part.clicks.per_click(total / counts).to(scores.flat.dtype)
        scores.flat.index_add_(0, scores.clicked, -clicks)
        add_gradients(part, scores, (counts / total / part.n_users)[:, None])
        return (counts * (highest + total.log())).sum() - clicked_scores


def _exponentiate(blocks: list[tuple[slice, Tensor]], shifted: bool) -> tuple[Tensor, Tensor]:
    """Replace logits by their exponentials; with ``shifted``, subtract the user's highest logit first.

    Returns:
        The subtracted logits, [B], and the sums of the exponentials over all items, [B], float32.
    """
    total = blocks[0][1].new_zeros(len(blocks[0][1]), dtype=torch.float32)
    highest = torch.stack([block.amax(dim=1) for _, block in blocks]).amax(dim=0).float() if shifted else total.clone()
    for _, block in blocks:
        if shifted:
            block.copy_(block.float().sub_(highest[:, None]).exp_())
        else:
            block.exp_()
        total += block.sum(dim=1, dtype=torch.float32)
    return highest, total


def sample_items(columns: Tensor, n_items: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    r"""Draw the items over which a batch's softmax is taken: those that were clicked, and some of the others.

    The normaliser of a user is estimated by importance sampling (Jean et al., "On Using Very Large Target Vocabulary for
    Neural Machine Translation", ACL 2015, section 3): with P all items that anyone in the batch clicked, and S a uniform
    sample without replacement of the others,

    .. math:: \hat Z_u = \sum_{i \in P} e^{f_i(z_u)} + \frac{I - |P|}{|S|} \sum_{j \in S} e^{f_j(z_u)},

    which is Z_u on average; its logarithm is too low on average, but less so for a larger S.

    Args:
        columns: the clicked items, from 0 to I - 1, int64 [N].
        n_items: I.
        size: how many items to draw. Items that are drawn twice, or were clicked, do not count, so that S may be smaller.
        generator: draws them.

    Returns:
        P and S, int64 [C]; the shift of their logits, float32 [C]; the positions of ``columns`` in P and S, int64 [N].
    """
    clicked, position = columns.unique(return_inverse=True)
    drawn = torch.randint(n_items, (size,), generator=generator, device=columns.device).unique()
    is_clicked = torch.zeros(n_items, dtype=torch.bool, device=columns.device)
    is_clicked[clicked] = True
    others = drawn[~is_clicked[drawn]]
    shift = torch.zeros(len(clicked) + len(others), device=columns.device)
    if len(others):
        shift[len(clicked) :] = math.log((n_items - len(clicked)) / len(others))
    return torch.cat([clicked, others]), shift, position
