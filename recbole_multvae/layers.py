"""The layers of the family. Torch only.

``B`` users in the batch, ``I`` items, ``H`` hidden units, ``K`` latent dimensions, ``N`` clicks of the batch. The users'
click vectors are sparse: see :class:`.Clicks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_multvae.clicks import Clicks

#: Standard deviation of the initial biases, which are at most two deviations from 0 (dawenl/vae_cf,
#: VAE_ML20M_WWW2018.ipynb at ad103c5).
BIAS_STD = 0.001
#: The activations by their names in a configuration and in :func:`describe`.
ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "none": nn.Identity}


def initialise(weight: Tensor, bias: Tensor) -> None:
    """Xavier-uniform weights and truncated-normal biases, as the paper's code initialises every layer."""
    nn.init.xavier_uniform_(weight)
    nn.init.trunc_normal_(bias, std=BIAS_STD, a=-2 * BIAS_STD, b=2 * BIAS_STD)


def normalised(clicks: Clicks) -> Clicks:
    """x_u / ||x_u||_2 for binary x_u: the value of each of a user's N_u clicks is 1 / sqrt(N_u)."""
    return Clicks(clicks.columns, clicks.offsets, clicks.per_click(clicks.counts.rsqrt()))


def sparse_dropout(clicks: Clicks, probability: float | Tensor, generator: torch.Generator) -> Clicks:
    """Inverted dropout of the clicks, which is dropout of the whole vector: a zero stays zero.

    Args:
        clicks: N of them.
        probability: of dropping a click: one for all, or one for each item, float32 [I].
        generator: draws N numbers.

    Returns:
        The clicks that are kept, their values divided by 1 - ``probability``.
    """
    if isinstance(probability, Tensor):
        probability = probability[clicks.columns]
    values = clicks.nonzeros / (1 - probability)
    kept = torch.rand(values.shape, generator=generator, device=values.device) >= probability
    return Clicks(clicks.columns, clicks.offsets, values).where(kept)


def earlier_and_later(clicks: Clicks, order: Tensor, last: bool, generator: torch.Generator) -> tuple[Clicks, Clicks]:
    """Cut each user's clicks at a place in time: what is before it, and what follows.

    Args:
        clicks: N of them. A user with one click has it before the cut.
        order: the place of each click among its user's, from 0, [N].
        last: whether only a user's last click follows; else every place between two clicks is as likely as the others.
        generator: draws B numbers.

    Returns:
        The earlier clicks and the later ones.
    """
    most = clicks.counts - 1
    drawn = torch.rand(most.shape, generator=generator, device=most.device)
    places = most if last else 1 + (drawn * most).long().clamp(max=most - 1)
    earlier = order < clicks.per_click(places.clamp(min=1))
    return clicks.where(earlier), clicks.where(~earlier)


def popularity_dropout(counts: Tensor, mean: float) -> Tensor:
    r"""Probabilities of dropping a click that rise with the popularity of its item, for :func:`sparse_dropout`.

    Clicks of popular items are kept less often, as inverse propensities would give them less weight. The propensity of an
    item is taken to be the square root of its clicks n_i (Yang et al., "Unbiased Offline Recommender Evaluation for
    Missing-Not-At-Random Implicit Feedback", RecSys 2018, with gamma = 0):

    .. math:: 1 - p_i = \min(1, c / \sqrt{n_i}), \quad \frac{\sum_i n_i p_i}{\sum_i n_i} = \bar p.

    Args:
        counts: the clicks n_i of each item in the training data, [I].
        mean: the share of all clicks to be dropped, from 0 up to, but not including, 1.

    Returns:
        float32 [I].
    """
    clicks = counts.double()
    n = clicks.clamp(min=1)
    low, high = torch.zeros((), dtype=torch.float64), n.max().sqrt()
    for _ in range(60):  # The share kept rises with c.
        c = (low + high) / 2
        kept = (clicks * (c * n.rsqrt()).clamp(max=1)).sum() / clicks.sum()
        low, high = (c, high) if kept < 1 - mean else (low, c)
    return (1 - (high * n.rsqrt()).clamp(max=1)).float()


class SparseLinear(nn.Module):
    """A linear layer for sparse rows: it sums the weight rows of the non-zeros.

    ``weight`` is [I, H], the transpose of ``nn.Linear``'s, so that the rows of the clicked items are contiguous. With
    ``sparse`` its gradient holds only those rows.
    """

    def __init__(self, in_features: int, out_features: int, sparse: bool = False) -> None:
        super().__init__()
        self.sparse = sparse
        self.weight = nn.Parameter(torch.empty(in_features, out_features))
        self.bias = nn.Parameter(torch.empty(out_features))
        initialise(self.weight, self.bias)

    def forward(self, clicks: Clicks) -> Tensor:
        """Multiply the sparse rows by the weight. Returns [B, H]."""
        return self.bias + F.embedding_bag(
            clicks.columns,
            self.weight,
            clicks.offsets,
            mode="sum",
            per_sample_weights=clicks.values,
            include_last_offset=True,
            sparse=self.sparse,
        )

    def extra_repr(self) -> str:
        """The sizes, for the log of the model."""
        return "in_features={}, out_features={}".format(*self.weight.shape)


def mlp(dims: Sequence[int], activation: str = "tanh") -> nn.Sequential:
    """Linear layers of these sizes with an activation between them: not before the first, not after the last."""
    layers: list[nn.Module] = []
    for d_in, d_out in pairwise(dims):
        linear = nn.Linear(d_in, d_out)
        initialise(linear.weight, linear.bias)
        layers += [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


class SparseEncoder(nn.Module):
    """g(x_u): L2 normalisation of clicks, dropout, then an MLP whose first layer reads sparse rows.

    Args:
        dims: I, the hidden sizes, the output size.
        dropout: the probability of dropping a click in training: one for all, or one for each item, float32 [I].
        sparse: whether the gradient of the first layer's weight is sparse.
        activation: the one between the layers, a name of :data:`ACTIVATIONS`.
        normalise: whether click vectors are divided by their L2 norm.

    Source: paper, section 2.2; dawenl/vae_cf, VAE_ML20M_WWW2018.ipynb at ad103c5.
    """

    dropout: float | Tensor

    def __init__(
        self, dims: Sequence[int], dropout: float | Tensor, sparse: bool = False, activation: str = "tanh",
        normalise: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalise = normalise
        if isinstance(dropout, Tensor):
            self.register_buffer("dropout", dropout, persistent=False)  # It is computed from the data.
        else:
            self.dropout = dropout
        self.first = SparseLinear(dims[0], dims[1], sparse)
        between = ACTIVATIONS[activation]()
        self.rest = nn.Sequential(between, mlp(dims[1:], activation)) if len(dims) > 2 else nn.Identity()

    def forward(self, clicks: Clicks, generator: torch.Generator) -> Tensor:
        """Encode click vectors; ``generator`` draws the dropout mask in training. Returns [B, dims[-1]]."""
        if self.normalise:
            clicks = normalised(clicks)
        if self.training and (isinstance(self.dropout, Tensor) or self.dropout > 0):
            clicks = sparse_dropout(clicks, self.dropout, generator)
        return self.rest(self.first(clicks))


def describe(network: nn.Module, prefix: str) -> list[dict[str, Any]]:
    """Describe the layers of a network in order, for a program that has only the weights.

    Args:
        network: linear layers and activations, in the order in which they are computed.
        prefix: the network's name in the ``state_dict``.

    Returns:
        For each linear layer the names of its weight and bias, how the weight is stored (``in_out`` is [d_in, d_out],
        ``out_in`` its transpose), how many of its outputs are used, and the activation that follows it.

    Raises:
        TypeError: a module is neither a linear layer nor an activation of :data:`ACTIVATIONS`.
    """
    activations = {module: name for name, module in ACTIVATIONS.items()}
    layers: list[dict[str, Any]] = []
    for name, module in network.named_modules(prefix=prefix):
        if isinstance(module, SparseLinear | nn.Linear):
            stored = "in_out" if isinstance(module, SparseLinear) else "out_in"
            names = {"weight": f"{name}.weight", "bias": f"{name}.bias"}
            layers.append({**names, "stored": stored, "units": len(module.bias), "activation": "none"})
        elif type(module) in activations:
            layers[-1]["activation"] = activations[type(module)]
        elif next(module.children(), None) is None:
            raise TypeError(f"{name} is a {type(module).__name__}, which has no description yet")
    return layers
