"""The only file that reaches into RecBole's internals. Importing the package calls :func:`register`.

RecBole 1.2.1 (https://github.com/RUCAIBox/RecBole) looks up everything by name in places of its own, and offers no hook:

* a model is a module of ``recbole.model.*`` (``recbole/utils/utils.py:get_model``): we enter ours in ``sys.modules``;
* default YAML is read from RecBole's ``properties`` only (``recbole/config/configurator.py``): we add ours;
* the loader of auto-encoders is chosen from a literal table (``recbole/data/utils.py:get_dataloader``): we extend it;
* ``torch.load`` refuses RecBole's checkpoints since torch 2.6: RecBole's own calls of it get :func:`.checkpoint.load`;
* full ranking makes three dense matrices a batch: ``Trainer.evaluate`` gets :class:`.evaluation.ranking.Ranker`, and
  ``Collector`` what it returns;
* preparing data visits every interaction in Python: the three places that take longest get :mod:`.preparation`;
* ``Collector.get_data_struct`` asks a number for its ``.cpu()`` where a metric needs the number of items: numbers stay out;
* a checkpoint lacks the order of users, without which a resumed run is another run: ``Trainer.fit`` tells the model;
* the optimiser is torch's slow form of it (``recbole/trainer/trainer.py:_build_optimizer``): ours get the fused one;
* several processes must have a GPU each (``Config._init_device``, ``AbstractTrainer.__init__``), average rounded metrics
  (``Trainer.evaluate``), and race for the checkpoint (``Trainer._save_checkpoint``): see :mod:`.distributed`.

Other models take RecBole's own path through each of these, but for the safe loading of checkpoints and several processes.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.dataset import Dataset
from recbole.evaluator import Collector
from recbole.sampler import Sampler
from recbole.trainer import Trainer
from recbole.trainer.trainer import AbstractTrainer
from recbole.utils import EvaluatorType

from recbole_multvae import checkpoint
from recbole_multvae.configuration import check_keys
from recbole_multvae.data import csr, preparation
from recbole_multvae.data.loaders import BatchedFullSortEvalDataLoader, ClickUserDataLoader
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.evaluation import ranking
from recbole_multvae.models import FAMILY, ClickAutoEncoder
from recbole_multvae.training.hardware import keep_freed_memory
from recbole_multvae.training.optimizer import LazyAdam
from recbole_multvae.training.processes import WholeEvaluator, agree, data_parallel, join_group, save_once

_PACKAGE = Path(__file__).parent
#: Where the default YAML is: inside the package when it is installed, beside it in a checkout.
PROPERTIES = next((p for p in (_PACKAGE / "properties", _PACKAGE.parent / "properties") if p.is_dir()), _PACKAGE)


def register() -> None:
    """Make RecBole know the family. Doing it twice does nothing."""
    for model in FAMILY:
        sys.modules[f"recbole.model.general_recommender.{model.__name__.lower()}"] = sys.modules[model.__module__]
    _wrap(Config, "_update_internal_config_dict", _family_defaults)
    _wrap(Config, "_load_internal_config_dict", _key_check)
    for module in ("recbole.data.utils", "recbole.data"):
        _wrap(importlib.import_module(module), "get_dataloader", _family_dataloader)
    _wrap(Dataset, "_load_feat", _family_load_feat)
    _wrap(Dataset, "split_by_ratio", _family_split_by_ratio)
    _wrap(Sampler, "get_used_ids", _family_used_ids)
    _wrap(Trainer, "evaluate", _family_evaluate)
    _wrap(Trainer, "_full_sort_batch_eval", _family_batch_eval)
    _wrap(Collector, "eval_batch_collect", _family_collect)
    _wrap(Collector, "get_data_struct", _family_data_struct)
    for module in ("recbole.utils.logger", "recbole.data.utils", "recbole.trainer.trainer"):
        _wrap(importlib.import_module(module), "ensure_dir", _made_dir)
    _wrap(Config, "_init_device", _device)
    _wrap(AbstractTrainer, "__init__", _data_parallel_trainer)
    _wrap(Trainer, "fit", _followed_fit)
    _wrap(Trainer, "_build_optimizer", _fused_optimizer)
    _wrap(Trainer, "_save_checkpoint", _saved_once)
    _wrap(Trainer, "evaluate", _evaluated_whole)
    _wrap(Trainer, "_map_reduce", _reduced)
    _wrap(torch.serialization, "load", _safe_load)
    torch.load = torch.serialization.load


def _wrap(owner: Any, name: str, wrapper: Any) -> None:
    """Replace ``owner.name`` by ``wrapper(original, ...)``, once; a second wrapper goes around the first."""
    original = getattr(owner, name)
    wrappers = getattr(original, "_multvae", ())
    if wrapper.__name__ in wrappers:
        return

    @functools.wraps(original)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    replacement._multvae = (*wrappers, wrapper.__name__)  # type: ignore[attr-defined]
    setattr(owner, name, replacement)


def _is_family(model_class: Any) -> bool:
    return isinstance(model_class, type) and issubclass(model_class, ClickAutoEncoder)


def _family_defaults(original: Any, config: Config, file: str) -> Any:
    """After RecBole's overall.yaml, read the YAML of our model and of the models it derives from."""
    result = original(config, file)
    if Path(file).name == "overall.yaml" and _is_family(config.model_class):
        for cls in reversed(config.model_class.__mro__):
            path = PROPERTIES / "model" / f"{cls.__name__}.yaml"
            if path.is_file():
                original(config, str(path))
    return result


def _key_check(original: Any, config: Config, model: str, model_class: Any, dataset: str) -> None:
    """Once the defaults are known, look for misspelt keys and for values out of range."""
    original(config, model, model_class, dataset)
    if _is_family(model_class):
        settings = model_class.settings_class
        check_keys(config.external_config_dict, settings.model_fields)
        settings.from_config({**config.internal_config_dict, **config.external_config_dict})


def _family_dataloader(original: Any, config: Config, phase: str) -> Any:
    loader = original(config, phase)
    if not _is_family(config.model_class):
        return loader
    if phase == "train":
        return ClickUserDataLoader
    return BatchedFullSortEvalDataLoader if loader is FullSortEvalDataLoader else loader


def _family_load_feat(original: Any, dataset: Any, filepath: str, source: Any) -> Any:
    if not _is_family(dataset.config.model_class):
        return original(dataset, filepath, source)
    return preparation.load_feat(original, dataset, filepath, source)


def _family_split_by_ratio(original: Any, dataset: Any, ratios: Any, group_by: str | None = None) -> Any:
    if group_by is None or not _is_family(dataset.config.model_class):
        return original(dataset, ratios, group_by)
    return preparation.split_by_ratio(dataset, ratios, group_by)


def _family_used_ids(original: Any, sampler: Any) -> Any:
    # Where negatives are sampled, RecBole's sets are read over and over.
    config = sampler.datasets[0].config
    ours = _is_family(config.model_class) and set(config["eval_args"]["mode"].values()) == {"full"}
    return csr.used_items(sampler) if ours else original(sampler)


def _family_evaluate(original: Any, trainer: Trainer, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(trainer.model, ClickAutoEncoder) or not ranking.reads_top_k_only(trainer.config):
        return original(trainer, *args, **kwargs)
    trainer.ranker = ranking.Ranker(trainer.model, max(trainer.config["topk"]))
    try:
        return original(trainer, *args, **kwargs)
    finally:
        del trainer.ranker


def _family_batch_eval(original: Any, trainer: Trainer, batch: Any) -> Any:
    if not hasattr(trainer, "ranker"):
        return original(trainer, batch)
    interaction, history, positive_u, positive_i = batch
    return interaction, trainer.ranker(interaction.to(trainer.device), history), positive_u, positive_i


def _family_collect(original: Any, collector: Collector, scores: Any, *batch: Any) -> None:
    if not isinstance(scores, ranking.Ranking):
        return original(collector, scores, *batch)
    return ranking.collect(collector, scores, *batch[1:])


def _family_data_struct(original: Any, collector: Collector) -> Any:
    if not _is_family(collector.config.model_class):
        return original(collector)
    held = collector.data_struct._data_dict
    numbers = {name: held.pop(name) for name in list(held) if not isinstance(held[name], torch.Tensor)}
    struct = original(collector)
    held.update(numbers)
    struct._data_dict.update(numbers)
    return struct


def _made_dir(original: Any, path: str) -> None:
    os.makedirs(path, exist_ok=True)  # RecBole's fails where another process makes the folder first.


def _device(original: Any, config: Config) -> None:
    if "local_rank" in config:
        join_group(config)
    else:
        original(config)


def _data_parallel_trainer(original: Any, trainer: Trainer, config: Config, model: Any) -> None:
    if config["single_spec"]:
        original(trainer, config, model)
        return
    on_gpu = config["device"].type == "cuda"
    trainer.config = config
    trainer.model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model) if on_gpu else model
    trainer.distributed_model = data_parallel(trainer.model, config["device"])


def _followed_fit(original: Any, trainer: Trainer, train_data: Any, *args: Any, **kwargs: Any) -> Any:
    alone, ours = trainer.config["single_spec"], isinstance(trainer.model, ClickAutoEncoder)
    if ours:
        trainer.model.follow(train_data)
        keep_freed_memory()
    if not alone:
        trainer.saved_model_file = agree(trainer.saved_model_file)  # It holds the time.
    if ours and not alone:
        train_data.sampler.seed = trainer.config["seed"]  # RecBole leaves the order of users the same for every seed.
    return original(trainer, train_data, *args, **kwargs)


def _fused_optimizer(original: Any, trainer: Trainer, **kwargs: Any) -> Any:
    """RecBole's optimiser, in the form of it that passes over the weights once; for sparse_adam, one that takes ours."""
    if not isinstance(trainer.model, ClickAutoEncoder):
        return original(trainer, **kwargs)
    if sparse := trainer.model.sparse_parameters():
        return _lazy_adam(trainer, sparse)
    optimizer = original(trainer, **kwargs)
    for group in optimizer.param_groups:
        if "fused" in group:
            group["fused"] = True
    return optimizer


def _lazy_adam(trainer: Trainer, sparse: list[Any]) -> LazyAdam:
    for key in ("weight_decay", "reg_weight", "clip_grad_norm"):
        if trainer.config[key]:
            raise ConfigurationError(f"{key}={trainer.config[key]!r} does not go with learner=sparse_adam: leave it out.")
    if not trainer.config["single_spec"]:
        raise ConfigurationError("learner=sparse_adam trains in one process only: leave out --nproc, or take learner=adam.")
    tables = {id(parameter) for parameter in sparse}
    dense = [parameter for parameter in trainer.model.parameters() if id(parameter) not in tables]
    return LazyAdam(sparse, dense, trainer.config["learning_rate"])


def _saved_once(original: Any, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
    if trainer.config["single_spec"]:
        original(trainer, *args, **kwargs)
    else:
        save_once(original, trainer, *args, **kwargs)


def _evaluated_whole(original: Any, trainer: Trainer, eval_data: Any, *args: Any, **kwargs: Any) -> Any:
    if trainer.config["single_spec"] or not eval_data or trainer.eval_type != EvaluatorType.RANKING:
        return original(trainer, eval_data, *args, **kwargs)
    evaluator = trainer.evaluator
    trainer.evaluator = WholeEvaluator(evaluator, eval_data.sample_size, trainer.device)
    try:
        return original(trainer, eval_data, *args, **kwargs)
    finally:
        trainer.evaluator = evaluator


def _reduced(original: Any, trainer: Trainer, result: Any, num_sample: int) -> Any:
    """RecBole averages the metrics of the ranks; where they are of all rows already, there is nothing to average."""
    return result if isinstance(trainer.evaluator, WholeEvaluator) else original(trainer, result, num_sample)


def _safe_load(original: Any, *args: Any, **kwargs: Any) -> Any:
    # Frame 0 is this function, 1 is _wrap's.
    caller = sys._getframe(2).f_globals.get("__name__", "")
    if caller.startswith("recbole.") and not kwargs.keys() & {"weights_only", "pickle_module"}:
        return checkpoint.load(*args, **kwargs)
    return original(*args, **kwargs)
