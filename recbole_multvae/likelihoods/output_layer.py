"""The output layer, the loss of its scores and the gradients of both, computed in one step. Torch only.

The scores f = hidden weight^T + bias of a batch are its largest matrix. Each likelihood says how the scores of some users
become their loss and their gradients (:data:`AddPart`); what is here splits the users where memory is short, makes the
scores in blocks, and hands the gradients to autograd.

``B`` users in the batch, ``I`` items, ``H`` hidden units, ``N`` interactions of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

#: Columns of float32 scores that a CPU works on at once: [500, 1024] stay in its cache from one operation to the next.
CPU_COLUMNS = 1024


class Part(NamedTuple):
    """Some of the ``n_users`` users of a batch, the output layer, and the gradients of the mean over all users.

    ``hidden`` and ``grad_hidden`` belong to these users alone, and ``grad_hidden`` is zero. ``grad_weight`` and
    ``grad_bias`` are sums over all users: with ``accumulate`` this part is added to them, without it they are overwritten.
    ``weight`` and ``bias`` are in the type of the products, ``hidden`` and the gradients in float32.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor
    columns: Tensor
    counts: Tensor
    n_users: int
    grad_hidden: Tensor
    grad_weight: Tensor
    grad_bias: Tensor
    accumulate: bool


#: Computes the sum of the loss of a part's users, and their gradients into the part.
AddPart = Callable[[Part], Tensor]


def fused_loss(
    add_part: AddPart, hidden: Tensor, weight: Tensor, bias: Tensor, columns: Tensor, offsets: Tensor,
    dtype: torch.dtype = torch.float32, memory: int = 2**29,
) -> Tensor:  # fmt: skip
    """The mean over users of a loss of the scores f = hidden weight^T + bias.

    Args:
        add_part: computes the loss and the gradients of some of the users.
        hidden: the last hidden layer of the decoder, [B, H].
        weight: of the last layer, [I, H].
        bias: of the last layer, [I].
        columns: the clicked items, from 0 to I - 1, int64 [N].
        offsets: int64 [B + 1].
        dtype: of the three products with the weight; all sums and the gradients are float32.
        memory: bytes that the scores may take; more users than that are worked on in parts.

    Returns:
        A float32 scalar.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        return _FusedLoss.apply(hidden.float(), weight, bias, columns, offsets, add_part, dtype, memory)


class _FusedLoss(torch.autograd.Function):
    """The gradients are computed with the loss, while the scores are in memory, and at most scaled on the way back."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, columns: Tensor, offsets: Tensor,
                add_part: AddPart, dtype: torch.dtype, memory: int) -> Tensor:  # fmt: skip
        n_users = len(hidden)
        layer = weight.to(dtype), bias.to(dtype)
        grad_hidden, grad_layer = torch.zeros_like(hidden), (torch.empty_like(weight), torch.empty_like(bias))
        loss = hidden.new_zeros(())
        part = max(1, memory // (len(weight) * dtype.itemsize))
        for first in range(0, n_users, part):
            users, ends = slice(first, first + part), offsets[first : first + part + 1]
            clicked = columns if part >= n_users else columns[ends[0] : ends[-1]]
            own = grad_hidden[users]
            loss += add_part(Part(hidden[users], *layer, clicked, ends.diff(), n_users, own, *grad_layer, first > 0))
        ctx.gradients = grad_hidden, *grad_layer
        return loss / n_users

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("backward ran through fused_loss a second time: its gradients are freed after the first.")
        gradients, ctx.gradients = ctx.gradients, None
        # Reading the scalar would make the CPU wait for a GPU.
        if grad_output.is_cuda or grad_output != 1:
            gradients = tuple(gradient * grad_output for gradient in gradients)
        return (*gradients, None, None, None, None, None)


class Scores(NamedTuple):
    """The scores of some users in blocks of columns, which lie in memory one after the other.

    Attributes:
        blocks: each as a slice of the columns and a matrix [B, width].
        flat: all of them as one vector, [B * I].
        clicked: the places of the clicks in that vector, int64 [N].
    """

    blocks: list[tuple[slice, Tensor]]
    flat: Tensor
    clicked: Tensor


def score(hidden: Tensor, weight: Tensor, bias: Tensor, columns: Tensor, counts: Tensor) -> Scores:
    """Compute the scores of some users in the type of the weight.

    Args:
        hidden: [B, H].
        weight: [I, H].
        bias: [I].
        columns: the clicked items, int64 [N].
        counts: the number of each user's clicks, int64 [B].
    """
    hidden = hidden.to(weight.dtype)
    n_users, n_items = len(hidden), len(weight)
    # bf16 products are so fast that the fixed cost of each block outweighs what its cache saves.
    width = CPU_COLUMNS if hidden.device.type == "cpu" and hidden.dtype == torch.float32 else n_items
    flat = hidden.new_empty(n_users * n_items)
    blocks = []
    for start in range(0, n_items, width):
        span = slice(start, min(start + width, n_items))
        block = flat[n_users * span.start : n_users * span.stop].view(n_users, -1)
        blocks.append((span, torch.addmm(bias[span], hidden, weight[span].T, out=block)))
    start_of = columns // width * width
    row = torch.repeat_interleave(counts)
    return Scores(blocks, flat, n_users * start_of + row * (n_items - start_of).clamp(max=width) + columns - start_of)


def add_gradients(part: Part, scores: Scores, factor: Tensor) -> None:
    """Add a part's gradients to it.

    Args:
        part: the users.
        scores: the gradients of their scores but for a factor, in the place of the scores.
        factor: that of each user's row, [B, 1]: it is applied to [B, H], which is cheaper than to [B, I].
    """
    dtype = part.weight.dtype
    scaled, factors = (part.hidden * factor).to(dtype), factor.to(dtype)
    for span, block in scores.blocks:
        _add_product(part.grad_hidden, block, part.weight[span], accumulate=True)
        _add_product(part.grad_weight[span], block.T, scaled, part.accumulate)
        _add_product(part.grad_bias[span, None], block.T, factors, part.accumulate)
    part.grad_hidden.mul_(factor)


def _add_product(total: Tensor, left: Tensor, right: Tensor, accumulate: bool) -> None:
    """Add left @ right to a float32 matrix in place, or overwrite the matrix with it."""
    if total.dtype == left.dtype:
        total.addmm_(left, right, beta=int(accumulate))
    elif accumulate:
        total += left @ right
    else:
        total.copy_(left @ right)


#: Of the scores of clicks, float32 [N], what a click changes: in the terms of the loss and in their derivatives, [N] each.
Click = Callable[[Tensor], tuple[Tensor, Tensor]]


def itemwise(no_click: Callable[[Tensor], Tensor], click: Click) -> AddPart:
    """A loss that is a sum over items, each of which has a term of its own.

    Args:
        no_click: sums the terms of scores as if nobody had clicked, and replaces the scores by the derivatives.
        click: what a click changes.
    """

    def add_part(part: Part) -> Tensor:
        scores = score(part.hidden, part.weight, part.bias, part.columns, part.counts)
        terms, derivatives = click(scores.flat[scores.clicked].float())
        loss = terms.sum() + torch.stack([no_click(block) for _, block in scores.blocks]).sum()
        scores.flat.index_add_(0, scores.clicked, derivatives.to(scores.flat.dtype))
        add_gradients(part, scores, part.hidden.new_full((len(part.hidden), 1), 1 / part.n_users))
        return loss

    return add_part
