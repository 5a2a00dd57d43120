"""Adam for large tables of which a step needs few rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Adam, SparseAdam


class LazyAdam:
    """RecBole's ``learner: sparse_adam`` for models that have other parameters too: SparseAdam for these, Adam for those.

    SparseAdam deviates from Adam: a row that is not in a step's gradient is not moved by its momentum in that step, and its
    moments do not decay. That is what makes a step cost the rows that occurred, not the table.

    Args:
        sparse: the parameters whose gradients are sparse.
        dense: the other ones.
        lr: the learning rate of both.
    """

    def __init__(self, sparse: Iterable[nn.Parameter], dense: Iterable[nn.Parameter], lr: float) -> None:
        self.parts = {"dense": Adam(dense, lr=lr, fused=True), "sparse": SparseAdam(sparse, lr=lr)}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both."""
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
        """The states of both, by name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`state_dict` returned."""
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
