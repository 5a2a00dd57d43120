"""The key ``refit``: once the number of updates is chosen on validation, train on training and validation together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole.utils import ModelType

from recbole_multvae.config.automatic import AUTO
from recbole_multvae.config.evaluation_keys import empty_parts
from recbole_multvae.config.run_settings import RunSettings
from recbole_multvae.errors import ConfigurationError


def refitted_file(chosen: str) -> str:
    """The path of the refitted checkpoint beside that of the first training: ``MultVAE-DATE-refit.pth``."""
    file = Path(chosen)
    return str(file.with_name(f"{file.stem}-refit{file.suffix}"))


def check_refit(keys: Mapping[str, Any], model_class: Any) -> None:
    """Check that a training can be followed by one on training and validation, if ``refit`` asks for it.

    Args:
        keys: all keys and values of a run, whose types have been checked.
        model_class: the class of its model.

    Raises:
        ConfigurationError: nothing is validated, the model learns from other data, or several processes train.
    """
    if not RunSettings.from_config(keys).refit:
        return
    if model_class.type not in (ModelType.GENERAL, ModelType.TRADITIONAL):
        raise ConfigurationError(
            f"refit=True is for general recommenders, and {model_class.__name__} is one of RecBole's "
            f"{model_class.type.name.lower()} models: leave it out."
        )
    if "local_rank" in keys:
        raise ConfigurationError("refit=True trains in one process only: leave out --nproc.")
    if "validation" in empty_parts(keys):
        raise ConfigurationError(
            f"refit=True trains for the updates that were best on validation, and eval_args split="
            f"{keys['eval_args']['split']!r} leaves none: hold some out, for example with {{'RS': [8, 1, 1]}}."
        )
    _check_validates(keys)


def _check_validates(keys: Mapping[str, Any]) -> None:
    for key in ("epochs", "eval_step"):
        if keys[key] != AUTO and keys[key] < 1:
            raise ConfigurationError(
                f"refit=True trains for the updates that were best on validation, and with {key}={keys[key]} there is no "
                f"validation: take {key}=1 or more."
            )
    if "pretrain" in str(keys.get("train_stage")):
        raise ConfigurationError(
            f"refit=True trains for the updates that were best on validation, and train_stage={keys['train_stage']} has no "
            "validation: leave it out."
        )
