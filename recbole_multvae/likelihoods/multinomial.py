r"""The multinomial likelihood (Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018, equation 2).

Tensors and plain numbers in, scalars out. ``B`` users in the batch, ``I`` items, ``H`` hidden units, ``N`` interactions of
the batch. A batch of click vectors x_u in {0,1}^I is sparse: ``columns`` [N] holds the clicked items, from 0 to I - 1, row
after row, and ``offsets`` [B + 1] where each row begins and ends.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from recbole_multvae.likelihoods.base import Likelihood, LikelihoodSettings
from recbole_multvae.settings import setting

#: Columns of float32 logits that a CPU works on at once: [500, 1024] stay in its cache from one operation to the next.
CPU_COLUMNS = 1024
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
        return multinomial_nll(hidden, weight, bias, columns, offsets, self.dtype, self.settings.train_memory * 2**20)


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

    The last layer, the softmax, the loss and their gradients are computed in one step, which holds one matrix [B, I].

    Args:
        hidden: the last hidden layer of the decoder, [B, H].
        weight: of the last layer, [I, H].
        bias: of the last layer, [I].
        columns: the clicked items, from 0 to I - 1, int64 [N].
        offsets: int64 [B + 1].
        dtype: of the three products with the weight; the softmax, all sums and the gradients are float32.
        memory: bytes that the logits may take; more users than that are worked on in parts.

    Returns:
        A float32 scalar. Users without interactions add nothing to the sum, but count in B.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        return _MultinomialNLL.apply(hidden.float(), weight, bias, columns, offsets, dtype, memory)


class _MultinomialNLL(torch.autograd.Function):
    """The gradients are computed with the loss, while the softmax is in memory, and at most scaled on the way back."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, columns: Tensor, offsets: Tensor,
                dtype: torch.dtype, memory: int) -> Tensor:  # fmt: skip
        n_users = len(hidden)
        layer = weight.to(dtype), bias.to(dtype)
        grad_hidden, grad_layer = torch.zeros_like(hidden), (torch.empty_like(weight), torch.empty_like(bias))
        loss = hidden.new_zeros(())
        part = max(1, memory // (len(weight) * dtype.itemsize))
        for first in range(0, n_users, part):
            users, ends = slice(first, first + part), offsets[first : first + part + 1]
            clicked = columns if part >= n_users else columns[ends[0] : ends[-1]]
            own = grad_hidden[users]
            loss += _add_part(hidden[users], *layer, clicked, ends.diff(), n_users, own, *grad_layer, first > 0)
        ctx.gradients = grad_hidden, *grad_layer
        return loss / n_users

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError(
                "backward ran through multinomial_nll a second time: its gradients are freed after the first."
            )
        gradients, ctx.gradients = ctx.gradients, None
        # Reading the scalar would make the CPU wait for a GPU.
        if grad_output.is_cuda or grad_output != 1:
            gradients = tuple(gradient * grad_output for gradient in gradients)
        return (*gradients, None, None, None, None)


def _add_part(hidden: Tensor, weight: Tensor, bias: Tensor, columns: Tensor, counts: Tensor, n_users: int,
              grad_hidden: Tensor, grad_weight: Tensor, grad_bias: Tensor, accumulate: bool) -> Tensor:  # fmt: skip
    """Sum the loss of some of ``n_users`` users, and add their part of the gradients of the mean over all users.

    ``grad_hidden`` belongs to these users alone, and is zero. ``grad_weight`` and ``grad_bias`` are sums over all users:
    with ``accumulate`` this part is added to them, without it they are overwritten.
    """
    shifted = hidden.is_cuda  # Reading the totals would make the CPU wait for a GPU.
    while True:
        blocks, scores, clicked = _score(hidden.to(weight.dtype), weight, bias, columns, counts)
        clicked_scores = scores[clicked].float().sum()
        highest, total = _exponentiate(blocks, shifted)
        if shifted or (total.log().abs() < SAFE_LOG).all():
            break
        shifted = True
    # The gradient of a user's logits is softmax * counts - clicks. Its factor counts / total is applied to [B, H] below,
    # which is cheaper than to [B, I].
    scores.index_add_(0, clicked, -(total / counts).repeat_interleave(counts).to(scores.dtype))
    factor = (counts / total / n_users)[:, None]
    scaled = (hidden * factor).to(weight.dtype)
    for span, block in blocks:
        _add_product(grad_hidden, block, weight[span], accumulate=True)
        _add_product(grad_weight[span], block.T, scaled, accumulate)
        _add_product(grad_bias[span, None], block.T, factor.to(weight.dtype), accumulate)
    grad_hidden *= factor
    return (counts * (highest + total.log())).sum() - clicked_scores


def _exponentiate(blocks: Any, shifted: bool) -> tuple[Tensor, Tensor]:
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


def _score(hidden: Tensor, weight: Tensor, bias: Tensor, columns: Tensor, counts: Tensor) -> Any:
    """Compute the logits in blocks of columns. The blocks lie in memory one after the other.

    Returns:
        The blocks, each as a slice of the columns and a matrix [B, width]; all of them as one vector, [B * I]; and the
        places of the clicks in that vector, int64 [N].
    """
    n_users, n_items = len(hidden), len(weight)
    # bf16 products are so fast that the fixed cost of each block outweighs what its cache saves.
    width = CPU_COLUMNS if hidden.device.type == "cpu" and hidden.dtype == torch.float32 else n_items
    scores = hidden.new_empty(n_users * n_items)
    blocks = []
    for start in range(0, n_items, width):
        span = slice(start, min(start + width, n_items))
        block = scores[n_users * span.start : n_users * span.stop].view(n_users, -1)
        blocks.append((span, torch.addmm(bias[span], hidden, weight[span].T, out=block)))
    start_of = columns // width * width
    row = torch.repeat_interleave(counts)
    return blocks, scores, n_users * start_of + row * (n_items - start_of).clamp(max=width) + columns - start_of


def _add_product(total: Tensor, left: Tensor, right: Tensor, accumulate: bool) -> None:
    """Add left @ right to a float32 matrix in place, or overwrite the matrix with it."""
    if total.dtype == left.dtype:
        total.addmm_(left, right, beta=int(accumulate))
    elif accumulate:
        total += left @ right
    else:
        total.copy_(left @ right)


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
