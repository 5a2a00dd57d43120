"""What one run is made of, and what a user is told where it ends early.

The steps, their order and their random seeds are those of ``recbole.quick_start.run_recbole`` in RecBole 1.2.1; its module
is not imported, because it imports ray, which only hyper-parameter search needs.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from recbole.data import data_preparation
from recbole.data.transform import construct_transform
from recbole.trainer import Trainer
from recbole.utils import get_flops, get_model, get_trainer, init_logger, init_seed, set_color

from recbole_multvae.data.atomic_files import read_dataset
from recbole_multvae.errors import ConfigurationError, DataError, TrainingError, TrainingInterrupted
from recbole_multvae.evaluation.many_users import RanksManyUsers
from recbole_multvae.experiment.data_checks import check_data, check_parts
from recbole_multvae.training.checkpoints import AtomicCheckpoints
from recbole_multvae.training.processes import in_a_group
from recbole_multvae.training.trainer import FamilyTrainer


@dataclass(frozen=True)
class Experiment:
    """What RecBole makes of a configuration.

    Attributes:
        config: RecBole's.
        train_data: the loader of training; the others are those of validation and of the test.
        trainer: with the model, untrained.
    """

    config: Config
    train_data: Any
    valid_data: Any
    test_data: Any
    trainer: Any

    def fit(self, saved: bool = True) -> tuple[float, dict[str, float]]:
        """Train. Returns the best validation: the value of ``valid_metric``, and all metrics.

        Args:
            saved: whether to save the best model.

        Raises:
            TrainingError: the loss became NaN, or there is not enough memory.
            TrainingInterrupted: Ctrl-C; it is a ``KeyboardInterrupt``.
        """
        with self._early_end_explained():
            return self.trainer.fit(
                self.train_data, self.valid_data, saved=saved, show_progress=self.config["show_progress"]
            )

    def test(self, saved: bool = True) -> dict[str, float]:
        """The metrics of the test, by name; errors are those of :meth:`fit`.

        Args:
            saved: whether to test the best model rather than the last.
        """
        with self._early_end_explained():
            return self.trainer.evaluate(self.test_data, load_best_model=saved, show_progress=self.config["show_progress"])

    def check_part(self, name: str, what: str) -> None:
        """Refuse an empty part before anything is trained.

        Args:
            name: validation or test.
            what: reads the part, for the message.

        Raises:
            DataError: it is empty.
        """
        if not len({"validation": self.valid_data, "test": self.test_data}[name].dataset):
            raise DataError(
                f"The split leaves no interaction for the {name}, which {what} needs: hold some out, for example with "
                "eval_args={'split': {'RS': [8, 1, 1]}}."
            )

    @contextmanager
    def _early_end_explained(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            raise TrainingInterrupted(f"Interrupted: {best_state(self.trainer.saved_model_file)}") from None
        except (ValueError, RuntimeError) as error:
            reason = _reason(error, self.config)
            if reason is None:
                raise
            raise TrainingError(f"{reason}; {best_state(self.trainer.saved_model_file)}") from error


def prepare(config: Config) -> Experiment:
    """Read the data, split them, and make the model and its trainer.

    Raises:
        ConfigurationError: RecBole refuses the configuration, or a folder cannot be written.
        DataError: RecBole cannot read the data set, or it lacks what the configuration asks for.
    """
    init_seed(config["seed"], config["reproducibility"])
    _init_logger(config)
    logger = getLogger()
    logger.info(sys.argv)
    logger.info(config)

    data = read_dataset(config)
    check_data(data, config)
    _check_checkpoint_dir(config["checkpoint_dir"])
    logger.info(data)
    train_data, valid_data, test_data = data_preparation(config, data)
    check_parts([loader._dataset for loader in (train_data, valid_data, test_data)], config)

    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    network = get_model(config["model"])(config, train_data._dataset).to(config["device"])
    logger.info(network)
    flops = get_flops(network, data, config["device"], logger, construct_transform(config))
    logger.info(set_color("FLOPs", "blue") + f": {flops}")
    return Experiment(config, train_data, valid_data, test_data, _trainer_class(config)(config, network))


def _trainer_class(config: Config) -> type[Any]:
    """RecBole's trainer of the model, with what this package adds; its decision trees are no ``Trainer`` and stay alone."""
    found = get_trainer(config["MODEL_TYPE"], config["model"])
    if issubclass(found, Trainer) and not issubclass(found, FamilyTrainer):
        found = type(found.__name__, (AtomicCheckpoints, RanksManyUsers, found), {})
    return found if config["single_spec"] else in_a_group(found)


def _init_logger(config: Config) -> None:
    try:
        # RecBole fails where another process makes this folder first.
        Path("log", config["model"]).mkdir(parents=True, exist_ok=True)
        init_logger(config)
    except OSError as error:
        raise ConfigurationError(f"RecBole cannot write its log into ./log: {error}; start in another folder.") from error


def _check_checkpoint_dir(folder: str) -> None:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigurationError(f"checkpoint_dir={folder!r} cannot be made or written: {error}") from error


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
