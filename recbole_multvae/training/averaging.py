"""The average of the weights over the updates, which ranks better than the last weights do: Adam's steps are noisy.

Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, section 7.2 (temporal averaging).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

#: The average moves once for ``STRIDE`` updates, with the decay of them all, which is a tenth of the work. It moves after
#: each of the ``FIRST`` updates, so that a short run has an average too.
STRIDE, FIRST = 10, 10


class AveragedWeights:
    """An exponential moving average of a model's parameters.

    Args:
        model: its parameters are averaged.
        decay: what an update keeps of the average. Over the first updates it keeps less, (1 + t) / (10 + t) after t
            averagings, so that the initial weights are soon forgotten.
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
        kept = min(self.decay**STRIDE, (1 + averaged) / (10 + averaged))
        weights = [parameter.detach() for parameter in self.model.parameters()]
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - kept)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the average in place of its weights, which it gets back at the end."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.data, self.average[name] = self.average[name], parameter.data

    def adopt(self) -> None:
        """Make the average the model's weights, for good."""
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(self.average[name])

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds beside the average, which is its ``state_dict``: call it where the average is in place."""
        return {"updates": self.updates, "weights": dict(self.average)}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Continue where a checkpoint was written, whose ``state_dict`` the model holds.

        Args:
            state: what :meth:`state_dict` returned; None where the run had no average, so that one begins here.
        """
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                self.average[name].copy_(parameter)
                if state is not None:
                    parameter.copy_(state["weights"][name])
        self.updates = 0 if state is None else state["updates"]
