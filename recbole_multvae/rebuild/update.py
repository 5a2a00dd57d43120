"""A linear model that takes the clicks of one more day, without the data set of the days before.

A checkpoint of EDLAE, of SparseEDLAE or of a sum of them holds the clicks that the model was computed from. The day's are
added, and the model is computed again from all of them, so that it is exactly the model of a training on all of them. The
clicks are kept, and not their Gram matrix: they are far smaller, a repeated click is recognised, and a late click changes
the weight of all clicks of its user. To compute the Gram matrix takes little of the time of a training
(benchmarks/README.md, "One more day").
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from recbole.utils import ModelType, get_model

from recbole_multvae import checkpoint
from recbole_multvae.data import cold_items
from recbole_multvae.data.atomic_files import read_dataset
from recbole_multvae.errors import CheckpointError, ConfigurationError, DataError
from recbole_multvae.experiment.recbole_errors import explain_recbole_errors
from recbole_multvae.files import atomic_write
from recbole_multvae.models import FAMILY
from recbole_multvae.models.linear import LinearRecommender
from recbole_multvae.rebuild.data import disable_pickle_caches
from recbole_multvae.rebuild.model import read_family
from recbole_multvae.rebuild.named_clicks import NamedClicks

#: The models that are computed from clicks alone.
LINEAR = frozenset(model.__name__ for model in FAMILY if issubclass(model, LinearRecommender))
#: The filters by the number of a user's or an item's clicks, which a day alone cannot tell.
COUNTS = ("user_inter_num_interval", "item_inter_num_interval")
#: Other keys that the day is read without. It is one file, and RecBole would warn if all of its rows had the same time.
NOT_OF_A_DAY = ("benchmark_filename", "normalize_field", "normalize_all")


@dataclass(frozen=True)
class Update:
    """What a day added to a model.

    Attributes:
        before: the clicks that the model was computed from.
        day: the clicks of the day.
        after: all clicks.
        unfiltered: the keys of :data:`COUNTS` that the training had, and which are not applied to the day.
    """

    before: NamedClicks
    day: NamedClicks
    after: NamedClicks
    unfiltered: dict[str, Any]


def update(path: str, day: Path, target: Path) -> Update:
    """Add the clicks of a day to a linear model, and save it as a checkpoint of RecBole's ``Trainer``.

    The columns and the filters of values, such as ``val_interval``, are those of the training.

    Args:
        path: a checkpoint of EDLAE, of SparseEDLAE or of a sum of them, whose weights are kept; it is not executed.
        day: an ``.inter`` file of RecBole's.
        target: the new checkpoint, which may be the old one. It is complete, or not there at all.

    Raises:
        CheckpointError: the file is another checkpoint, or is damaged.
        ConfigurationError: a file cannot be there, or the configuration of the training does not fit the day.
        DataError: the day's file is missing or damaged.
        TrainingError: there is not enough memory, or ``reg_weight`` is too small.
    """
    _check_paths(day, target)
    saved = _read_linear(path)
    before = NamedClicks.of_checkpoint(path, saved["other_parameter"])
    del saved["state_dict"]  # The weights may be large.
    config, unfiltered = _of_day(saved["config"], day)
    with disable_pickle_caches(config), explain_recbole_errors():
        dataset = read_dataset(config)
        clicks = NamedClicks.of(dataset)
        after = before.joined(clicks)
        model = config.model_class(config, after.dataset(dataset))
    model.recompute(saved["other_parameter"])
    _save(saved, model, target)
    return Update(before, clicks, after, unfiltered)


def _check_paths(day: Path, target: Path) -> None:
    if day.suffix != ".inter" or not day.is_file():
        reason = "has another name" if day.is_file() else "is not there"
        raise DataError(f"{day} {reason}: expected a file of RecBole's clicks, such as day.inter.")
    if target.is_dir() or not target.absolute().parent.is_dir():
        reason = "is a folder" if target.is_dir() else "would be in a folder that is not there"
        raise ConfigurationError(f"The new checkpoint {target} {reason}: name a file in a folder that is there.")


def _read_linear(path: str) -> dict[str, Any]:
    saved = read_family(path)
    names = _models(path, saved)
    if other := next((name for name in names if name not in LINEAR), None):
        name = f"a sum with {other}" if len(names) > 1 else other
        raise CheckpointError(
            f"{path} is a checkpoint of {name}, and multvae-update takes those of EDLAE, SparseEDLAE and sums of these "
            f"only: {_otherwise(path, names)}."
        )
    checkpoint.check_format(saved["other_parameter"].get("format_version"))
    if cold_items.asked(saved["config"]):
        raise CheckpointError(
            f"{path} was trained with cold_items='features', and multvae-update reads no fields of items: train it again."
        )
    return saved


def _models(path: str, saved: dict[str, Any]) -> list[str]:
    """The name of the model, or those of the members of a sum."""
    if (name := saved["config"]["model"]) != "Sum":
        return [str(name)]
    try:
        return [str(member["config"]["model"]) for member in saved["other_parameter"]["members"]]
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} has no complete list of the members of its sum, so that the file is damaged: take another copy of it."
        ) from error


def _otherwise(path: str, names: list[str]) -> str:
    """What to do with a model, or with those of a sum: ``warm_start`` takes auto-encoders, and closed forms in a sum."""
    if all(_goes_on(name) for name in names):
        return f"train it on with --warm_start={path}"
    return "train it again with the clicks of all days"


def _goes_on(name: str) -> bool:
    try:
        model_class = get_model(name)
    except (ValueError, ImportError):  # A class of the user's, or one whose package is not installed.
        return False
    return model_class.type == ModelType.TRADITIONAL or getattr(model_class, "no_warm_start", True) is None


def _of_day(config: Any, day: Path) -> tuple[Any, dict[str, Any]]:
    """The configuration that reads the day as a data set, and the keys that are not applied."""
    unfiltered = {key: config[key] for key in COUNTS if config[key] not in (None, "[0,inf)")}
    place = {"dataset": day.stem, "data_path": str(day.absolute().parent)}
    config = copy.copy(config)
    config.known_items = []  # The checkpoint has all items, and the day may have other ones only.
    config.final_config_dict = {**config.final_config_dict, **place, **dict.fromkeys((*COUNTS, *NOT_OF_A_DAY))}
    return config, unfiltered


def _save(saved: dict[str, Any], model: Any, target: Path) -> None:
    """Save a checkpoint with another model. Its validation was that of the old one, and is left out."""
    parameters, computed = saved["other_parameter"], model.other_parameter()
    contents = saved | {
        "saved_at": int(time.time()),
        "best_valid_score": None,
        "evaluations": [],
        "state_dict": model.state_dict(),
        "other_parameter": {
            **parameters,
            **model.trained_on.saved(),
            **{name: computed[name] for name in ("spec", "clicks", "members") if name in computed},
            checkpoint.UPDATED: True,
        },
    }
    try:
        with atomic_write(target) as part:
            torch.save(contents, part, pickle_protocol=4)
    except (OSError, RuntimeError) as error:  # torch's writer raises both.
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"The new checkpoint {target} cannot be written: {reason}") from error
