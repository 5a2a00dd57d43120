"""``save_dataset`` and ``save_dataloaders``: saved data are used only if their files and configuration are the same.

RecBole compares some keys of the configuration, but neither the data's files nor the split
(``recbole/data/utils.py:create_dataset``, ``load_split_dataloaders``). Here a digest of the files' content and of the
configuration is written after the pickle, where RecBole does not look. A file with another digest is not unpickled.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import recbole
import recbole.data.dataset
import torch
from recbole.utils import ModelType, argument_list

import recbole_multvae
from recbole_multvae.config import automatic
from recbole_multvae.data.digests import digest, files_of
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.files import atomic_write

#: Keys of a data set that are not in RecBole's list of them.
_MORE_KEYS = ("seed", "repeatable", "encoding", "numerical_features", "discretization", "alias_of_user_id",
              "kg_reverse_r", "entity_kg_num_interval", "relation_kg_num_interval", "warm_start_sha256",
              "vanished_items")  # fmt: skip
#: Keys that do not change the loaders.
_IRRELEVANT_KEYS = frozenset({
    "data_path", "checkpoint_dir", "save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path",
    "show_progress", "state", "log_wandb", "wandb_project", "device", "gpu_id", "use_gpu",
})  # fmt: skip
_MARK = b"recbole-multvae made this of "


def create_dataset(original: Any, config: Any) -> Any:
    """RecBole's ``create_dataset``."""
    kind = _dataset_class(config)
    file = Path(config["dataset_save_path"] or Path(config["checkpoint_dir"]) / f"{config['dataset']}-{kind}.pth")
    keys = {key: config[key] for key in (*argument_list.dataset_arguments, *_MORE_KEYS)}
    keys["order"] = config["eval_args"]["order"]  # Missing times are refused only if the order is by time.
    if file.is_file() and _is_made_of(file, _digest(config, [kind, keys]), "data set"):
        dataset = _unpickle(file)
        dataset.config, dataset.dataset_path = config, config["data_path"]
        return dataset
    dataset = _read_files(original, config)
    if config["save_dataset"]:
        _save(dataset, Path(config["checkpoint_dir"]) / f"{config['dataset']}-{kind}.pth", _digest(config, [kind, keys]))
    return dataset


def _dataset_class(config: Any) -> str:
    by_model = getattr(recbole.data.dataset, f"{config['model']}Dataset", None)
    if by_model is not None:
        return by_model.__name__
    by_type = {ModelType.SEQUENTIAL: "SequentialDataset", ModelType.KNOWLEDGE: "KnowledgeBasedDataset"}
    return by_type.get(config["MODEL_TYPE"], "Dataset")


def _read_files(original: Any, config: Any) -> Any:
    """The data set from its files: RecBole finds no saved one, and saves none."""
    before = {key: config[key] for key in ("dataset_save_path", "save_dataset")}
    config["dataset_save_path"], config["save_dataset"] = os.path.join(os.devnull, "nothing"), False
    try:
        return original(config)
    finally:
        for key, value in before.items():
            config[key] = value


def save_loaders(_: Any, config: Any, dataloaders: Sequence[Any]) -> None:
    """RecBole's ``save_split_dataloaders``, which leaves the loaders as they were.

    Raises:
        ConfigurationError: the loaders are those of a knowledge-based model, which RecBole cannot save.
    """
    if not all(hasattr(loader, "generator") for loader in dataloaders):
        raise ConfigurationError(f"save_dataloaders=True does not go with {config['model']}: take save_dataset=True.")
    generators = [(loader, loader.generator) for loader in dataloaders]
    try:
        for loader, _ in generators:
            _set_generator(loader, None)
        saved = [(loader, generator.get_state()) for loader, generator in generators]
        _save(saved, _loaders_file(config), _digest(config, _all_keys(config)))
    finally:
        for loader, generator in generators:
            _set_generator(loader, generator)


def load_loaders(_: Any, config: Any) -> tuple[Any, ...] | None:
    """RecBole's ``load_split_dataloaders``: the loaders of training, validation and test; None if none fit.

    It also sets keys left at ``auto``: RecBole does not split the data again.
    """
    file = Path(config["dataloaders_save_path"] or _loaders_file(config))
    if not (file.is_file() and _is_made_of(file, _digest(config, _all_keys(config)), "data loaders")):
        return None
    loaders = []
    for loader, state in _unpickle(file):
        loader.config = loader._dataset.config = config
        _set_generator(loader, torch.Generator())
        loader.generator.set_state(state)
        loaders.append(loader)
    automatic.resolve_auto(config, loaders[0]._dataset)
    return tuple(loaders)


def _loaders_file(config: Any) -> Path:
    return Path(config["checkpoint_dir"]) / f"{config['dataset']}-for-{config['model']}-dataloader.pth"


def _set_generator(loader: Any, generator: torch.Generator | None) -> None:
    loader.generator = loader.sampler.generator = generator


def _all_keys(config: Any) -> dict[str, Any]:
    # The values of keys left at auto follow from the others, and are not known before the data are split.
    at_auto = {key: automatic.AUTO for key in automatic.RULES if key not in config.external_config_dict}
    return {key: value for key, value in {**config.final_config_dict, **at_auto}.items() if key not in _IRRELEVANT_KEYS}


def _digest(config: Any, keys: Any) -> str:
    versions = [recbole.__version__, recbole_multvae.__version__]
    return digest([keys, files_of(config["dataset"], config["data_path"]), versions])


def _is_made_of(file: Path, made_of: str, noun: str) -> bool:
    """Whether a file has the mark of this package and this digest. The log says so."""
    end = _MARK + made_of.encode()
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - len(end)))
        same = stream.read() == end
    if same:
        getLogger().info(f"Reading the {noun} from {file}: files and configuration are the same.")
    else:
        getLogger().warning(f"Making the {noun} again: {file} is of other files or another configuration.")
    return same


def _unpickle(file: Path) -> Any:
    with file.open("rb") as stream:
        return pickle.load(stream)


def _save(value: Any, file: Path, made_of: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as part, open(part, "wb") as stream:
        pickle.dump(value, stream)
        stream.write(_MARK + made_of.encode())
    getLogger().info(f"Saved for the next run: {file}")
