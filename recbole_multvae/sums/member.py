"""A member of a sum: a trained model that scores anyone whose clicks are known."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from recbole.utils import get_model
from torch import Tensor, nn

from recbole_multvae import checkpoint
from recbole_multvae.clicks import Clicks
from recbole_multvae.data.loaders import UsersWithHistories
from recbole_multvae.data.trained_on import TrainedOn
from recbole_multvae.errors import CheckpointError, ConfigurationError
from recbole_multvae.evaluation.recbole_models import histories_of, no_histories_because
from recbole_multvae.models import ClickRecommender


class Member(NamedTuple):
    """A model, and the keys and values of its configuration."""

    model: nn.Module
    config: dict[str, Any]


def load_member(name: str, source: str | dict[str, Any], config: Any, dataset: Any) -> Member:
    """Make a member.

    Args:
        name: its name in the sum.
        source: its checkpoint; or the keys of its configuration, for a member whose weights the caller will load.
        config: that of the sum.
        dataset: RecBole's, for training.

    Raises:
        CheckpointError: the file is not a checkpoint of RecBole's ``Trainer``, or is damaged.
        ConfigurationError: its model cannot score people from clicks alone.
        DataError: it was trained on other users, items or clicks.
    """
    saved = _read(name, source) if isinstance(source, str) else None
    keys: Any = saved["config"].final_config_dict if saved else source
    member_config = copy.copy(config)
    member_config.final_config_dict = {**keys, "device": config["device"]}
    member_config.model_class = get_model(keys["model"])
    check_member(name, member_config)
    model = member_config.model_class(member_config, dataset)
    if saved:
        _restore(model, saved, dataset)
    return Member(model.to(config["device"]), keys)


def check_member(name: str, config: Any) -> None:
    """Refuse a model that cannot be a member.

    Args:
        name: its name in the sum.
        config: RecBole's configuration of the model.

    Raises:
        ConfigurationError: it is a sum itself, or it cannot score people from clicks alone.
    """
    model_class = config.model_class
    if issubclass(model_class, ClickRecommender):
        reason = model_class.no_histories_because(model_class.read_settings(config.final_config_dict))
    else:
        reason = no_histories_because(model_class, config["knn_method"])
    if config["model"] == "Sum":
        reason = "it is a sum itself"
    if reason:
        raise ConfigurationError(
            f"{name} cannot be a member of a sum, which scores anyone from clicks alone, as {reason}: leave it out."
        )


def scores_of(member: nn.Module, clicks: Clicks) -> Tensor:
    """The scores of a member for the clicks of B users, [B, I]."""
    if isinstance(member, ClickRecommender):
        scores: Tensor = member(clicks)
        return scores
    model: Any = member
    with histories_of(UsersWithHistories({model.USER_ID: torch.arange(len(clicks))}, clicks), model) as users:
        scores = model.full_sort_predict(users.to(model.device)).view(len(clicks), -1)
    return scores[:, 1:].to(model.device)


def score_into(member: nn.Module, clicks: Clicks, scores: Tensor) -> None:
    """Write the scores of :func:`scores_of` into ``scores``, [B, I], whose memory the caller reuses."""
    if isinstance(member, ClickRecommender):
        member.score_into(clicks, scores)
    else:
        scores.copy_(scores_of(member, clicks))


def _read(name: str, file: str) -> dict[str, Any]:
    saved = checkpoint.load(file, map_location="cpu")
    if not isinstance(saved, dict) or not {"config", "state_dict"} <= saved.keys():
        raise CheckpointError(f"{file}, the member {name} of the sum, is not a checkpoint of RecBole's Trainer.")
    return saved


def _restore(model: Any, saved: dict[str, Any], dataset: Any) -> None:
    """Load a checkpoint into its model, which must have been trained on the data set."""
    trained_on = saved.get("recbole_multvae")
    if isinstance(trained_on, dict):  # A model of the family compares the data itself.
        TrainedOn.of(dataset).check(dataset.dataset_name, trained_on)
    model.load_other_parameter(saved.get("other_parameter"))
    model.load_state_dict(saved["state_dict"])
