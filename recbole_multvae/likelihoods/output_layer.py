"""The output layer, the loss of its scores and the gradients of both, computed in one step. Torch only.

The scores f = hidden weight^T + bias of a batch are its largest matrix. Each likelihood computes the loss of some users and
its gradients from their scores (:data:`AddPart`). The functions here split the users where memory is short, compute the
scores in blocks, and hand the gradients to autograd.

``B`` users in the batch, ``I`` items, ``H`` hidden units, ``N`` clicks of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recbole_multvae.clicks import Clicks

#: Columns of float32 scores that a CPU works on at once: [500, 1024] stay in its cache from one operation to the next.
CPU_COLUMNS = 1024


class Part(NamedTuple):
    """Some of the ``n_users`` users of a batch, the output layer, and the gradients of the mean over all users.

    ``hidden``, ``clicks`` and ``grad_hidden`` are those of these users, and ``grad_hidden`` is zero. ``grad_weight`` and
    ``grad_bias`` are sums over all users: with ``accumulate`` this part is added to them, without it they are overwritten.
    ``weight`` and ``bias`` are in the type of the products, ``hidden`` and the gradients in float32.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor
    clicks: Clicks
    n_users: int
    grad_hidden: Tensor
    grad_weight: Tensor
    grad_bias: Tensor
    accumulate: bool


#: Returns the sum of the loss of a part's users, and adds their gradients to the part.
AddPart = Callable[[Part], Tensor]


def fused_loss(
    add_part: AddPart, hidden: Tensor, weight: Tensor, bias: Tensor, clicks: Clicks,
    dtype: torch.dtype = torch.float32, memory: int = 2**29,
) -> Tensor:  # fmt: skip
    """The mean over users of a loss of the scores f = hidden weight^T + bias.

    Args:
        add_part: computes the loss and the gradients of some of the users.
        hidden: the last hidden layer of the decoder, [B, H].
        weight: of the last layer, [I, H].
        bias: of the last layer, [I].
        clicks: those of the B users.
        dtype: the type of the three products with the weight; all sums and the gradients are float32.
        memory: bytes that the scores may take; where they would take more, the users are split into parts.

    Returns:
        A float32 scalar.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        return _FusedLoss.apply(hidden.float(), weight, bias, clicks, add_part, dtype, memory)


class _FusedLoss(torch.autograd.Function):
    """The gradients are computed with the loss, while the scores are in memory, and at most scaled on the way back."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, clicks: Clicks,
                add_part: AddPart, dtype: torch.dtype, memory: int) -> Tensor:  # fmt: skip
        n_users = len(hidden)
        layer = weight.to(dtype), bias.to(dtype)
        grad_hidden, grad_layer = torch.zeros_like(hidden), (torch.empty_like(weight), torch.empty_like(bias))
        loss = hidden.new_zeros(())
        size = max(1, memory // (len(weight) * dtype.itemsize))
        for first in range(0, n_users, size):
            users, part_clicks = slice(first, first + size), clicks.between(first, first + size)
            part = Part(hidden[users], *layer, part_clicks, n_users, grad_hidden[users], *grad_layer, first > 0)
            loss += add_part(part)
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
        return (*gradients, None, None, None, None)


class Scores(NamedTuple):
    """The scores of some users in blocks of columns, which lie in memory one after the other.

    Attributes:
        blocks: each as a slice of the columns and a matrix [B, width].
        flat: all of them as one vector, [B * I].
        clicked: the positions of the clicks in that vector, int64 [N].
    """

    blocks: list[tuple[slice, Tensor]]
    flat: Tensor
    clicked: Tensor


def score(hidden: Tensor, weight: Tensor, bias: Tensor, clicks: Clicks) -> Scores:
    """Compute the scores of some users in the type of the weight.

    Args:
        hidden: [B, H].
        weight: [I, H].
        bias: [I].
        clicks: those of the B users.
    """
    hidden = hidden.to(weight.dtype)
    n_users, n_items = len(hidden), len(weight)
    # bf16 products are so fast that the fixed cost of a block is more than the cache saves.
    width = CPU_COLUMNS if hidden.device.type == "cpu" and hidden.dtype == torch.float32 else n_items
    flat = hidden.new_empty(n_users * n_items)
    blocks = []
    for start in range(0, n_items, width):
        span = slice(start, min(start + width, n_items))
        block = flat[n_users * span.start : n_users * span.stop].view(n_users, -1)
        blocks.append((span, torch.addmm(bias[span], hidden, weight[span].T, out=block)))
    column = clicks.columns
    start_of = column // width * width
    clicked = n_users * start_of + clicks.rows * (n_items - start_of).clamp(max=width) + column - start_of
    return Scores(blocks, flat, clicked)


def add_gradients(part: Part, scores: Scores, factor: Tensor) -> None:
    """Add a part's gradients to it.

    Args:
        part: the users.
        scores: in place of the scores, their gradients before each row is multiplied by its factor.
        factor: the factor of each user's row, [B, 1]: applied to [B, H], which is cheaper than to [B, I].
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


#: Returns, for the scores of clicked items, float32 [N], by how much a click changes their terms of the loss and the
#: derivatives of these terms, [N] each.
Click = Callable[[Tensor], tuple[Tensor, Tensor]]


def itemwise(part: Part, no_click: Callable[[Tensor], Tensor], click: Click) -> Tensor:
    """Return the loss of a part's users and add their gradients, for a loss that is a sum over items.

    Args:
        part: the users.
        no_click: sums the terms of the loss as if nobody had clicked, and replaces the scores by the derivatives.
        click: computes the changes by the clicks.
    """
    scores = score(part.hidden, part.weight, part.bias, part.clicks)
    terms, derivatives = click(scores.flat[scores.clicked].float())
    loss = terms.sum() + torch.stack([no_click(block) for _, block in scores.blocks]).sum()
    scores.flat.index_add_(0, scores.clicked, derivatives.to(scores.flat.dtype))
    add_gradients(part, scores, part.hidden.new_full((len(part.hidden), 1), 1 / part.n_users))
    return loss
