"""Sums of models: the score of an item is the sum over the members m of f_m score_m, with fixed factors f_m.

The checkpoint of a sum holds each member as it would be saved alone: its weights under ``members.0.``, ``members.1.``, ...;
its configuration and what it saves beside its weights in ``members`` of ``other_parameter``. ``spec`` there lists the
members' names, factors, and weights: what validation chose, for people. A member with the factor 0 is not in the file.

In the graph every member reads the same history. The names of its own tensors and constants get an ending.

``B`` histories, ``L`` their padded length, ``C`` items of the catalogue with the padding item, ``K`` units of a posterior.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from multvae_export.architectures import kind_of
from multvae_export.architectures.base import Architecture, HistoryModel, Posterior, Reasons
from multvae_export.checkpoint.contents import Checkpoint
from multvae_export.errors import ExportError, SpecError, UnsupportedModelError
from multvae_export.nodes.factors import Factors
from multvae_export.nodes.layers import RowsOfNew
from multvae_export.nodes.nodes import LITERALS, Nodes
from multvae_export.target import Target

#: A factor is a number of float32: not above the largest; 0 if it is below the smallest.
SMALLEST, LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Member:
    """A member of a sum.

    Attributes:
        name: as the checkpoint has it, such as ``MultVAE:gaussian``.
        weight: its share of the sum as validation chose it, for people.
        factor: what its scores are multiplied by, above 0.
        model: its inference.
    """

    name: str
    weight: float
    factor: float
    model: HistoryModel


@dataclass(frozen=True)
class Sum(Reasons, Posterior):
    """A sum of models that read a history."""

    name: ClassVar[str] = "sum"
    described: ClassVar[tuple[str, ...]] = ("Sum",)
    refused: ClassVar[dict[str, str]] = {"ADMMSLIM": "the checkpoint of a sum lacks its similarity"}
    rows: ClassVar[str | None] = None

    members: tuple[Member, ...]

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Sum:
        return cls(_read(checkpoint))

    @property
    def n_items(self) -> int:
        """C, the catalogue with the padding item."""
        return self.members[0].model.n_items

    @property
    def title(self) -> str:
        return "+".join(member.name for member in self.members)

    @property
    def no_reasons_because(self) -> str:
        """The reason of the first member that has no reasons."""
        reasons = ((member.name, member.model.no_reasons_because) for member in self.members)
        return next((f"its member {name} has none: {why}" for name, why in reasons if why), "")

    @property
    def no_vectors_because(self) -> str:
        """The reason of the first member that has no vectors."""
        reasons = ((member.name, member.model.no_vectors_because) for member in self.members)
        return next((f"its member {name} has none: {why}" for name, why in reasons if why), "")

    @property
    def latent_units(self) -> int:
        """K of all members, whose noise stands side by side."""
        return sum(member.model.latent_units for member in self.members)

    @property
    def noise_places(self) -> list[slice]:
        """The columns of each member's noise; none for a member without a posterior."""
        units = [member.model.latent_units for member in self.members]
        return [slice(end - count, end) for end, count in zip(accumulate(units), units, strict=True)]

    def terms(self, clicks: Tensor) -> list[Tensor]:
        return self._terms(clicks, None)

    def sampled(self, clicks: Tensor, noise: Tensor | None) -> Tensor:
        return reduce(torch.add, self._terms(clicks, noise))

    def _terms(self, clicks: Tensor, noise: Tensor | None) -> list[Tensor]:
        def scores(model: HistoryModel, place: slice) -> Tensor:
            if noise is None or not isinstance(model, Posterior):
                return model.logits(clicks)
            return model.sampled(clicks, noise[:, place])

        pairs = zip(self.members, self.noise_places, strict=True)
        return [scores(member.model, place) * member.factor for member, place in pairs]

    def rounded(self, precision: str) -> Sum:
        return Sum(tuple(replace(member, model=member.model.rounded(precision)) for member in self.members))

    def with_items(self, rows: RowsOfNew) -> Sum:
        return Sum(tuple(replace(member, model=member.model.with_items(rows)) for member in self.members))

    def shifted(self, shift: Tensor) -> Sum:
        first, *others = self.members
        return Sum((replace(first, model=first.model.shifted(shift / first.factor)), *others))

    def graph(self, target: Target, output: str) -> Nodes:
        scores = [self._part(n, target)[0] for n in range(len(self.members))]
        return self._added(scores, "scores", output)

    def graph_with_reasons(self, target: Target, output: str, ids: str) -> tuple[Nodes, Nodes]:
        scores, drops = zip(*(self._part(n, target, ids) for n in range(len(self.members))), strict=True)
        return self._added(scores, "scores", output), self._added(drops, "score_drop", "score_drop")

    def _part(self, n: int, target: Target, ids: str | None = None) -> tuple[Nodes, Nodes]:
        """The nodes of a member to ``scores``, and with ``ids`` those to ``score_drop``. Its own names end with ``_of<n>``.

        Those that it shares with the others are the inputs of :meth:`graph` and the literals.
        """
        model, noise = self.members[n].model, Nodes()
        if not model.latent_units:
            target = replace(target, options=replace(target.options, posterior=False))
        if ids is None:
            scores, drops = model.graph(target, "scores"), Nodes()
        else:
            assert isinstance(model, Reasons)  # Otherwise --reasons was refused.
            scores, drops = model.graph_with_reasons(target, "scores", ids)
        names = _own_names(n, scores, drops)
        if target.options.posterior:
            names["noise"], place = f"noise_of{n}", self.noise_places[n]
            columns = {f"noise_begin_of{n}": np.array([place.start]), f"noise_end_of{n}": np.array([place.stop])}
            noise = Nodes(f"    noise_of{n} = Slice(noise, {', '.join(columns)}, axis1)\n", columns)
        return noise + scores.renamed("", names), drops.renamed("", names)

    def factors(self) -> Factors:
        """The members' vectors side by side; their factors are in the items'. The biases are added up."""
        nodes, users, items, biases = Nodes(), [], [], []
        for n, member in enumerate(self.members):
            part = member.model.factors()
            nodes += part.nodes.renamed("", _own_names(n, part.nodes))
            users.append(f"{part.user}_of{n}")
            items.append(part.items * member.factor)
            biases.append(torch.zeros(()) if part.bias is None else part.bias * member.factor)
        nodes += f"    user_vectors = Concat <axis: int = 1> ({', '.join(users)})\n"
        return Factors(nodes, "user_vectors", torch.cat(items, dim=1), reduce(torch.add, biases))

    def _added(self, parts: Sequence[Nodes], kind: str, output: str) -> Nodes:
        """The nodes of all members, then those from ``<kind>_of<n>`` to their sum."""
        nodes, before = reduce(Nodes.__add__, parts), ""
        for n, member in enumerate(self.members):
            result = output if n == len(self.members) - 1 else f"{kind}_up_to{n}"
            term = f"{kind}_times_factor{n}" if n else result
            factor = {f"factor{n}": np.float32(member.factor)}
            nodes += Nodes(f"    {term} = Mul({kind}_of{n}, factor{n})\n", factor)
            nodes += f"    {result} = Add({before}, {term})\n" if n else ""
            before = result
        return nodes

    def spec(self) -> dict[str, Any]:
        """The members with their specs. Between the items, ``sizes`` has the units that all last layers read together."""
        specs = [member.model.spec() for member in self.members]
        items, units = self.n_items - 1, sum(sizes[-2] for spec in specs if len(sizes := spec["sizes"]) > 2)
        members = [
            {"name": member.name, "weight": member.weight, "factor": member.factor, "spec": spec}
            for member, spec in zip(self.members, specs, strict=True)
        ]
        return {"sizes": [items, *([units] if units else []), items], "members": members}

    def __str__(self) -> str:
        return " + ".join(f"{member.factor:g} x {member.name} {member.model}" for member in self.members)

    def eager(self, device: str) -> Callable[[Tensor], Tensor]:
        calls = [(member.factor, member.model.eager(device)) for member in self.members]
        return lambda request: reduce(torch.add, (call(request) * factor for factor, call in calls))


def _own_names(n: int, *parts: Nodes) -> dict[str, str]:
    """What a member's tensors and constants are called in the sum, by the names that they have in its nodes."""
    own = {name for nodes in parts for name in nodes.produced | nodes.constants.keys() - LITERALS.keys()}
    return {name: f"{name}_of{n}" for name in own}


# Reading a checkpoint, any part of which may be wrong or missing.


def _read(checkpoint: Checkpoint) -> tuple[Member, ...]:
    """The members whose factor is not 0."""
    listed, saved = (_entries(part) for part in (checkpoint.description, checkpoint.other_parameter))
    if not listed or len(listed) != len(saved):
        raise SpecError(f"the checkpoint of {checkpoint.model} has no list of members with a part for each: save it again.")
    factors = [_number(entry, "factor", n) for n, entry in enumerate(listed, 1)]
    if max(factors) < SMALLEST:
        raise SpecError(f"all members of {checkpoint.model} have the factor 0: expected one above 0.")
    members = []
    for n, (entry, factor) in enumerate(zip(listed, factors, strict=True)):
        if factor >= SMALLEST:
            weight, name = _number(entry, "weight", n + 1), entry.get("name")
            if not isinstance(name, str) or not name.isprintable():
                raise SpecError(f"member {n + 1} of the sum has {_shown(name)} for a name, expected text.")
            members.append(Member(name, weight, factor, _model(checkpoint, n, name, saved[n])))
    return tuple(members)


def _entries(part: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The entries ``members`` of a part of a checkpoint; none where they are no list of dictionaries."""
    members = (part or {}).get("members")
    return members if isinstance(members, list) and all(isinstance(entry, dict) for entry in members) else []


def _number(entry: dict[str, Any], key: str, n: int) -> float:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LARGEST:
        raise SpecError(f"member {n} of the sum has the {key} {_shown(value)}, expected a finite number, 0 or above.")
    return float(value)


def _shown(value: Any) -> str:
    """A value of any type in short: a number may have thousands of digits, and a list any depth."""
    short = value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)
    return repr(value) if short else f"of type {type(value).__name__}"


def _model(checkpoint: Checkpoint, n: int, name: str, saved: dict[str, Any]) -> HistoryModel:
    """The inference of a member, from its own checkpoint."""
    try:
        return _built(_checkpoint_of(checkpoint, n, saved), (checkpoint.description or {}).get("n_items"))
    except ExportError as error:
        raise type(error)(f"member {n + 1} of the sum, {name}: {error}") from error


def _checkpoint_of(checkpoint: Checkpoint, n: int, saved: dict[str, Any]) -> Checkpoint:
    """The checkpoint that a member would have alone, without the tokens."""
    config, other_parameter, prefix = saved.get("config"), saved.get("other_parameter"), f"members.{n}."
    model = config.get("model") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(model, str):
        raise SpecError("its configuration names no model.")
    if other_parameter is not None and not isinstance(other_parameter, dict):
        raise SpecError(f"its other_parameter is {_shown(other_parameter)}, expected a dictionary or None.")
    weights = {key.removeprefix(prefix): value for key, value in checkpoint.weights.items() if key.startswith(prefix)}
    return Checkpoint(model, config, weights, other_parameter or {}, {})


def _built(checkpoint: Checkpoint, n_items: Any) -> HistoryModel:
    kind = kind_of(checkpoint)
    if reason := _reason_against(kind, checkpoint.model):
        raise UnsupportedModelError(f"{checkpoint.model} cannot be exported in a sum, because {reason}.")
    model = kind.from_checkpoint(checkpoint)
    assert isinstance(model, HistoryModel)
    if model.n_items != n_items:
        raise SpecError(f"it has {model.n_items} items with padding, and the sum {_shown(n_items)}.")
    return model


def _reason_against(kind: type[Architecture], model: str) -> str | None:
    """Why a model cannot be a member of a sum, as the end of a sentence; None if it can."""
    if issubclass(kind, Sum):
        return "it is a sum itself"
    if not issubclass(kind, HistoryModel):
        return "it answers for users by name, and a sum for a history"
    return Sum.refused.get(model)
