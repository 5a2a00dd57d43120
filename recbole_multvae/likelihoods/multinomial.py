r"""The multinomial likelihood (Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018, equation 2).

Tensors and plain numbers in, scalars out. ``B`` users in the batch, ``I`` items, ``H`` hidden units, ``N`` interactions of
the batch. A batch of click vectors x_u in {0,1}^I is sparse: ``columns`` [N] holds the clicked items, from 0 to I - 1, row
after row, and ``offsets`` [B + 1] where each row begins and ends.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from recbole_multvae.config.settings import setting
from recbole_multvae.likelihoods.base import Likelihood, LikelihoodSettings
from recbole_multvae.likelihoods.output_layer import Part, add_gradients, fused_loss, score

#: As long as the logarithms of the sums of a softmax are no further from 0, its logits need no shift: float32 reaches from
#: e^-87 to e^88, and the gradients multiply by such sums.
SAFE_LOG = 40


class MultinomialSettings(LikelihoodSettings):
    """The settings of the multinomial likelihood."""

    sampled_softmax: int = setting(
        0,
        "an integer, 0 or more",
        "for large catalogues: items drawn for the softmax beside those clicked in a batch (few cost NDCG); 0 takes all",
        ge=0,
    )


class Multinomial(Likelihood):
    """One softmax over all items, or over a sample of them, from which all clicks of a user are drawn."""

    settings_class = MultinomialSettings
    settings: MultinomialSettings

    @property
    def sparse_output(self) -> bool:
        """Whether the gradient of the output layer's weight is sparse: it is where items are sampled."""
        return self.sparse and self.settings.sampled_softmax > 0

    def negative_log_likelihood(
        self, hidden: Tensor, output: nn.Linear, columns: Tensor, offsets: Tensor, generator: torch.Generator
    ) -> Tensor:
        """See :meth:`.Likelihood.negative_log_likelihood` and :func:`multinomial_nll`."""
        weight: Tensor = output.weight
        bias: Tensor = output.bias
        if self.settings.sampled_softmax:
            drawn, shift, columns = sample_items(columns, len(weight), self.settings.sampled_softmax, generator)
            weight = nn.functional.embedding(drawn, output.weight, sparse=self.sparse)
            bias = output.bias[drawn] + shift
        return multinomial_nll(hidden, weight, bias, columns, offsets, self.dtype, self.memory)


def multinomial_nll(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    columns: Tensor,
    offsets: Tensor,
    dtype: torch.dtype = torch.float32,
    memory: int = 2**29,
) -> Tensor:
    r"""Negative multinomial log-likelihood, the mean over users (paper, equation 2), of logits f = hidden weight^T + bias.

    .. math:: -\frac{1}{B} \sum_u \sum_i x_{ui} \log \mathrm{softmax}_i f(z_u)
        = \frac{1}{B} \sum_u \Big( N_u \log \sum_i e^{f_i(z_u)} - \sum_{i: x_{ui} = 1} f_i(z_u) \Big)

    The arguments are those of :func:`.output_layer.fused_loss`. Users without interactions add nothing to the sum, but count
    in B.
    """
    return fused_loss(_add_part, hidden, weight, bias, columns, offsets, dtype, memory)


def _add_part(part: Part) -> Tensor:
    """Sum the loss of some users, and add their part of the gradients: see :class:`.output_layer.Part`."""
    counts = part.counts
    shifted = part.hidden.is_cuda  # Reading the totals would make the CPU wait for a GPU.
    while True:
        scores = score(part.hidden, part.weight, part.bias, part.columns, counts)
        clicked_scores = scores.flat[scores.clicked].float().sum()
        highest, total = _exponentiate(scores.blocks, shifted)
        if shifted or (total.log().abs() < SAFE_LOG).all():
            break
        shifted = True
    # The gradient of a user's logits is softmax * counts - clicks, of which counts / total is the factor of the row.
    clicks = (total / counts).repeat_interleave(counts).to(scores.flat.dtype)
    scores.flat.index_add_(0, scores.clicked, -clicks)
    add_gradients(part, scores, (counts / total / part.n_users)[:, None])
    return (counts * (highest + total.log())).sum() - clicked_scores


def _exponentiate(blocks: list[tuple[slice, Tensor]], shifted: bool) -> tuple[Tensor, Tensor]:
    """Replace logits by their exponentials; with ``shifted``, subtract the user's highest logit first.

    Returns:
        What was subtracted, [B], and the sums of the exponentials over all items, [B], float32.
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
    Neural Machine Translation", ACL 2015, section 3): with P the items that anyone in the batch clicked, taken all, and S a
    uniform sample without replacement of the others,

    .. math:: \hat Z_u = \sum_{i \in P} e^{f_i(z_u)} + \frac{I - |P|}{|S|} \sum_{j \in S} e^{f_j(z_u)},

    which is Z_u on average; its logarithm is too low on average, the less so the larger S.

    Args:
        columns: the clicked items, from 0 to I - 1, int64 [N].
        n_items: I.
        size: how many items to draw; those drawn twice, or clicked, do not count, so that S may be smaller.
        generator: draws them.

    Returns:
        The columns of P and S, int64 [C]; what to add to their logits, float32 [C]; where in C ``columns`` are, int64 [N].
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
