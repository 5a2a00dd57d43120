"""A model of the family with its weights, and the data sets that it was trained, validated and tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_multvae import checkpoint
from recbole_multvae.data.atomic_files import read_dataset
from recbole_multvae.errors import CheckpointError
from recbole_multvae.experiment.recbole_errors import explain_recbole_errors, one_line
from recbole_multvae.models import FAMILY, ClickRecommender
from recbole_multvae.rebuild.data import disable_pickle_caches, find_dataset, split_dataset
from recbole_multvae.rebuild.named_clicks import NamedClicks


def load_model(path: str, dataset_path: str | None = None) -> tuple[ClickRecommender, list[Any]]:
    """Load a model of the family and the data sets that it was trained, validated and tested on.

    Args:
        path: a checkpoint of RecBole's ``Trainer``.
        dataset_path: the folder of the data set, or the folder that holds it; None: where it was at training.

    Returns:
        The model in evaluation mode, and RecBole's data sets for training, validation and test. Of a model that has taken
        the clicks of a further day there is that of training only: the users, the items and the clicks of the checkpoint.

    Raises:
        CheckpointError: the file is not a checkpoint of a model of the family, or its clicks are damaged.
        DataError: the data set is not there, or has other users, items or clicks than the model was trained on.
    """
    saved = read_family(path)
    config = saved["config"]
    find_dataset(config, dataset_path)
    with disable_pickle_caches(config), explain_recbole_errors():
        parts = _parts(path, saved)
    model = config.model_class(config, parts[0])
    model.load_other_parameter(saved["other_parameter"])
    try:
        model.load_state_dict(saved["state_dict"])
    except RuntimeError as error:
        raise CheckpointError(f"The weights in {path} do not fit its model and its data set: {one_line(error)}") from error
    return model.eval(), parts


def _parts(path: str, saved: dict[str, Any]) -> list[Any]:
    config = saved["config"]
    if checkpoint.UPDATED in saved["other_parameter"]:
        return [NamedClicks.of_checkpoint(path, saved["other_parameter"]).dataset(read_dataset(config))]
    return [loader._dataset for loader in split_dataset(config)]


def read_family(path: str) -> dict[str, Any]:
    """The contents of a checkpoint of a model of the family.

    Raises:
        CheckpointError: it cannot be read, or is one of another model.
    """
    if Path(path).is_dir():
        raise CheckpointError(f"{path} is a folder: name a checkpoint in it, or all of them as {Path(path) / '*.pth'}.")
    saved = checkpoint.load(path, map_location="cpu")
    parts = saved.keys() if isinstance(saved, dict) else set()
    of_family = "config" in parts and issubclass(getattr(saved["config"], "model_class", object), ClickRecommender)
    if not (of_family and "state_dict" in parts and isinstance(saved.get("other_parameter"), dict)):
        family = ", ".join(sorted(model.__name__ for model in FAMILY))
        raise CheckpointError(f"{path} is not a checkpoint of this family: expected one of {family}.")
    return saved
