"""From a configuration to an experiment that can be trained and tested: data, split, model and trainer.

The steps, their order and their random seeds are those of ``recbole.quick_start.run_recbole`` in RecBole 1.2.1.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.data import data_preparation
from recbole.data.transform import construct_transform
from recbole.trainer import Trainer
from recbole.utils import get_flops, get_model, get_trainer, init_logger, init_seed, set_color

from recbole_multvae.data.atomic_files import read_dataset
from recbole_multvae.errors import ConfigurationError, DataError
from recbole_multvae.evaluation.many_users import RanksManyUsers
from recbole_multvae.experiment.data_checks import check_data, check_parts
from recbole_multvae.experiment.early_end import explain_early_end
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
        chosen: the checkpoint of the training that this one repeats with more data; None: there is none.
    """

    config: Config
    train_data: Any
    valid_data: Any
    test_data: Any
    trainer: Any
    chosen: str | None = None

    def check_part(self, name: str, reader: str) -> None:
        """Refuse an empty part before anything is trained.

        Args:
            name: validation or test.
            reader: what needs the part, for the message.

        Raises:
            DataError: it is empty.
        """
        if not len({"validation": self.valid_data, "test": self.test_data}[name].dataset):
            raise DataError(
                f"The split leaves no interaction for the {name}, which {reader} needs: hold some out, for example with "
                "eval_args={'split': {'RS': [8, 1, 1]}}."
            )

    def fit(self, saved: bool = True) -> tuple[float, dict[str, float]]:
        """Train. Returns the best validation: the value of ``valid_metric``, and all metrics.

        Args:
            saved: whether to save the best model.

        Raises:
            TrainingError: the loss became NaN, or there is not enough memory.
            TrainingInterrupted: Ctrl-C; it is a ``KeyboardInterrupt``.
        """
        with explain_early_end(self.trainer, self.config, self.chosen):
            return self.trainer.fit(
                self.train_data, self.valid_data, saved=saved, show_progress=self.config["show_progress"]
            )

    def on_validation(self, tell: Callable[[int, dict[str, float]], None]) -> None:
        """Call ``tell`` after each validation with the number of the epoch, from 0, and the metrics by name."""
        trainer, validate = self.trainer, self.trainer._valid_epoch

        def validate_and_tell(*args: Any, **kwargs: Any) -> Any:
            score, metrics = validate(*args, **kwargs)
            # A sum and RecBole's decision trees have no epochs.
            tell(max(getattr(trainer, "train_loss_dict", ()), default=0), dict(metrics))
            return score, metrics

        trainer._valid_epoch = validate_and_tell

    def test(self, saved: bool = True) -> dict[str, float]:
        """The metrics of the test, by name; nothing if the test is empty. Errors are those of :meth:`fit`.

        Args:
            saved: whether to test the best model rather than the last.
        """
        with explain_early_end(self.trainer, self.config, self.chosen):
            return self.trainer.evaluate(self.test_data, load_best_model=saved, show_progress=self.config["show_progress"])

    def save_test_result(self, result: dict[str, float] | None) -> None:
        """Add the metrics of :meth:`test` to the checkpoint. RecBole's decision trees save other files, which have none."""
        if isinstance(self.trainer, AtomicCheckpoints):
            self.trainer.save_test_result(result)


def prepare(config: Config) -> Experiment:
    """Read the data, split them, and make the model and its trainer.

    Splitting the data also sets the keys of ``config`` that were left at ``auto``.

    Raises:
        ConfigurationError: RecBole refuses the configuration, or a folder cannot be written.
        DataError: RecBole cannot read the data set, or it does not fit the configuration.
        TrainingError: a model of RecBole needs more memory than is available.
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

    model = make_model(config, train_data)
    logger.info(model)
    flops = get_flops(model, data, config["device"], logger, construct_transform(config))
    logger.info(set_color("FLOPs", "blue") + f": {flops}")
    return Experiment(config, train_data, valid_data, test_data, trainer_class(config)(config, model))


def make_model(config: Config, train_data: Any) -> Any:
    """An untrained model for the data of a loader, on the device of the configuration."""
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    return get_model(config["model"])(config, train_data._dataset).to(config["device"])


def _init_logger(config: Config) -> None:
    try:
        # RecBole fails if another process makes this folder first.
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


def trainer_class(config: Config) -> type[Any]:
    """RecBole's trainer of the model, with what this package adds to it.

    The trainer of RecBole's decision trees is not a ``Trainer``, and stays as it is.
    """
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])
    if issubclass(trainer, Trainer) and not issubclass(trainer, FamilyTrainer):
        trainer = type(trainer.__name__, (AtomicCheckpoints, RanksManyUsers, trainer), {})
    return trainer if config["single_spec"] else in_a_group(trainer)
