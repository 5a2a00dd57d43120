"""``warm_start`` for a sum: each member goes on from its own part of the checkpoint, and the factors of the sum are kept.

A member that learns in updates goes on as it would alone (:mod:`..training.warm_start`). A closed form is computed from the
data set, with the settings of the checkpoint. The weights are not searched again, as they would change by chance.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from recbole.utils import ModelType

from recbole_multvae.config.run_settings import RunSettings
from recbole_multvae.errors import CheckpointError
from recbole_multvae.sums.model import Sum
from recbole_multvae.training import warm_start
from recbole_multvae.training.earlier import Earlier


def begin(config: Any, model_class: Any) -> None:
    """Prepare a configuration with ``warm_start``: see :func:`.training.warm_start.begin`.

    A sum has the weights and the scales of the checkpoint, unless the user sets these keys.

    Raises:
        CheckpointError: see :meth:`.Earlier.read`; or the members of the sum are others.
        ConfigurationError: the model cannot go on from a checkpoint, or a key asks for other weights than it has.
    """
    user_keys = config.external_config_dict
    file = RunSettings.from_config(user_keys).warm_start
    if file is None or model_class is not Sum:
        warm_start.begin(config, model_class)
        return
    earlier = Earlier.read(file, Sum.__name__)
    factors = {f"{key}s": {name: part[key] for name, part in earlier.members.items()} for key in ("weight", "scale")}
    warm_start.go_on_from(earlier, factors, config)
    if names := user_keys.get("members"):
        check_members(config, names)


def check_members(config: Any, names: Iterable[str]) -> None:
    """Refuse a sum of other members than those of the checkpoint that ``warm_start`` names.

    Args:
        config: of the sum, after :func:`begin`.
        names: of its members.

    Raises:
        CheckpointError: they are others.
    """
    file, before = config.external_config_dict.get("warm_start"), config.internal_config_dict.get("scales") or ()
    if file is not None and set(before) != set(names):
        raise CheckpointError(
            f"warm_start={file!r} is a checkpoint of the sum {'+'.join(before)}, and the run trains {'+'.join(names)}: name "
            "the same members."
        )


def keeps_weights(config: Any) -> bool:
    """Whether the weights of a sum are those of the checkpoint that ``warm_start`` names."""
    return bool(config["warm_start"]) and "weights" not in config.external_config_dict


def what_was_done(model: Sum) -> str:
    """What became of the members of the checkpoint, in a line for each."""
    clicks, pairs = len(model.training_clicks.columns), zip(model.names, model.members, model.member_configs, strict=True)
    return "\n".join(f"    {name}: {_done(member, keys, clicks)}" for name, member, keys in pairs)


def _done(member: Any, keys: dict[str, Any], clicks: int) -> str:
    if not keys.get("warm_start"):
        return "trained without it"
    if member.type == ModelType.TRADITIONAL:
        return f"computed from the {clicks:,} clicks of the training data; before, from {keys['warm_start_clicks']:,}"
    return "gone on from its weights there"
