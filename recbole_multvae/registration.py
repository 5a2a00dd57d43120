"""The only file that reaches into RecBole's internals. Importing the package calls :func:`register`.

RecBole 1.2.1 (https://github.com/RUCAIBox/RecBole) finds most things by name, and so it finds ours:

* a model is a module of ``recbole.model.*`` (``recbole/utils/utils.py:get_model``): ours are entered in ``sys.modules``;
* ``<Model>Trainer`` of ``recbole.trainer`` (``get_trainer``) is :class:`.training.trainer.FamilyTrainer`;
* ``<Model>Dataset`` of ``recbole.data.dataset`` (``recbole/data/utils.py:create_dataset``) is
  :class:`.data.dataset.FamilyDataset`.

For the following RecBole has no look-up, and a function of its own is replaced:

* default YAML is read from RecBole's ``properties`` only (``Config._update_internal_config_dict``): ours is added;
* the ready configuration that has the data set's name is read after RecBole's files (``Config._load_internal_config_dict``);
* a misspelt key or a value out of range is noticed nowhere (``Config._load_internal_config_dict``): here it is an error;
* the loaders of auto-encoders stand in a table inside a function (``recbole/data/utils.py:get_dataloader``): ours are added;
* the items of each user are collected in a Python loop over all interactions (``Sampler.get_used_ids``, which
  ``create_samplers`` calls on a class that it names itself): ours get a sparse matrix;
* a script may make its ``Trainer`` itself, without ``get_trainer``: for our models it gets ours (``Trainer.__new__``);
* metrics are those of one module (``recbole/evaluator/register.py``): those of :mod:`.evaluation.metrics` are entered in its
  four tables, some in place of RecBole's of the same name, for every model;
* metrics are NumPy's numbers, which NumPy 2 prints with their type (``recbole/evaluator/evaluator.py``): they become
  Python's, with the same value, for every model;
* files are read by :mod:`.data.loading`, in which no line, token or number is lost or becomes another
  (``Dataset._load_feat``), and the log says how many interactions each filter leaves out (:mod:`.data.accounting`), for
  every model;
* times stay exact until the data are split (:mod:`.data.exact_times`), for every model;
* a saved data set or loader is used only where everything that made it is the same (:mod:`.data.saved`), for every model;
* a way to split is an ``if`` in ``Dataset.build``: under ``eval_args: {split: {NAME: ...}}`` with a name of
  :mod:`.data.protocols` the protocol splits, for every model;
* under such a protocol, which may show the model histories of users who are not in training, RecBole's models get our
  loaders too (``get_dataloader``), and read the histories of the batch (``Trainer._full_sort_batch_eval``);
* where the configuration has ``eval_memory``, as that of this package's command has, RecBole's general models that score all
  items for a user get loaders of many users too (``get_dataloader``);
* ``torch.load`` refuses RecBole's checkpoints since torch 2.6: the calls that RecBole's own modules make get
  :func:`.checkpoint.load`. This one reaches the whole process; ``RECBOLE_MULTVAE_TORCH_LOAD=0`` in the environment leaves
  ``torch.load`` as it is.

Other models take RecBole's own path through each of these, but where it says "for every model".
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import recbole
import recbole.data
import recbole.data.dataset
import recbole.data.utils
import recbole.evaluator.register
import recbole.trainer
import torch
from recbole.config import Config
from recbole.data.dataloader import FullSortEvalDataLoader, UserDataLoader
from recbole.data.dataset import Dataset
from recbole.evaluator import Evaluator
from recbole.sampler import Sampler
from recbole.trainer import Trainer

from recbole_multvae import checkpoint
from recbole_multvae.config import shipped
from recbole_multvae.config.keys import check_keys
from recbole_multvae.config.shipped import PROPERTIES
from recbole_multvae.data import accounting, csr, exact_times, saved
from recbole_multvae.data.dataset import FamilyDataset
from recbole_multvae.data.loaders import (
    BatchedFullSortEvalDataLoader,
    ClickUserDataLoader,
    FullRowsEvalDataLoader,
    UsersWithHistories,
)
from recbole_multvae.data.loading import load_features
from recbole_multvae.data.protocols import chosen
from recbole_multvae.data.protocols.base import Protocol
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.evaluation.activity import ActivitySettings
from recbole_multvae.evaluation.many_users import scores_users
from recbole_multvae.evaluation.metrics import METRICS
from recbole_multvae.evaluation.recbole_models import check_reads_histories, histories_of
from recbole_multvae.likelihoods import likelihoods
from recbole_multvae.models import FAMILY, ClickRecommender
from recbole_multvae.training.choice_of_beta import check_choice
from recbole_multvae.training.trainer import FamilyTrainer


def register() -> None:
    """Make RecBole know the family. Doing it twice does nothing."""
    # NumPy's removed names, which RecBole's data sets use: making a Config enters them, and reading one from a checkpoint
    # does not.
    Config.compatibility_settings(None)
    for model in FAMILY:
        sys.modules[f"recbole.model.general_recommender.{model.__name__.lower()}"] = sys.modules[model.__module__]
        _enter(model)
    _wrap(Config, "_update_internal_config_dict", _family_defaults)
    _wrap(Config, "_load_internal_config_dict", _family_keys)
    for module in ("recbole.data.utils", "recbole.data"):
        _wrap(importlib.import_module(module), "get_dataloader", _family_dataloader)
    _wrap(Evaluator, "evaluate", _plain_numbers)
    _wrap(Sampler, "get_used_ids", _family_used_ids)
    _mend_data_sets()
    _wrap(Trainer, "_full_sort_batch_eval", _histories_of_the_batch)
    for metric in METRICS:
        _enter_metric(metric)
    Trainer.__new__ = _new_trainer
    if os.environ.get("RECBOLE_MULTVAE_TORCH_LOAD") != "0":
        _wrap(torch.serialization, "load", _safe_load)
        torch.load = torch.serialization.load


def _mend_data_sets() -> None:
    """Read, filter, order, split and save data as RecBole means to."""
    _wrap(Dataset, "_load_feat", _load_feat)
    _wrap(Dataset, "_data_processing", _data_processing)
    _wrap(Dataset, "_change_feat_format", exact_times.change_format)
    for name, keys in accounting.FILTERS.items():
        _wrap(Dataset, name, functools.partial(_filter, name, keys))
    _wrap(Dataset, "time_based_split", exact_times.time_based_split)
    _wrap(Dataset, "build", _build)
    for module in (recbole.data.utils, recbole.data):
        _wrap(module, "create_dataset", saved.create_dataset)
    _wrap(recbole.data.utils, "save_split_dataloaders", saved.save_loaders)
    _wrap(recbole.data.utils, "load_split_dataloaders", saved.load_loaders)


def _enter(model: type[ClickRecommender]) -> None:
    """Put a model's trainer and data set where RecBole looks for them by name."""
    setattr(recbole.trainer, f"{model.__name__}Trainer", FamilyTrainer)
    setattr(recbole.data.dataset, f"{model.__name__}Dataset", FamilyDataset)


def _enter_metric(metric: Any) -> None:
    """Put a metric into the tables in which RecBole finds metrics by name."""
    name, register = metric.__name__.lower(), recbole.evaluator.register
    register.metrics_dict[name] = metric
    register.metric_information[name] = metric.metric_need
    register.metric_types[name] = metric.metric_type
    if metric.smaller and name not in register.smaller_metrics:
        register.smaller_metrics.append(name)


def _wrap(owner: Any, name: str, wrapper: Any) -> None:
    """Replace ``owner.name`` by ``wrapper(original, ...)``, once."""
    original = getattr(owner, name)
    if hasattr(original, "_multvae"):
        return

    @functools.wraps(original)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    replacement._multvae = True  # type: ignore[attr-defined]
    setattr(owner, name, replacement)


def _plain_numbers(original: Any, evaluator: Evaluator, collected: Any) -> OrderedDict[str, Any]:
    found = original(evaluator, collected).items()
    return OrderedDict((name, value.item() if isinstance(value, np.generic) else value) for name, value in found)


def _is_family(model_class: Any) -> bool:
    return isinstance(model_class, type) and issubclass(model_class, ClickRecommender)


def _family_defaults(original: Any, config: Config, file: str) -> Any:
    """After RecBole's overall.yaml, read the YAML of our model and of the models it derives from."""
    result = original(config, file)
    if Path(file).name == "overall.yaml" and _is_family(config.model_class):
        for cls in reversed(config.model_class.__mro__):
            path = PROPERTIES / "model" / f"{cls.__name__}.yaml"
            if path.is_file():
                original(config, str(path))
    return result


def _family_keys(original: Any, config: Config, model: str, model_class: Any, dataset: str) -> None:
    """Once the defaults are known, look for misspelt keys, for values out of range and for what does not go together."""
    original(config, model, model_class, dataset)
    given = config.external_config_dict
    if _is_family(model_class):
        _enter(model_class)  # It may be a class of the user's own that derives from one of ours.
        if file := shipped.of_dataset(dataset):
            config._update_internal_config_dict(str(file))
        _check_family_keys(model_class, config.internal_config_dict, given)
    else:
        check_choice(given, None)
    _check_protocol(model_class, {"benchmark_filename": None, **config.internal_config_dict, **given})


def _check_family_keys(model_class: Any, defaults: dict[str, Any], given: dict[str, Any]) -> None:
    settings = model_class.read_settings({**defaults, **given})
    settings.check_alternatives(given)
    check_choice(given, settings)
    if hasattr(settings, "likelihood"):
        _check_likelihood(given, settings.likelihood, type(settings).model_fields)
    check_keys(given, {*type(settings).model_fields, *ActivitySettings.model_fields})


def _check_protocol(model_class: Any, keys: dict[str, Any]) -> None:
    protocol = chosen(keys)
    if not (protocol and protocol.new_users):
        return
    if _is_family(model_class):
        model_class.check_new_users(model_class.read_settings(keys), protocol.name)
    else:
        check_reads_histories(model_class, keys.get("knn_method"), protocol.name)


def _check_likelihood(given: dict[str, Any], name: str, own: Any) -> None:
    for other, likelihood in likelihoods().items():
        for key in likelihood.settings_class.model_fields.keys() & given.keys() - own.keys():
            raise ConfigurationError(
                f"{key}={given[key]!r} is a setting of likelihood={other}, and this run has likelihood={name}: leave it out."
            )


def _family_dataloader(original: Any, config: Config, phase: str) -> Any:
    loader = original(config, phase)
    ours, by_protocol = _is_family(config.model_class), chosen(config) is not None
    if phase == "train":
        if ours:
            return config.model_class.training_loader
        return ClickUserDataLoader if by_protocol and loader is UserDataLoader else loader
    if loader is FullSortEvalDataLoader and (ours or by_protocol or _many_users(config)):
        return BatchedFullSortEvalDataLoader if ours else FullRowsEvalDataLoader
    return loader


def _many_users(config: Config) -> bool:
    # RecBole's own script has no ``eval_memory`` for RecBole's models; the command of this package has.
    return config["eval_memory"] is not None and scores_users(config.model_class)


def _family_used_ids(original: Any, sampler: Any) -> Any:
    # Where negatives are sampled, RecBole's sets are read over and over.
    config = sampler.datasets[0].config
    ours = _is_family(config.model_class) and set(config["eval_args"]["mode"].values()) == {"full"}
    return csr.used_items(sampler) if ours else original(sampler)


def _load_feat(_: Any, dataset: Dataset, filepath: str, source: Any) -> Any:
    return load_features(dataset, filepath, source)


def _data_processing(original: Any, dataset: Dataset) -> None:
    exact_times.order_by_time(dataset.config)
    exact_times.check_times(dataset)
    original(dataset)
    accounting.say_what_is_left(dataset)


def _filter(name: str, keys: tuple[str, ...], original: Any, dataset: Dataset) -> None:
    step = functools.partial(original, dataset)
    if name == "_remove_duplication":
        step = functools.partial(exact_times.remove_duplication, original, dataset)
    accounting.counted(keys, step, dataset)


def _build(original: Any, dataset: Dataset) -> Any:
    protocol = chosen(dataset.config)
    parts = original(dataset) if protocol is None else _split_by(protocol, dataset)
    exact_times.as_recbole_s([dataset, *parts])
    accounting.say_parts(parts)
    return parts


def _split_by(protocol: type[Protocol], dataset: Dataset) -> list[Any]:
    dataset._change_feat_format()
    dataset._drop_unused_col()
    return protocol().split(dataset, dataset.config["eval_args"]["split"][protocol.name])


def _histories_of_the_batch(original: Any, trainer: Trainer, batch: Any) -> Any:
    users, *rest = batch
    if _is_family(type(trainer.model)) or not isinstance(users, UsersWithHistories):
        return original(trainer, batch)
    with histories_of(users, trainer.model) as renumbered:
        return users, *original(trainer, (renumbered, *rest))[1:]


def _new_trainer(cls: type, config: Any = None, model: Any = None, *_: Any) -> Any:
    return object.__new__(FamilyTrainer if cls is Trainer and isinstance(model, ClickRecommender) else cls)


def _safe_load(original: Any, *args: Any, **kwargs: Any) -> Any:
    # Frame 0 is this function, 1 is _wrap's.
    caller = sys._getframe(2).f_globals.get("__name__", "")
    if caller.startswith("recbole.") and not kwargs.keys() & {"weights_only", "pickle_module"}:
        return checkpoint.load(*args, **kwargs)
    return original(*args, **kwargs)
