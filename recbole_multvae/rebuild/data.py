"""The data set of a checkpoint, which RecBole reads and splits again. The checkpoint is not trusted."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data import data_preparation
from recbole.utils import init_seed

from recbole_multvae.data.atomic_files import read_dataset
from recbole_multvae.errors import DataError

#: MiB for the scores of a validation.
EVAL_MEMORY = 256
#: A path at which there can be no file.
_NOWHERE = os.path.join(os.devnull, "nothing")


def find_dataset(config: Any, dataset_path: str | None) -> None:
    """Set ``data_path`` to the folder of the data set.

    Args:
        config: RecBole's ``Config``, changed in place.
        dataset_path: the folder of the data set, or the folder that holds it; None: where it was at training.

    Raises:
        DataError: there is no data set of this name.
    """
    name = str(config["dataset"])
    folder = Path(config["data_path"] if dataset_path is None else dataset_path)
    if dataset_path is not None and (folder / name).is_dir():
        folder /= name
    # RecBole would try to download a data set whose folder is missing.
    if not glob.glob(f"{glob.escape(str(folder / name))}*.inter"):
        where = f"{folder}, where it was at training" if dataset_path is None else str(folder)
        raise DataError(f"The data set {name} is not in {where}: name its folder with --dataset-path.")
    config["data_path"] = str(folder)


@contextmanager
def disable_pickle_caches(config: Any) -> Iterator[None]:
    """Let RecBole follow the configuration of a checkpoint, on the CPU, but unpickle and write no file.

    RecBole loads saved data sets and data loaders with ``pickle`` from the files that the configuration names. If it names
    none, their path depends on the name of the data set, which may lead out of any folder.

    Args:
        config: RecBole's ``Config``, changed in place.
    """
    for key in ("dataset_save_path", "dataloaders_save_path", "checkpoint_dir"):
        config[key] = _NOWHERE
    for key in ("save_dataset", "save_dataloaders", "log_wandb"):
        config[key] = False
    config["device"] = torch.device("cpu")
    if config["eval_memory"] is None:  # A checkpoint of RecBole's own script: validation would rank one user at a time.
        config["eval_memory"] = EVAL_MEMORY
    with warnings.catch_warnings():
        # A user of the command cannot act on deprecations inside RecBole.
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")
        yield


def split_dataset(config: Any, times: type[np.floating] = np.float64) -> list[Any]:
    """RecBole's loaders for training, validation and test. To be called within :func:`disable_pickle_caches`.

    Args:
        config: RecBole's ``Config``.
        times: the precision of the times that the rows are ordered by. RecBole alone makes them float32 before it sorts.

    Raises:
        ConfigurationError: see :func:`.read_dataset`.
        DataError: likewise.
    """
    init_seed(config["seed"], config["reproducibility"])
    dataset = read_dataset(config)
    if times is not np.float64 and dataset.time_field in dataset.inter_feat:
        column = dataset.inter_feat[dataset.time_field]
        dataset.inter_feat[dataset.time_field] = column.astype(times).astype(np.float64)
    return list(data_preparation(config, dataset))
