"""The second training of ``refit: True``: a new model on training and validation, for the updates that were best.

The first training is one like any other. Its best validation decides the number of updates. All else stays as it was: the
seed, the values of keys that were left at ``auto``, the learning rate, and the schedule of beta in updates. Nothing is left
to validate the second model.

A configuration with ``refit: True`` means that the training part has the validation in it (:mod:`..data.merging`), wherever
the data are split. The first training therefore has ``refit: False``, and each of the two checkpoints gives its own data
again.
"""

from __future__ import annotations

import copy
import gc
from dataclasses import dataclass
from logging import getLogger
from math import ceil
from typing import Any

from recbole.config import Config
from recbole.data.utils import create_samplers, get_dataloader
from recbole.utils import ModelType, init_seed

from recbole_multvae.config.refit import refitted_file
from recbole_multvae.config.run_settings import RunSettings
from recbole_multvae.data.atomic_files import read_dataset
from recbole_multvae.data.click_order import reads_order
from recbole_multvae.data.merging import merge
from recbole_multvae.data.protocols import chosen
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.experiment.data_checks import check_popular
from recbole_multvae.experiment.preparation import Experiment, make_model, trainer_class
from recbole_multvae.models import ClickRecommender
from recbole_multvae.training.fixed_updates import FixedUpdates


@dataclass(frozen=True)
class Refit:
    """The second training, before it is done. It holds neither the first model nor its trainer.

    Attributes:
        config: that of the first training, with ``refit: True``.
        parts: the data sets for training with the validation, an empty validation, and the test.
        updates: how many batches to train on, 0 where the start was best (``warm_start``); None for a closed form, which
            takes one epoch.
        chosen: the checkpoint of the first training.
        score: its best validation.
    """

    config: Config
    parts: list[Any]
    updates: int | None
    chosen: str
    score: float

    def fit(self) -> Experiment:
        """Make the data and a new model, train it, and save it beside the first one. Returns what can be tested.

        Raises:
            TrainingError: the loss became NaN, or there is not enough memory.
            TrainingInterrupted: Ctrl-C; it is a ``KeyboardInterrupt``.
        """
        gc.collect()  # A trainer and its methods may refer to each other; the first model may be large.
        train_data, valid_data, test_data = self._loaders()
        trainer = self._trainer(train_data)
        experiment = Experiment(self.config, train_data, valid_data, test_data, trainer, chosen=self.chosen)
        experiment.fit()
        return experiment

    def _trainer(self, train_data: Any) -> Any:
        config, epoch = self.config, len(train_data)
        updates = epoch if self.updates is None else self.updates
        config["epochs"] = ceil(updates / epoch)
        length = "one epoch" if self.updates is None else f"{updates} updates, {updates / epoch:.3g} epochs of {epoch},"
        getLogger().info(
            f"Refit: a new model learns from the {len(self.parts[0]):,} interactions of training and validation for "
            f"{length} without validation."
        )
        cls = trainer_class(config)
        trainer: Any = type(cls.__name__, (FixedUpdates, cls), {})(config, make_model(config, train_data))
        trainer.updates, trainer.best_valid_score = updates, self.score
        trainer.saved_model_file = refitted_file(self.chosen)
        return trainer

    def _loaders(self) -> list[Any]:
        """The loaders of the parts, as RecBole's ``data_preparation`` makes them."""
        config, samplers = self.config, create_samplers(self.config, self.parts[0], self.parts)
        return [
            get_dataloader(config, phase)(config, part, sampler, shuffle=phase == "train" and config["shuffle"])
            for phase, part, sampler in zip(("train", "valid", "test"), self.parts, samplers, strict=True)
        ]


def take(config: Config, saved: bool = True) -> bool:
    """Whether a configuration asks for a refit. It is then made that of the first training: ``refit: False``.

    Args:
        config: changed in place.
        saved: whether the first training saves its best model.

    Raises:
        ConfigurationError: it does not, so that nothing tells which updates were best.
    """
    if not RunSettings.from_config(config).refit:
        return False
    if not saved:
        raise ConfigurationError("refit=True needs the checkpoint of the best validation: leave out saved=False.")
    config["refit"] = False
    return True


def check(experiment: Experiment) -> None:
    """Refuse data that cannot be merged, before the first training, and log what will follow it.

    Raises:
        DataError: there is no validation, or a user would have every item that may be drawn as a negative.
    """
    experiment.check_part("validation", "refit=True")
    check_popular(merge(_parts(experiment)), experiment.config)
    getLogger().info(
        "refit=True: the training that begins now chooses the number of updates; a new model is then trained on training "
        "and validation."
    )


def plan(experiment: Experiment) -> Refit:
    """The refit of a training that is over. Drop the experiment before :meth:`Refit.fit`: its model may be large."""
    trainer, config = experiment.trainer, copy.copy(experiment.config)
    keys = trainer.model.refit_keys() if isinstance(trainer.model, ClickRecommender) else {}
    config.final_config_dict = {**config.final_config_dict, **keys, "refit": True}
    closed_form = trainer.model.type == ModelType.TRADITIONAL
    updates = None if closed_form else (trainer.saved_epoch + 1) * len(experiment.train_data)
    parts = _split_again(config) if _needs_times(config) else merge(_parts(experiment))
    return Refit(config, parts, updates, trainer.saved_model_file, trainer.best_valid_score)


def _needs_times(config: Config) -> bool:
    """Whether the merged parts depend on exact times, which the parts of the first training do not have any more."""
    protocol = chosen(config)
    return bool(protocol and protocol.by_time) or reads_order(config)


def _split_again(config: Config) -> list[Any]:
    """The parts with ``refit: True``, from the files, as whoever loads the checkpoint gets them."""
    init_seed(config["seed"], config["reproducibility"])
    parts: list[Any] = read_dataset(config).build()
    return parts


def _parts(experiment: Experiment) -> list[Any]:
    return [loader.dataset for loader in (experiment.train_data, experiment.valid_data, experiment.test_data)]
