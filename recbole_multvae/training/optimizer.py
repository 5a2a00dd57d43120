"""Adam for large tables of which a step reads few rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Adam, SparseAdam


class LazyAdam:
    """RecBole's ``learner: sparse_adam``: SparseAdam for parameters with sparse gradients, Adam for the others.

    SparseAdam differs from Adam: a step does not move a row that is not in the gradient, and the moments of such a row do
    not decay. The cost of a step thus depends on the rows of the batch, not on the size of the table.

    Args:
        sparse: the parameters whose gradients are sparse.
        dense: the other ones.
        lr: the learning rate of both.
    """

    def __init__(self, sparse: Iterable[nn.Parameter], dense: Iterable[nn.Parameter], lr: float) -> None:
        self.parts = {"dense": Adam(dense, lr=lr, fused=True), "sparse": SparseAdam(sparse, lr=lr)}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of both optimisers."""
        return [group for part in self.parts.values() for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients."""
        for part in self.parts.values():
            part.zero_grad(set_to_none)

    def step(self) -> None:
        """Update the dense parameters, and the rows of the sparse ones that have a gradient."""
        for part in self.parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """The states of both optimisers, by name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of :meth:`state_dict`."""
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
