"""The data set of a checkpoint, read with RecBole, which no other file of the exporter imports."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from multvae_export.errors import TokensError


@dataclass(frozen=True)
class Rebuilt:
    """What RecBole makes of a checkpoint's data set.

    Attributes:
        item_tokens: in order of RecBole's ids, the padding item's first.
    """

    item_tokens: list[str]


def rebuild(checkpoint_path: str, dataset_path: str) -> Rebuilt:
    """Read the data set that a checkpoint names.

    Args:
        checkpoint_path: a checkpoint of RecBole's ``Trainer``; it is not executed.
        dataset_path: the folder of the data set, or the folder that holds that folder.

    Raises:
        TokensError: RecBole is not installed, or cannot read the data set there.
    """
    try:
        from recbole.data import create_dataset

        from recbole_multvae.checkpoint import load
    except ImportError as error:
        raise TokensError("--dataset-path needs RecBole: pip install recbole-multvae") from error
    config = load(checkpoint_path, map_location="cpu")["config"]
    _point_to(config, Path(dataset_path))
    with tempfile.TemporaryDirectory() as empty:
        harmless(config, empty)
        try:
            dataset = create_dataset(config)
        # RecBole fails in many ways on a configuration that does not fit the data.
        except Exception as error:
            reason = str(error).split("\n")[0] or type(error).__name__
            raise TokensError(
                f"RecBole cannot read the data set {config['dataset']} in {config['data_path']}: {reason}"
            ) from error
    return Rebuilt([str(token) for token in dataset.field2id_token[dataset.iid_field]])


def _point_to(config: Any, folder: Path) -> None:
    inside = folder / str(config["dataset"])
    config["data_path"] = str(inside if inside.is_dir() else folder)
    # RecBole would try to download a data set whose folder is missing.
    if not folder.is_dir():
        raise TokensError(f"--dataset-path={folder} is not a folder: name the folder of RecBole's data sets.")


def harmless(config: Any, empty_folder: str) -> None:
    """Take from a checkpoint's configuration what would make RecBole unpickle or write a file.

    RecBole loads saved data sets and data loaders with ``pickle`` from files that the configuration names, or from files of
    a fixed name in ``checkpoint_dir``.

    Args:
        config: RecBole's ``Config``, changed in place.
        empty_folder: a folder without files.
    """
    for key in ("dataset_save_path", "dataloaders_save_path"):
        config[key] = None
    for key in ("save_dataset", "save_dataloaders", "log_wandb"):
        config[key] = False
    config["checkpoint_dir"] = empty_folder
    config["device"] = torch.device("cpu")
