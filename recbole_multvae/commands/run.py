"""One run: configuration, data, training, evaluation.

The steps, their order and their random seeds are those of ``recbole.quick_start.run_recbole`` in RecBole 1.2.1; its module
is not imported, because it imports ray, which only hyper-parameter search needs.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from recbole.data import data_preparation
from recbole.data.transform import construct_transform
from recbole.utils import (
    EvaluatorType,
    get_environment,
    get_flops,
    get_model,
    get_trainer,
    init_logger,
    init_seed,
    set_color,
)

from recbole_multvae.commands.configure import make_config
from recbole_multvae.commands.refusals import refusals_of_recbole
from recbole_multvae.data.atomic_files import read_dataset
from recbole_multvae.errors import ConfigurationError, DataError, TrainingError, TrainingInterrupted
from recbole_multvae.evaluation import activity
from recbole_multvae.evaluation.activity import ActivityEvaluator, ActivitySettings
from recbole_multvae.training.checkpoints import with_whole_checkpoints
from recbole_multvae.training.processes import in_a_group


def run(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
    command_line: Mapping[str, str] | None = None,
    announce: Callable[[str], None] = lambda file: None,
) -> dict[str, Any]:
    """Train and evaluate a model in this process.

    Args:
        model: the name of a model, RecBole's or ours; None reads it from the configuration.
        dataset: the name of a data set; None reads it from the configuration.
        config_file_list: paths of YAML files.
        config_dict: further configuration keys.
        saved: whether to save the best model and to test it rather than the last.
        command_line: configuration keys that win over all others, their values as text; None reads ``sys.argv``, as
            RecBole does.
        announce: called with the path of the checkpoint before training.

    Returns:
        ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result`` and ``test_result``, as RecBole returns them.

    Raises:
        ConfigurationError: a key is misspelt or out of range, or RecBole refuses the configuration.
        DataError: RecBole cannot read the data set, or it lacks what the configuration asks for.
        TrainingError: the loss became NaN, or there is not enough memory.
        TrainingInterrupted: Ctrl-C; it is a ``KeyboardInterrupt``.
    """
    with refusals_of_recbole():
        config = make_config(model, dataset, config_file_list, config_dict, command_line)
        return _run(config, saved, announce)


def _run(config: Config, saved: bool, announce: Callable[[str], None]) -> dict[str, Any]:
    quantiles = ActivitySettings.from_config(config).activity_quantiles
    init_seed(config["seed"], config["reproducibility"])
    _init_logger(config)
    logger = getLogger()
    logger.info(sys.argv)
    logger.info(config)

    data = read_dataset(config)
    _check_data(data, config)
    _check_checkpoint_dir(config["checkpoint_dir"])
    logger.info(data)
    train_data, valid_data, test_data = data_preparation(config, data)

    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    network = get_model(config["model"])(config, train_data._dataset).to(config["device"])
    logger.info(network)
    flops = get_flops(network, data, config["device"], logger, construct_transform(config))
    logger.info(set_color("FLOPs", "blue") + f": {flops}")

    trainer_class = with_whole_checkpoints(get_trainer(config["MODEL_TYPE"], config["model"]))
    trainer = (trainer_class if config["single_spec"] else in_a_group(trainer_class))(config, network)
    by_activity = ActivityEvaluator(trainer.evaluator, quantiles, train_data, test_data) if quantiles else None
    show_progress = config["show_progress"]
    with _early_end_explained(trainer):
        announce(trainer.saved_model_file)
        best_score, best_result = trainer.fit(train_data, valid_data, saved=saved, show_progress=show_progress)
        trainer.evaluator = by_activity or trainer.evaluator
        test_result = trainer.evaluate(test_data, load_best_model=saved, show_progress=show_progress)

    logger.info(f"The running environment of this training is as follows:\n{get_environment(config).draw()}")
    logger.info(set_color("best valid ", "yellow") + f": {best_result}")
    logger.info(set_color("test result", "yellow") + f": {test_result}")
    if by_activity and config["local_rank"] == 0:
        _show_activity(by_activity.groups, trainer.saved_model_file)
    if not config["single_spec"]:
        torch.distributed.destroy_process_group()
    return {
        "best_valid_score": best_score,
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": best_result,
        "test_result": test_result,
    }


def _show_activity(groups: list[activity.Group], checkpoint: str) -> None:
    file = activity.draw(groups, checkpoint)
    getLogger().info(f"The test by activity of the users, drawn in {file}:\n{activity.table(groups)}")


def _init_logger(config: Config) -> None:
    try:
        # RecBole fails where another process makes this folder first.
        Path("log", config["model"]).mkdir(parents=True, exist_ok=True)
        init_logger(config)
    except OSError as error:
        raise ConfigurationError(f"RecBole cannot write its log into ./log: {error}; start in another folder.") from error


def _check_data(data: Any, config: Config) -> None:
    """Compare what the configuration asks for with what the data set has."""
    name, n_items, time = config["dataset"], data.item_num - 1, config["TIME_FIELD"]
    if len(data.inter_feat) < 2:
        raise DataError(f"The data set {name} has one interaction only: training and testing need two or more.")
    if config["eval_type"] == EvaluatorType.RANKING and max(config["topk"]) > n_items:
        raise ConfigurationError(
            f"topk={config['topk']!r} asks for more items than the {n_items} that the data set {name} has: lower it, and "
            "valid_metric with it."
        )
    if config["eval_args"]["order"] == "TO" and not config["benchmark_filename"] and time not in data.inter_feat:
        raise ConfigurationError(
            f"eval_args order 'TO' sorts by the column {time}, which is not loaded: name the column of times with "
            "TIME_FIELD, and load it with load_col."
        )


def _check_checkpoint_dir(folder: str) -> None:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigurationError(f"checkpoint_dir={folder!r} cannot be made or written: {error}") from error


@contextmanager
def _early_end_explained(trainer: Any) -> Iterator[None]:
    """Where training ends early, say why, and which checkpoint there is."""
    try:
        yield
    except KeyboardInterrupt:
        raise TrainingInterrupted(f"Interrupted: {best_state(trainer.saved_model_file)}") from None
    except (ValueError, RuntimeError) as error:
        reason = _reason(error, trainer.config)
        if reason is None:
            raise
        raise TrainingError(f"{reason}; {best_state(trainer.saved_model_file)}") from error


def _reason(error: Exception, config: Config) -> str | None:
    """Why training cannot go on, and what to change; None for a bug."""
    text = str(error)
    if text == "Training loss is nan":  # Trainer._check_nan.
        return (
            f"The loss became NaN: lower learning_rate={config['learning_rate']!r}, or limit the gradients, for example "
            "with clip_grad_norm={'max_norm': 5}"
        )
    if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in text:
        return (
            f"There is not enough memory: lower train_batch_size={config['train_batch_size']} or "
            f"eval_batch_size={config['eval_batch_size']}, or the sizes of the model"
        )
    if "SparseAdam does not support dense gradients" in text:
        return f"learner=sparse_adam is not for {config['model']}, whose gradients are dense: take learner=adam"
    return None


def best_state(checkpoint: str | None) -> str:
    """The end of a sentence about a training that ended early: where its best state is."""
    if checkpoint and Path(checkpoint).is_file():
        return f"the best state so far is in {checkpoint}."
    return "no checkpoint has been written."
