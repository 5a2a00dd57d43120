"""What an architecture is: the inference of one kind of model, in torch and as ONNX nodes.

A new kind of model is one new file in this folder, and no other line changes. Everything before and after the scores is
shared: tokens, seen items, the ranking, metadata, the proof against torch, the cost of fewer bits, the benchmark.

A model derives from :class:`HistoryModel`, which reads a history, or from :class:`UserModel`, which answers for users by
name; and from :class:`Reasons` and :class:`Posterior` if it has these options.

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
from multvae_export.errors import UnsupportedModelError
from multvae_export.nodes.factors import Factors
from multvae_export.nodes.layers import RowsOfNew
from multvae_export.nodes.nodes import Nodes
from multvae_export.ranking import multi_hot
from multvae_export.target import Target

#: Why a model of pairs of items has no vectors.
OF_PAIRS = "it has a weight for every pair of items, so a vector would have a number for every item"


class Architecture(ABC):
    """One kind of model, with its weights.

    Attributes:
        name: the value of ``architecture`` in a checkpoint's description; a class with a name is registered.
        models: RecBole's own models that it takes, which have no description, by the name of their class.
        described: models of the plugin that it takes, by name; they have a description.
        refused: models that look as if it took them, with the reason why it does not, as the end of a sentence.
        forms: the forms of input and output (``--io``) that it can be written in, the default first.
        user_tokens: of a model that answers for users by name: their tokens, the padding user's first.
        rows: the name of the first dimension of the last layer's scores; None where there are several.
    """

    known: ClassVar[dict[str, type[Architecture]]] = {}
    name: ClassVar[str]
    models: ClassVar[tuple[str, ...]] = ()
    described: ClassVar[tuple[str, ...]] = ()
    refused: ClassVar[dict[str, str]] = {}
    forms: ClassVar[tuple[str, ...]] = ("tokens", "ids", "dense")
    rows: ClassVar[str | None] = "batch"
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

    # Classes set the next two as plain attributes; a sum asks its members.

    @property
    def no_reasons_because(self) -> str:
        """Why it has no reasons, as the end of a sentence; empty if it has."""
        return "its architecture has none"

    @property
    def no_vectors_because(self) -> str:
        """Why its scores are no products of a user's vector and an item's, as the end of a sentence; empty if they are."""
        return "its architecture has none"

    def factors(self) -> Factors:
        """The two factors of the scores. Only for an architecture without :attr:`no_vectors_because`."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """The name of the model for people; empty where it is that of its class."""
        return ""

    @property
    def latent_units(self) -> int:
        """K, the units of the posterior; 0 for a model without one that is known."""
        return 0

    @abstractmethod
    def answer(self, request: Tensor) -> Tensor:
        """The scores for histories of item ids, int64 [B, L], or for users by id, int64 [B]: float32 [B, C].

        What was seen is at -inf, and so is the padding item.
        """

    @abstractmethod
    def rounded(self, precision: str) -> Architecture:
        """The same model with the weights that a file of this precision stores."""

    def with_items(self, rows: RowsOfNew) -> Architecture:
        """The same model with further items after its own, whose scores stay as they are.

        Raises:
            UnsupportedModelError: this kind of model cannot have them.
        """
        raise _no_new_items(self)

    def shifted(self, shift: Tensor) -> Architecture:
        """The same model with a constant added to the score of each item, float32 [C - 1]. Raises as :meth:`with_items`."""
        raise _no_new_items(self)

    @abstractmethod
    def graph(self, target: Target, output: str) -> Nodes:
        """The nodes from the input to the scores.

        They begin with ``x``, float32 [B, C], in the form ``dense``; with ``user_id``, int64 [B], 0 for an unknown user, in
        the form ``users``; and in the others with ``item``, int64 [B, L], the ids of the history with 0 for what is unknown,
        and ``counts``, bool [B, L], whether a position counts. All forms but ``dense`` have ``seen``, bool [B, C], the items
        that must not be recommended. They end with ``output``, float32 [B, C]; the padding item's score is -inf. With
        filters, items that are not to be ranked have -inf too: see :func:`..nodes.filters.masked`.
        """

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """The model's part of the file's metadata, as plain values; ``sizes`` are the units of its layers."""

    def __str__(self) -> str:
        return "-".join(map(str, self.spec()["sizes"]))

    def eager(self, device: str) -> Callable[[Tensor], Tensor]:
        """The same as :meth:`answer` in plain torch on a device, which the benchmark compares a file with."""
        moved = copy(self)
        for name, value in vars(self).items():
            object.__setattr__(moved, name, _moved(value, device))
        return moved.answer


class HistoryModel(Architecture):
    """A model that scores the catalogue for a history."""

    @abstractmethod
    def logits(self, clicks: Tensor) -> Tensor:
        """The scores that the model ranks by, of multi-hot rows, float32 [B, C] -> [B, C]; the padding item's is -inf."""

    def terms(self, clicks: Tensor) -> list[Tensor]:
        """Of a model that adds up others, what it adds up to :meth:`logits`, [B, C] each; else nothing."""
        return []

    @abstractmethod
    def rounded(self, precision: str) -> HistoryModel: ...

    def with_items(self, rows: RowsOfNew) -> HistoryModel:
        raise _no_new_items(self)

    def shifted(self, shift: Tensor) -> HistoryModel:
        raise _no_new_items(self)

    def answer(self, request: Tensor) -> Tensor:
        clicks = multi_hot(request, self.n_items)
        return self.logits(clicks).masked_fill(clicks > 0, -torch.inf)


class UserModel(Architecture):
    """A model that answers for the users of its training data, by name."""

    forms: ClassVar[tuple[str, ...]] = ("users",)

    @abstractmethod
    def training_history(self) -> Nodes:
        """The nodes from ``user_id`` to ``ids``, int64 [B, L]: the users' items in training, which are masked; 0 pads."""


class Reasons(HistoryModel):
    """A model that can tell by how much each item of the history raises each score."""

    @property
    def no_reasons_because(self) -> str:
        return ""

    @abstractmethod
    def graph_with_reasons(self, target: Target, output: str, ids: str) -> tuple[Nodes, Nodes]:
        """The nodes of :meth:`graph`, and those that follow the ranking.

        The latter end with ``score_drop``, float32 [B, k, L]: by how much the scores of the returned items drop without each
        item of the history. ``ids`` names the returned items, int64 [B, k].
        """


class Posterior(HistoryModel):
    """A model with a posterior to sample from; an instance with ``latent_units`` of 0 has none."""

    @abstractmethod
    def sampled(self, clicks: Tensor, noise: Tensor | None) -> Tensor:
        """:meth:`logits` of a sample of the posterior, with standard normal noise, float32 [B, K]; of its mean without."""

    def logits(self, clicks: Tensor) -> Tensor:
        return self.sampled(clicks, None)


def _no_new_items(model: Architecture) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"--add-items does not fit the architecture {model.name}, which has no method with_items or shifted: leave it out."
    )


def _moved(value: Any, device: str) -> Any:
    if isinstance(value, tuple):
        return tuple(_moved(part, device) for part in value)
    return value.to(device) if isinstance(value, Tensor) else value
