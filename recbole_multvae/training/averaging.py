"""The average of the weights over the updates. It ranks better than the last weights, because Adam's steps are noisy.

Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, section 7.2 (temporal averaging).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

#: The average moves once for ``STRIDE`` updates, with the decay of all of them, which is a tenth of the work. It also moves
#: after each of the ``FIRST`` updates, so that a short run has an average too.
STRIDE, FIRST = 10, 10


class AveragedWeights:
    """An exponential moving average of a model's parameters.

    Args:
        model: its parameters are averaged.
        decay: the weight of the old average at an update. At the t-th averaging it is at most (1 + t) / (10 + t), so that
            the initial weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.decay = decay
        self.updates = 0
        self.average = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    def update(self, *_: Any) -> None:
        """Count an update, and move the average towards the weights. A hook after an optimiser's step."""
        self.updates += 1
        later = max(0, self.updates - FIRST)
        if later % STRIDE:
            return
        averaged = self.updates - later + later // STRIDE
        decay = min(self.decay**STRIDE, (1 + averaged) / (10 + averaged))
        weights = [parameter.detach() for parameter in self.model.parameters()]
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The average in place of the model's weights, until the context ends."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.data, self.average[name] = self.average[name], parameter.data

    def adopt(self) -> None:
        """Copy the average into the model's weights."""
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(self.average[name])

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint, without the average. Call it in :meth:`in_place`: "weights" are then the last ones."""
        return {"updates": self.updates, "weights": dict(self.average)}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Continue from a checkpoint, after the model has loaded its ``state_dict``, which is the average.

        Args:
            state: the result of :meth:`state_dict`; None: the run had no average, so that one begins here.
        """
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                self.average[name].copy_(parameter)
                if state is not None:
                    parameter.copy_(state["weights"][name])
        self.updates = 0 if state is None else state["updates"]
