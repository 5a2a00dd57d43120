r"""A sum of trained models.

.. math:: s_u = \sum_m \frac{w_m}{\sigma_m} \, s^{(m)}_u

:math:`s^{(m)}_u` are the scores of member m for the clicks of user u. :math:`\sigma_m`, one number for all users, is their
standard deviation over the items, on average over users of the training data, so that weights of different members can be
compared. Each member is trained by itself: a network that is trained together with a linear model ranks worse than their sum
(benchmarks/JOURNAL.md). The weights are chosen on validation (:mod:`.trainer`).

``B`` users in the batch, ``I`` items without the padding item, ``M`` members.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from recbole.utils import ModelType
from torch import Tensor, nn
from typing_extensions import override

from recbole_multvae.clicks import Clicks
from recbole_multvae.config.refit import refitted_file
from recbole_multvae.config.settings import RecommenderSettings, setting
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.models import ClickRecommender
from recbole_multvae.models.linear import LinearRecommender
from recbole_multvae.sums.member import load_member, score_into, scores_of

#: Users of the training data by whose scores the standard deviations are computed, and how many are scored at once.
SCALE_USERS, _BATCH = 1000, 100

Weight = Annotated[float, Field(ge=0)]
Scale = Annotated[float, Field(gt=0)]


class SumSettings(RecommenderSettings):
    """The settings of :class:`Sum`."""

    members: dict[str, str | dict[str, Any]] = setting(
        {},
        "a dictionary of the names of two models or more with their checkpoints",
        "the models that are added; --model=MultVAE+EDLAE trains them and sets this key",
    )
    weights: list[Weight] | dict[str, Weight] | None = setting(
        None,
        "a list with a number, 0 or more, for each member, a dictionary of them by name, or None",
        "the weights of the members, whose scores are divided by their standard deviation; None: chosen on validation",
    )
    scales: dict[str, Scale] | None = setting(
        None,
        "a dictionary of a number above 0 for each member by name, or None",
        "the standard deviations of the members' scores; None: computed from the training data",
    )


class Sum(ClickRecommender):
    """The weighted sum of the scores of models that are trained already.

    Attributes:
        names: of the members, M of them.
        members: the models, RecBole's or of the family.
        member_configs: the keys and values of their configurations.
        weights: of the members, 0 or more.
        scales: the standard deviations of the members' scores.
    """

    type = ModelType.TRADITIONAL
    no_warm_start = None  # See :mod:`.warm_start`.
    no_cold_items = None  # Its members have them.
    settings_class = SumSettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        sources = self.settings.members
        if len(sources) < 2:
            raise ConfigurationError(
                f"members={sources!r} are too few for a sum: train it with --model=MultVAE+EDLAE, or name the checkpoints "
                "of two models or more, as in members={'MultVAE': 'saved/MultVAE.pth', 'EDLAE': 'saved/EDLAE.pth'}."
            )
        self.names = tuple(sources)
        self.weights = named_weights(self.settings.weights, self.names) or [1.0] * len(sources)
        self.scales = named_scales(self.settings.scales, self.names) or [1.0] * len(sources)
        members = [load_member(name, source, config, dataset) for name, source in sources.items()]
        self.members = nn.ModuleList(member.model for member in members)
        self.requires_grad_(False)
        self._scores = torch.empty(0)  # Of a member, [B, I]: new memory for each batch took a quarter of the time.
        self.member_configs = [member.config for member in members]
        # A checkpoint of the sum is complete without those of its members.
        config["members"] = dict(zip(self.names, self.member_configs, strict=True))

    @property
    @override
    def title(self) -> str:
        return "+".join(self.names)

    @property
    def member_weights(self) -> dict[str, float]:
        """The weights by the names of the members."""
        return dict(zip(self.names, self.weights, strict=True))

    @property
    def factors(self) -> list[float]:
        """By what the scores of each member are multiplied."""
        return [weight / scale for weight, scale in zip(self.weights, self.scales, strict=True)]

    @torch.no_grad()
    def set_scales(self) -> None:
        """Compute :attr:`scales` from users of the training data, evenly spaced by id."""
        self.eval()  # Otherwise clicks would be dropped at random.
        users = (self.training_clicks.clicks.counts > 0).nonzero().flatten()
        chosen = users[torch.linspace(0, len(users) - 1, min(SCALE_USERS, len(users))).long()]
        sums = torch.zeros(len(self.members), dtype=torch.float64)
        for part in chosen.split(_BATCH):
            clicks = self.training_clicks(part)
            sums += torch.stack([scores_of(member, clicks).double().std(dim=1).sum().cpu() for member in self.members])
        self.scales = [float(mean) if mean > 0 else 1.0 for mean in sums / max(1, len(chosen))]

    @override
    def refit_keys(self) -> dict[str, Any]:
        # The members have been refitted, each beside its checkpoint.
        files = {name: refitted_file(str(source)) for name, source in self.settings.members.items()}
        return {"members": files, "weights": self.weights}

    def forward(self, clicks: Clicks) -> Tensor:
        """The scores of the sum, [B, I]."""
        scores = torch.empty(len(clicks), self.n_items - 1, device=self.device)
        self.score_into(clicks, scores)
        return scores

    @override
    @torch.no_grad()
    def score_into(self, clicks: Clicks, scores: Tensor) -> None:
        (first, factor), *others = [pair for pair in zip(self.members, self.factors, strict=True) if pair[1]]
        score_into(first, clicks, scores)
        scores.mul_(factor)
        if others and self._scores.shape != scores.shape:
            self._scores = torch.empty(scores.shape, device=scores.device)
        for member, factor in others:
            score_into(member, clicks, self._scores)
            scores.add_(self._scores, alpha=factor)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Zero: the members are trained, and :class:`.trainer.SumTrainer` chooses the weights."""
        return torch.zeros((), device=self.device)

    def predict(self, interaction: Any) -> Tensor:
        """Score pairs of a user and an item. Returns [number of pairs]; the padding item scores lowest."""
        users, pair_user = interaction[self.USER_ID].unique(return_inverse=True)
        return self._with_padding(self(self.training_clicks(users)))[pair_user, interaction[self.ITEM_ID]]

    def spec(self) -> dict[str, Any]:
        """The description of the sum. A member's weights are those of the checkpoint that begin with ``members.N.``."""
        members = [
            {"name": name, "weight": weight, "factor": factor}
            for name, weight, factor in zip(self.names, self.weights, self.factors, strict=True)
        ]
        return {"model": self.title, "architecture": "sum", "n_items": self.n_items, "members": members}

    @override
    def other_parameter(self) -> dict[str, Any]:
        data = ("item_tokens", "user_tokens", "clicks")
        members = []
        for member, config in zip(self.members, self.member_configs, strict=True):
            saved: dict[str, Any] = member.other_parameter() or {}  # type: ignore[operator]
            members.append({"config": config, "other_parameter": {k: v for k, v in saved.items() if k not in data}})
        linear = [member for member in self.members if isinstance(member, LinearRecommender)]
        # Where all members can be computed again with further clicks, the clicks are there once.
        clicks = {"clicks": linear[0].saved_clicks()} if len(linear) == len(members) else {}
        return {**super().other_parameter(), "members": members, "scales": self.scales, **clicks}

    @override
    def load_other_parameter(self, para: dict[str, Any] | None) -> None:
        super().load_other_parameter(para)
        if para is None:
            return
        self._take_factors(para)
        for member, saved in zip(self.members, para["members"], strict=True):
            tokens = {"item_tokens": para["item_tokens"], "user_tokens": para["user_tokens"]}
            added = tokens if isinstance(member, ClickRecommender) else {}
            member.load_other_parameter({**saved["other_parameter"], **added})  # type: ignore[operator]

    def _take_factors(self, para: Mapping[str, Any]) -> None:
        self.weights = [member["weight"] for member in para["spec"]["members"]]
        self.scales = para["scales"]

    def recompute(self, saved: Mapping[str, Any]) -> None:
        """Compute all members, which are linear: see :meth:`.LinearRecommender.recompute`. The factors are kept."""
        self._take_factors(saved)
        for member in self.members:
            assert isinstance(member, LinearRecommender)
            member.recompute(saved)


def named_scales(scales: dict[str, float] | None, names: tuple[str, ...]) -> list[float] | None:
    """The standard deviations of the members' scores in their order; None where they are to be computed.

    Args:
        scales: the configuration key.
        names: of the members.

    Raises:
        ConfigurationError: a member has none, or one has no member.
    """
    if scales is None:
        return None
    if set(scales) != set(names):
        raise ConfigurationError(
            f"scales={scales!r} does not fit the members {', '.join(names)}: expected one number above 0 for each."
        )
    return [scales[name] for name in names]


def named_weights(weights: list[float] | dict[str, float] | None, names: tuple[str, ...]) -> list[float] | None:
    """The weights of the members in their order; None where they are to be chosen.

    Args:
        weights: the configuration key.
        names: of the members.

    Raises:
        ConfigurationError: a member has no weight, a weight has no member, or all weights are 0.
    """
    if weights is None:
        return None
    fits = set(weights) == set(names) if isinstance(weights, dict) else len(weights) == len(names)
    values = weights.values() if isinstance(weights, dict) else weights
    if not fits or not any(values):
        raise ConfigurationError(
            f"weights={weights!r} does not fit the members {', '.join(names)}: expected one number for each, 0 or more, and "
            "one of them above 0."
        )
    return [weights[name] for name in names] if isinstance(weights, dict) else weights
