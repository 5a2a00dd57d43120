"""The data set of a checkpoint, read with RecBole, which no other file of the exporter imports."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multvae_export.errors import TokensError


@dataclass(frozen=True)
class Rebuilt:
    """What RecBole makes of a checkpoint's data set.

    Attributes:
        checkpoint: what the checkpoint holds, as RecBole's own objects.
        dataset: RecBole's data set, filtered, before its split.
    """

    checkpoint: dict[str, Any]
    dataset: Any

    @property
    def item_tokens(self) -> list[str]:
        """In order of RecBole's ids, the padding item's first. A split may leave items out, so it is made first."""
        train = self._train
        return [str(token) for token in train.field2id_token[train.iid_field]]

    @property
    def user_tokens(self) -> list[str]:
        """In order of RecBole's ids, the padding user's first."""
        return [str(token) for token in self.dataset.field2id_token[self.dataset.uid_field]]

    def training(self) -> tuple[np.ndarray, np.ndarray]:
        """The users and the items of the training part, int64 [N] each."""
        train = self._train
        return tuple(train.inter_feat[field].numpy().astype(np.int64) for field in (train.uid_field, train.iid_field))

    def model(self) -> Any:
        """RecBole's model with the weights of the checkpoint, made from the training part of the data set.

        Raises:
            TokensError: the data set is another one than the checkpoint's.
        """
        train = self._train
        with _recbole_s_words(self.checkpoint["config"]) as config:
            from recbole.utils import get_model, init_seed

            init_seed(config["seed"], config["reproducibility"])
            model = get_model(config["model"])(config, train)
            model.load_state_dict(self.checkpoint["state_dict"])
            model.load_other_parameter(self.checkpoint.get("other_parameter"))
            return model.eval()

    @cached_property
    def _train(self) -> Any:
        with _recbole_s_words(self.checkpoint["config"]) as config:
            from recbole.data import data_preparation
            from recbole.utils import init_seed

            init_seed(config["seed"], config["reproducibility"])
            return data_preparation(config, self.dataset)[0]._dataset


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
        from recbole.utils import init_seed

        from recbole_multvae.checkpoint import load
    except ImportError as error:
        raise TokensError("--dataset-path needs RecBole: pip install recbole-multvae") from error
    try:
        checkpoint = load(checkpoint_path, map_location="cpu")
    # It has been read already, but with no object of RecBole.
    except Exception as error:
        reason = str(error).split("\n")[0]
        raise TokensError(f"RecBole cannot load {checkpoint_path}: {reason}") from error
    _point_to(checkpoint["config"], Path(dataset_path))
    with _recbole_s_words(checkpoint["config"]) as config:
        init_seed(config["seed"], config["reproducibility"])
        return Rebuilt(checkpoint, create_dataset(config))


def _point_to(config: Any, folder: Path) -> None:
    # RecBole would try to download a data set whose folder is missing.
    if not folder.is_dir():
        raise TokensError(f"--dataset-path={folder} is not a folder: name the folder of RecBole's data sets.")
    inside = folder / str(config["dataset"])
    config["data_path"] = str(inside if inside.is_dir() else folder)


@contextmanager
def _recbole_s_words(config: Any) -> Iterator[Any]:
    """A configuration that RecBole may follow; what RecBole then says is wrong becomes one sentence."""
    with tempfile.TemporaryDirectory() as empty, warnings.catch_warnings():
        # Deprecations inside RecBole are nothing that a user of the command could mend.
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")
        harmless(config, empty)
        try:
            yield config
        # RecBole fails in many ways on a configuration or weights that do not fit the data.
        except Exception as error:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise TokensError(
                f"RecBole cannot use the data set {config['dataset']} in {config['data_path']}: {reason}"
            ) from error


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
