"""Where RecBole learns about this package. Importing the package calls :func:`register`.

No other file changes RecBole. Other files only derive from its classes and call its functions.

RecBole 1.2.1 (https://github.com/RUCAIBox/RecBole) finds most things by name, and so it finds ours:

* a model is a module of ``recbole.model.*`` (``recbole/utils/utils.py:get_model``): ours are entered in ``sys.modules``;
* ``<Model>Trainer`` of ``recbole.trainer`` (``get_trainer``) is :class:`.training.trainer.FamilyTrainer`, of a sum
  :class:`.sums.trainer.SumTrainer`;
* ``<Model>Dataset`` of ``recbole.data.dataset`` (``recbole/data/utils.py:create_dataset``) is
  :class:`.data.dataset.FamilyDataset`.

RecBole has no look-up for the following, and a function of RecBole is replaced:

* default YAML is read only from RecBole's ``properties`` (``Config._update_internal_config_dict``): ours is added;
* the ready configuration that has the data set's name, and the settings of ``warm_start``'s checkpoint, are read after
  RecBole's files (``Config._load_internal_config_dict``); the log names the first (``create_dataset``);
* a misspelt key or a value out of range is not noticed (``Config._load_internal_config_dict``): here it is an error;
* the loaders of auto-encoders are in a table inside a function (``recbole/data/utils.py:get_dataloader``): ours are added;
* the items of each user are collected in a Python loop over all interactions (``Sampler.get_used_ids``, which
  ``create_samplers`` calls on a class that it names itself): ours get a sparse matrix;
* a script may make its ``Trainer`` itself, without ``get_trainer``: for our models it gets ours (``Trainer.__new__``);
* a trainer makes its logger for Weights & Biases itself (``recbole/trainer/trainer.py``): it gets ours, which loses no
  validation and no run of a report (:mod:`.training.wandb_logger`), for every model;
* metrics are found in one module (``recbole/evaluator/register.py``): ours are entered in its four tables, some in place of
  RecBole's of the same name, and every trainer collects what they need (``recbole.trainer.trainer.Collector``,
  ``Trainer.evaluate``), for every model;
* metrics are NumPy's numbers, which NumPy 2 prints with their type (``recbole/evaluator/evaluator.py``): they become
  Python's numbers of the same value, for every model;
* files are read by :mod:`.data.features`, which loses or changes no line, token or number (``Dataset._load_feat``), and the
  log says how many interactions each filter leaves out (:mod:`.data.interaction_counts`), for every model;
* the items of ``warm_start``'s checkpoint get an id each (``Dataset._remap_ID_all``), for every model;
* some of its models do not compute what their papers say: they are corrected (:mod:`.corrections`);
* times stay exact until the data are split (:mod:`.data.exact_times`, :mod:`.data.normalization`), for every model;
* saved data sets and loaders are used only if their files and configuration are the same (:mod:`.data.saved`), for every
  model;
* the ways to split are branches inside a function (``Dataset.build``): the protocols of :mod:`.data.protocols` are added,
  by their name in ``eval_args: {split: {NAME: ...}}``, and ``split_seed`` draws the split, for every model;
* keys left at ``auto`` get their values when the data are split, as these depend on the size of the training data
  (``Dataset.build``);
* a configuration with ``refit: True`` has training and validation in one part (``Dataset.build``, :mod:`.data.merging`), for
  every model;
* such a protocol may evaluate users who are not in training, with histories that come with the batch: RecBole's models get
  our loaders too (``get_dataloader``), and read these histories (``Trainer._full_sort_batch_eval``);
* if the configuration has ``eval_memory``, which this package's command sets, RecBole's general models that score all items
  for a user get loaders of many users too (``get_dataloader``);
* ``torch.load`` refuses RecBole's checkpoints since torch 2.6: calls from RecBole's own modules get
  :func:`.checkpoint.load_for_recbole`. This replaces ``torch.load`` for the whole process; with
  ``RECBOLE_MULTVAE_TORCH_LOAD=0`` in the environment it stays as it is.

Other models take RecBole's own path through each of these, except where it says "for every model".
"""

from __future__ import annotations

import functools
import os
import sys
from collections import OrderedDict
from collections.abc import Set
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import recbole.data.dataset
import recbole.data.utils
import recbole.evaluator.register
import recbole.trainer.trainer
import torch
from recbole.config import Config
from recbole.data.dataloader import FullSortEvalDataLoader, UserDataLoader
from recbole.data.dataset import Dataset
from recbole.evaluator import Evaluator
from recbole.sampler import Sampler
from recbole.trainer import Trainer
from recbole.utils import ModelType

from recbole_multvae import checkpoint
from recbole_multvae.config import shipped
from recbole_multvae.config.automatic import resolve_auto
from recbole_multvae.config.evaluation_keys import check_order_of_time
from recbole_multvae.config.keys import check_keys
from recbole_multvae.config.run_settings import RunSettings
from recbole_multvae.corrections import corrections
from recbole_multvae.data import csr, exact_times, features, interaction_counts, known_items, normalization, saved
from recbole_multvae.data.cold_items import check_cold_items
from recbole_multvae.data.dataset import FamilyDataset
from recbole_multvae.data.loaders import (
    BatchedFullSortEvalDataLoader,
    ClickUserDataLoader,
    FullRowsEvalDataLoader,
    UsersWithHistories,
)
from recbole_multvae.data.parts import build
from recbole_multvae.data.protocols import chosen
from recbole_multvae.errors import ConfigurationError, NotApplicableError
from recbole_multvae.evaluation.collector import RankingCollector
from recbole_multvae.evaluation.list_metrics import METRICS_OF_LISTS
from recbole_multvae.evaluation.many_users import scores_users
from recbole_multvae.evaluation.metrics import METRICS
from recbole_multvae.evaluation.recbole_models import READERS, histories_of, no_histories_because
from recbole_multvae.evaluation.weighted_metrics import WEIGHTED_METRICS
from recbole_multvae.likelihoods import likelihoods
from recbole_multvae.models import FAMILY, ClickRecommender
from recbole_multvae.sums import warm_start
from recbole_multvae.sums.model import Sum
from recbole_multvae.sums.trainer import SumTrainer
from recbole_multvae.training.choice_of_beta import check_choice, first_run_keys
from recbole_multvae.training.trainer import FamilyTrainer
from recbole_multvae.training.wandb_logger import CompleteWandbLogger


def register() -> None:
    """Make RecBole know the family. A second call does nothing."""
    # RecBole's data sets use names that NumPy removed. Making a Config adds them; reading one from a checkpoint does not.
    Config.compatibility_settings(None)
    for model in (*FAMILY, Sum):
        sys.modules[f"recbole.model.general_recommender.{model.__name__.lower()}"] = sys.modules[model.__module__]
        _enter_model(model)
    _wrap(Config, "_update_internal_config_dict", _family_defaults)
    _wrap(Config, "_load_internal_config_dict", _family_keys)
    for module in (recbole.data.utils, recbole.data):
        _wrap(module, "get_dataloader", _family_dataloader)
    _wrap(Evaluator, "evaluate", _plain_numbers)
    _wrap(Sampler, "get_used_ids", _family_used_ids)
    _wrap_data_sets()
    _wrap(Trainer, "_full_sort_batch_eval", _histories_of_the_batch)
    for metric in (*METRICS, *METRICS_OF_LISTS, *WEIGHTED_METRICS):
        _enter_metric(metric)
    recbole.trainer.trainer.Collector = RankingCollector
    _wrap(Trainer, "evaluate", _evaluate)
    for owner, name, correction in corrections():
        _wrap(owner, name, correction) if callable(correction) else setattr(owner, name, correction)
    Trainer.__new__ = _new_trainer
    recbole.trainer.trainer.WandbLogger = CompleteWandbLogger
    if os.environ.get("RECBOLE_MULTVAE_TORCH_LOAD") != "0":
        _wrap(torch.serialization, "load", _safe_load)
        torch.load = torch.serialization.load


def _wrap_data_sets() -> None:
    """Read, filter, order, split and save data without RecBole's mistakes."""
    _wrap(Dataset, "_load_feat", lambda _, *arguments: features.load_features(*arguments))
    _wrap(Dataset, "_data_processing", _data_processing)
    _wrap(Dataset, "_remap_ID_all", known_items.remap)
    _wrap(Dataset, "_normalize", normalization.normalize)
    _wrap(Dataset, "_change_feat_format", exact_times.change_format)
    for name, keys in interaction_counts.FILTERS.items():
        _wrap(Dataset, name, functools.partial(_filter, name, keys))
    _wrap(Dataset, "time_based_split", exact_times.time_based_split)
    _wrap(Dataset, "build", _build)
    for module in (recbole.data.utils, recbole.data):
        _wrap(module, "create_dataset", _create_dataset)
    _wrap(recbole.data.utils, "save_split_dataloaders", saved.save_loaders)
    _wrap(recbole.data.utils, "load_split_dataloaders", saved.load_loaders)


def _enter_model(model: type[ClickRecommender]) -> None:
    """Put a model's trainer and data set where RecBole looks for them by name."""
    setattr(recbole.trainer, f"{model.__name__}Trainer", SumTrainer if issubclass(model, Sum) else FamilyTrainer)
    setattr(recbole.data.dataset, f"{model.__name__}Dataset", FamilyDataset)


def _enter_metric(metric: Any) -> None:
    """Put a metric into the tables in which RecBole finds metrics by name."""
    name, register = metric.__name__.lower(), recbole.evaluator.register
    register.metrics_dict[name] = metric
    register.metric_information[name] = metric.metric_need
    register.metric_types[name] = metric.metric_type
    if metric.smaller and name not in register.smaller_metrics:
        register.smaller_metrics.append(name)


def _evaluate(original: Any, trainer: Any, eval_data: Any, *args: Any, **kwargs: Any) -> Any:
    if eval_data and isinstance(trainer.eval_collector, RankingCollector):
        trainer.eval_collector.begin(eval_data)
    return original(trainer, eval_data, *args, **kwargs)


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
    metrics = original(evaluator, collected).items()
    return OrderedDict((name, value.item() if isinstance(value, np.generic) else value) for name, value in metrics)


def _is_family(model_class: Any) -> bool:
    return isinstance(model_class, type) and issubclass(model_class, ClickRecommender)


def _family_defaults(original: Any, config: Config, file: str) -> Any:
    """After RecBole's overall.yaml, read the YAML of our model and of the models it derives from."""
    result = original(config, file)
    if Path(file).name == "overall.yaml" and _is_family(config.model_class):
        for cls in reversed(config.model_class.__mro__):
            path = shipped.PROPERTIES / "model" / f"{cls.__name__}.yaml"
            if path.is_file():
                original(config, str(path))
    return result


def _family_keys(original: Any, config: Config, model: str, model_class: Any, dataset: str) -> None:
    """Once the defaults are known, look for misspelt keys, values out of range, and keys that exclude each other."""
    original(config, model, model_class, dataset)
    user_keys, ours = config.external_config_dict, _is_family(model_class)
    if ours:
        _enter_model(model_class)  # It may be a class of the user's that derives from one of ours.
        if file := shipped.of_dataset(dataset):
            config._update_internal_config_dict(str(file))
    warm_start.begin(config, model_class)
    settings = _check_family_keys(model_class, config.internal_config_dict, user_keys) if ours else None
    check_choice(user_keys, settings)
    config.internal_config_dict.update(first_run_keys(user_keys, settings))
    _check_protocol(model_class, {"benchmark_filename": None, **config.internal_config_dict, **user_keys}, user_keys)


def _check_family_keys(model_class: Any, defaults: dict[str, Any], user_keys: dict[str, Any]) -> Any:
    settings = model_class.read_settings({**defaults, **user_keys})
    settings.check_alternatives(user_keys)
    model_keys = type(settings).model_fields.keys()
    if hasattr(settings, "likelihood"):
        _check_likelihood(user_keys, settings.likelihood, model_keys)
    check_keys(user_keys, model_keys | RunSettings.model_fields.keys())
    return settings


def _check_protocol(model_class: Any, keys: dict[str, Any], user_keys: dict[str, Any]) -> None:
    check_cold_items(keys, model_class, protocol := chosen(keys))
    if protocol is None:
        return
    if protocol.by_time:
        check_order_of_time(protocol.name, user_keys)
    new_users, reason = protocol.new_users(keys["eval_args"]["split"][protocol.name]), None
    if model_class.type is not ModelType.SEQUENTIAL:
        reason = _no_histories_because(model_class, keys)
    elif not protocol.by_time:
        raise NotApplicableError(
            f"eval_args split {protocol.name} has no order of time, which RecBole's sequential models such as "
            f"{model_class.__name__} learn from: take split GT, or RecBole's LS."
        )
    if new_users and reason:
        raise NotApplicableError(
            f"eval_args split {protocol.name} evaluates users who are not in training, and {reason}: take split RS, a model "
            f"of this package such as MultVAE, or one of {', '.join(READERS)}."
        )


def _no_histories_because(model_class: Any, keys: dict[str, Any]) -> str | None:
    if _is_family(model_class):
        return model_class.no_histories_because(model_class.read_settings(keys))
    return no_histories_because(model_class, keys.get("knn_method"))


def _check_likelihood(user_keys: dict[str, Any], name: str, model_keys: Set[str]) -> None:
    for other, likelihood in likelihoods().items():
        for key in likelihood.settings_class.model_fields.keys() & user_keys.keys() - model_keys:
            raise ConfigurationError(
                f"{key}={user_keys[key]!r} is a setting of likelihood={other}, and this run has likelihood={name}: "
                "leave it out."
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
    # For RecBole's models this package's command sets ``eval_memory``, and RecBole's own script does not.
    return config["eval_memory"] is not None and scores_users(config.model_class)


def _family_used_ids(original: Any, sampler: Any) -> Any:
    # Sampling of negatives reads RecBole's sets over and over, so that they are kept for it.
    config = sampler.datasets[0].config
    ours = _is_family(config.model_class) and set(config["eval_args"]["mode"].values()) == {"full"}
    return csr.used_items(sampler) if ours else original(sampler)


def _create_dataset(original: Any, config: Config) -> Any:
    # Here, because the logger is set up after the configuration is made.
    if _is_family(config.model_class) and (file := shipped.of_dataset(config["dataset"])):
        getLogger().info(f"The configuration starts from {file}, which comes with this package for the data set's name.")
    return saved.create_dataset(original, config)


def _data_processing(original: Any, dataset: Dataset) -> None:
    exact_times.order_by_time(dataset.config)
    exact_times.check_times(dataset)
    original(dataset)
    interaction_counts.log_repeated(dataset)


def _filter(name: str, keys: tuple[str, ...], original: Any, dataset: Dataset) -> None:
    step = functools.partial(original, dataset)
    if name == "_remove_duplication":
        step = functools.partial(exact_times.remove_duplication, original, dataset)
    interaction_counts.log_left_out(keys, step, dataset)


def _build(original: Any, dataset: Dataset) -> Any:
    parts = build(original, dataset)
    if _is_family(dataset.config.model_class):
        resolve_auto(dataset.config, parts[0])
    return parts


def _histories_of_the_batch(original: Any, trainer: Trainer, batch: Any) -> Any:
    users, *rest = batch
    model = type(trainer.model)
    by_training = _is_family(model) or no_histories_because(model, trainer.config["knn_method"]) is not None
    if by_training or not isinstance(users, UsersWithHistories):
        return original(trainer, batch)
    with histories_of(users, trainer.model) as renumbered:
        return users, *original(trainer, (renumbered, *rest))[1:]


def _new_trainer(cls: type, config: Any = None, model: Any = None, *_: Any) -> Any:
    if cls is Trainer and isinstance(model, ClickRecommender):
        cls = SumTrainer if isinstance(model, Sum) else FamilyTrainer
    return object.__new__(cls)


def _safe_load(original: Any, *args: Any, **kwargs: Any) -> Any:
    # Frame 0 is this function, 1 is _wrap's.
    caller = sys._getframe(2).f_globals.get("__name__", "")
    if caller.startswith("recbole.") and not kwargs.keys() & {"weights_only", "pickle_module"}:
        return checkpoint.load_for_recbole(*args, **kwargs)
    return original(*args, **kwargs)
