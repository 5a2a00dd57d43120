"""What an architecture is: the inference of one kind of model, in torch and as ONNX nodes.

A new kind of model is one new file in this folder. It is found because it lies here; what comes before and after the scores
(tokens, what was seen, the ranking, metadata, the proof against torch, the cost of fewer bits, the benchmark) is shared.

``B`` histories in the batch, ``L`` their padded length, ``C`` items of the catalogue with the padding item, id 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from typing import Any, ClassVar

import torch
from torch import Tensor

from multvae_export.checkpoint.contents import Checkpoint
from multvae_export.graph import filters
from multvae_export.graph.quantise import PRECISIONS
from multvae_export.ranking import multi_hot
from multvae_export.target import Options


class Architecture(ABC):
    """One kind of model, with its weights.

    Attributes:
        name: what ``architecture`` in a checkpoint's description of its model says; a class with a name is registered.
        models: the classes of models that it takes without a description, by name.
        described: models of the plugin that come with a description, by name.
        refused: models that look as if it took them, with the reason why it does not, as the end of a sentence.
        forms: the forms of input and output (``--io``) that it can be written in, the default first.
        precisions: what its weights can be stored in; ``why_not`` is the reason against the others, as the end of
            a sentence.
        no_reasons_because: why it has no reasons, as the end of a sentence; empty for one that has.
        user_tokens: of a model that answers for users by name: their tokens, the padding user's first.
        rows: what the rows are that the last layer scores the catalogue for.
    """

    known: ClassVar[dict[str, type[Architecture]]] = {}
    name: ClassVar[str]
    models: ClassVar[tuple[str, ...]] = ()
    described: ClassVar[tuple[str, ...]] = ()
    refused: ClassVar[dict[str, str]] = {}
    forms: ClassVar[tuple[str, ...]] = ("tokens", "ids", "dense")
    precisions: ClassVar[tuple[str, ...]] = PRECISIONS
    why_not: ClassVar[str] = ""
    rows: ClassVar[str] = "batch"
    no_reasons_because: ClassVar[str] = "its architecture names none"
    user_tokens: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" in vars(cls):
            Architecture.known[cls.name] = cls

    @classmethod
    @abstractmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Architecture:
        """Read the weights.

        Raises:
            SpecError: the description of the model is wrong.
            WeightsError: the weights do not fit the model.
            UnsupportedModelError: a setting of the model cannot be exported.
        """

    @property
    @abstractmethod
    def n_items(self) -> int:
        """C, the catalogue with the padding item."""

    @abstractmethod
    def logits(self, clicks: Tensor) -> Tensor:
        """The scores that the model ranks by, of multi-hot rows, float32 [B, C] -> [B, C]; the padding item's is -inf."""

    @abstractmethod
    def rounded(self, precision: str) -> Architecture:
        """The same model with the weights that a file of this precision stores."""

    @abstractmethod
    def nodes(self, io: str, precision: str, output: str) -> str:
        """The nodes of the graph from the input to the scores, one a line.

        They begin with ``x``, float32 [B, C], in the form ``dense``; with ``user_id``, int64 [B], 0 for an unknown user, in
        the form ``users``; and in the others with ``item``, int64 [B, L], the ids of the history with 0 for what is unknown,
        and ``counts``, bool [B, L], whether a position counts. All forms but ``dense`` have ``seen``, bool [B, C], the items
        that must not be recommended. They end with ``output``, float32 [B, C]; the padding item's score is -inf.
        """

    @abstractmethod
    def constants(self, io: str, precision: str) -> dict[str, Any]:
        """The arrays that the nodes name, besides those of :func:`.forms.constants`.

        A name that begins with ``table`` is of an array of which a request reads the rows of its items only.
        """

    @property
    def latent_units(self) -> int:
        """K, the units of the posterior; 0 for a model without one that is known."""
        return 0

    def sampled(self, clicks: Tensor, noise: Tensor) -> Tensor:
        """:meth:`logits` of a sample of the posterior, with standard normal noise, float32 [B, K]."""
        raise NotImplementedError

    def scored(self, io: str, precision: str, output: str, options: Options) -> str:
        """:meth:`nodes` with options: with filters, the scores of what is not wanted are -inf."""
        if not options.filters:
            return self.nodes(io, precision, output)
        return filters.masked(self.nodes(io, precision, "every_score"), "every_score", output)

    def reasoned(self, precision: str, ids: str, options: Options) -> str:
        """The nodes from those of :meth:`scored` to ``raised``, by how much each item raises each score, [B, k, L].

        Args:
            precision: of the weights.
            ids: the name of the returned items, int64 [B, k].
            options: those of the file.
        """
        raise NotImplementedError

    def option_constants(self, values: dict[str, Any], precision: str, options: Options) -> dict[str, Any]:
        """The arrays that options name besides, or in place of, ``values``, which are those of :meth:`constants`."""
        return {}

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """What the file says about its model, as plain values; ``sizes``, if it is there, are the units of its layers."""

    def __str__(self) -> str:
        return "-".join(map(str, self.spec()["sizes"]))

    def answer(self, request: Tensor) -> Tensor:
        """The scores of histories of item ids, with what was seen at -inf: int64 [B, L] -> float32 [B, C]."""
        clicks = multi_hot(request, self.n_items)
        return self.logits(clicks).masked_fill(clicks > 0, -torch.inf)

    def eager(self, device: str) -> Callable[[Tensor], Tensor]:
        """The same as :meth:`answer` in plain torch on a device: what the benchmark compares a file with."""
        there = copy(self)
        for name, value in vars(self).items():
            object.__setattr__(there, name, _moved(value, device))
        return there.answer


def _moved(value: Any, device: str) -> Any:
    if isinstance(value, tuple):
        return tuple(_moved(part, device) for part in value)
    return value.to(device) if isinstance(value, Tensor) else value
