"""``warm_start``: a training that goes on from the model of an earlier one, with a data set that has other items and users.

The first layer and the last have a row for each item. Rows are matched by the tokens of the items, which a checkpoint has;
all other weights are taken as they are. New items have initial weights. Users have no weights.

What follows depends on the data. With about as many clicks as the checkpoint has learned from, they are taken for all clicks
so far. A model whose training just goes on with them ends worse than one that begins anew (Ash and Adams, "On Warm-Starting
Neural Network Training", NeurIPS 2020). So the weights are first drawn towards initial ones, and average and optimiser begin
anew. With few clicks, as those of one day, weights, average and optimiser go on as they were, and less is forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from recbole.trainer import Trainer
from recbole.utils import ModelType
from torch import Tensor

from recbole_multvae.config.automatic import AUTO
from recbole_multvae.config.keys import recbole_keys
from recbole_multvae.config.run_settings import RunSettings
from recbole_multvae.data.interaction_counts import amount
from recbole_multvae.data.known_items import GROWN
from recbole_multvae.data.protocols import chosen
from recbole_multvae.errors import CheckpointError, ConfigurationError
from recbole_multvae.training.earlier import Earlier

#: Keys that decide which weights there are, and what they mean: AutoRec's ``targets`` says whether they read clicks or
#: ratings. The key ``target`` of MultVAE and MultDAE is not among them: it chooses what a network of the same clicks learns.
_OF_THE_WEIGHTS = ("latent_dimension", "mlp_hidden_size", "decoder_hidden_size", "hid_activation", "targets")
#: ``stopping_step``, unless the user sets it: the best validation comes early (benchmarks/warm_start.py).
PATIENCE = 3
#: The share of a weight that is then kept; the rest is that of an initial weight.
KEPT = 0.5
_OF_RECBOLE = "it is RecBole's: take MultVAE, MultDAE or AutoRec"


def begin(config: Any, model_class: Any) -> None:
    """Prepare a configuration with ``warm_start``: the settings of the model that it does not set are the checkpoint's.

    Args:
        config: RecBole's ``Config`` while it is made; it gets the attribute of :mod:`..data.known_items`.
        model_class: of the model that will be trained.

    Raises:
        CheckpointError: see :meth:`Earlier.read`.
        ConfigurationError: the model cannot go on from a checkpoint, or a key asks for other weights than it has.
    """
    user_keys = config.external_config_dict
    settings = RunSettings.from_config(user_keys)
    file, member = settings.warm_start, settings.warm_start_member
    if file is None:
        return
    closed_form = member is not None and model_class.type == ModelType.TRADITIONAL
    if not closed_form and (because := getattr(model_class, "no_warm_start", _OF_RECBOLE)):
        raise ConfigurationError(f"warm_start={file!r} is not for {model_class.__name__}, as {because}.")
    if user_keys.get("choose_beta"):
        raise ConfigurationError(
            f"choose_beta=True raises beta from 0, and warm_start={file!r} goes on with its last value: leave one out."
        )
    earlier = Earlier.read(file, model_class.__name__, member)
    keys = _settings_of(model_class, earlier.keys, config.internal_config_dict)
    if closed_form:
        keys["warm_start_clicks"] = earlier.saved["other_parameter"].get("training_clicks", 0)
    else:
        _check_weights(file, keys, user_keys)
    go_on_from(earlier, keys, config)


def go_on_from(earlier: Earlier, keys: Mapping[str, Any], config: Any) -> None:
    """Give a configuration the items of a checkpoint, and keys that the user may set.

    Args:
        earlier: the checkpoint.
        keys: those of the model, unless the user sets them.
        config: see :func:`begin`.
    """
    config.internal_config_dict.update(keys, warm_start_sha256=earlier.sha256, stopping_step=PATIENCE)
    config.known_items = earlier.item_tokens
    _order_by_time(config.internal_config_dict, config.external_config_dict)


def _settings_of(model_class: Any, saved: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the model in the configuration of a checkpoint; a model of RecBole has those of its YAML file."""
    if hasattr(model_class, "read_settings"):
        settings: dict[str, Any] = model_class.read_settings(saved).model_dump(exclude={"choose_beta"})
        return settings
    return {key: saved[key] for key in (defaults.keys() & saved.keys()) - recbole_keys()}


def _check_weights(file: str, keys: Mapping[str, Any], user_keys: dict[str, Any]) -> None:
    """Refuse keys that ask for other weights than those of the checkpoint, which has ``keys``."""
    for key in user_keys.keys() & keys.keys() & set(_OF_THE_WEIGHTS):
        if user_keys[key] == AUTO:
            user_keys[key] = keys[key]
        elif user_keys[key] != keys[key]:
            raise ConfigurationError(
                f"{key}={user_keys[key]!r} does not fit warm_start={file!r}, which was trained with {keys[key]!r}: leave "
                "the key out, and the checkpoint's value is taken."
            )


def _order_by_time(defaults: dict[str, Any], user_keys: dict[str, Any]) -> None:
    """Validate on the newest clicks, unless the user says otherwise: the checkpoint has not learned from them."""
    keys = {"benchmark_filename": None, **defaults, **user_keys}
    if not keys["benchmark_filename"] and chosen(keys) is None:
        args = {**defaults["eval_args"], "order": "TO", **(user_keys.get("eval_args") or {})}
        (user_keys if "eval_args" in user_keys else defaults)["eval_args"] = args


def _draws(config: Any) -> bool:
    """Whether a configuration draws its validation at random, from all clicks or from all users."""
    if config["benchmark_filename"]:
        return False
    protocol = chosen(config)
    return not protocol.by_time if protocol else config["eval_args"]["order"] != "TO"


class Rows:
    """Where the items of a checkpoint are in the model that is trained now.

    Args:
        before: the tokens of the items of the checkpoint, in the order of its rows.
        now: those of the model, likewise.

    Attributes:
        places: the rows of the model whose items are in the checkpoint, int64 [M].
        sources: the rows of the checkpoint with the same items, int64 [M].
        new, gone: how many items are only in the model, and only in the checkpoint.
        total: how many are in the checkpoint.
    """

    def __init__(self, before: list[str], now: list[str]) -> None:
        rows = {token: row for row, token in enumerate(before)}
        pairs = [(place, rows[token]) for place, token in enumerate(now) if token in rows]
        self.places, self.sources = torch.tensor(pairs, dtype=torch.long).view(-1, 2).unbind(dim=1)
        self.total, self.new, self.gone = len(before), len(now) - len(pairs), len(before) - len(pairs)

    def move(self, saved: Tensor, start: Tensor) -> Tensor:
        """The rows of the checkpoint in their new places, in a copy of ``start``, [I, ...]."""
        moved = start.clone()
        moved[self.places] = saved[self.sources].to(moved)
        return moved

    def move_state(self, saved: Mapping[str, Any], start: Tensor) -> dict[str, Any]:
        """An optimiser's state of a table: moments of items that the checkpoint does not have are 0."""
        empty, shape = torch.zeros_like(start), (self.total, *start.shape[1:])
        return {
            name: self.move(value, empty) if getattr(value, "shape", None) == shape else value
            for name, value in saved.items()
        }


class WarmStart(Trainer):
    """Overrides for :class:`.trainer.FamilyTrainer`: a training with ``warm_start`` begins at the checkpoint.

    The state before the first update is validated and saved, so that it is kept unless a later one is better.
    """

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        # The closed form of a member of a sum is computed anew.
        self._begins_at: str | None = None if model.type == ModelType.TRADITIONAL else config["warm_start"]
        #: Initial weights, until those of the checkpoint are drawn towards them.
        self._initial = self._weights() if self._begins_at else []

    def fit(
        self, train_data: Any, valid_data: Any = None, verbose: bool = True, saved: bool = True, *args: Any, **kwargs: Any
    ) -> Any:  # fmt: skip
        """Train.

        Raises:
            CheckpointError: the checkpoint has changed since the run began, or its weights do not fit the model.
        """
        if self._begins_at is not None:
            self._take(Earlier.read(self._begins_at, type(self.model).__name__, self.config["warm_start_member"]))
            self._begins_at = None
            if valid_data and self.config["eval_step"] > 0:  # RecBole does not validate with epochs=0.
                self._validate_start(train_data, valid_data, verbose, saved)
        if self._initial and self.start_epoch < self.epochs:
            self._shrink()
        return super().fit(train_data, valid_data, verbose, saved, *args, **kwargs)

    def resume_checkpoint(self, resume_file: Any) -> None:
        """Continue a run from its own checkpoint, which may be the state before the first update.

        Its weights are then drawn towards those that the model has here, before any training.
        """
        self._begins_at, self._initial = None, self._weights()
        super().resume_checkpoint(resume_file)

    def _weights(self) -> list[Tensor]:
        return [weight.detach().clone() for weight in self.model.parameters()]

    def _take(self, earlier: Earlier) -> None:
        """Give the model the weights of the checkpoint."""
        if earlier.sha256 != self.config["warm_start_sha256"]:
            raise CheckpointError(f"warm_start={earlier.file!r} has changed since the run began: start the run again.")
        rows, layers = Rows(earlier.item_tokens, self.model.item_tokens[1:]), self.model.spec()["layers"]
        tables = [layers[0]["weight"], layers[-1]["weight"], layers[-1]["bias"]]
        self.model.load_state_dict(self._moved(earlier.saved["state_dict"], rows, tables))
        added = earlier.saved["other_parameter"]
        self.model.go_on(added.get("update", 0))
        self.logger.info(
            f"The training goes on from {earlier.file} (SHA-256 {earlier.sha256}): {amount(len(rows.places), 'item')} kept, "
            f"{rows.new:,} new, {rows.gone:,} gone."
        )
        if len(self.model.training_clicks.columns) < GROWN * added.get("training_clicks", 0):
            self._initial = []
            self._move_state(earlier, rows, tables)
            return
        self._restart_average()
        if any(_draws(config) for config in (earlier.saved["config"], self.config)):
            self.logger.warning(
                f"{earlier.file} may have learned from clicks of the validation, so that it looks better than it is and is "
                "kept: train both models with eval_args order TO or split GT, or this one on new clicks only."
            )

    def _moved(self, saved: Mapping[str, Any], rows: Rows, tables: list[str]) -> dict[str, Tensor]:
        """The weights of a checkpoint for the items of the model; those of new items stay as they are.

        Raises:
            CheckpointError: the model has other weights than the checkpoint.
        """
        moved = {}
        for name, weight in self.model.state_dict().items():
            value, table = saved.get(name), name in tables
            expected = [rows.total, *weight.shape[1:]] if table else list(weight.shape)
            if not isinstance(value, Tensor) or list(value.shape) != expected:
                shape = list(value.shape) if isinstance(value, Tensor) else "not there"
                raise CheckpointError(
                    f"The weights {name} of warm_start={self.config['warm_start']!r} are {shape}, and this model needs "
                    f"{expected}: name a checkpoint of the same model with the same settings."
                )
            moved[name] = rows.move(value, weight) if table else value
        return moved

    def _move_state(self, earlier: Earlier, rows: Rows, tables: list[str]) -> None:
        """Go on with the last weights beside the averaged ones, and with the optimiser's state if it is the same one.

        A sum keeps neither of them: its members go on from averaged weights, and with a new optimiser.
        """
        if averaging := earlier.saved.get("averaging"):
            averaging = {**averaging, "weights": self._moved(averaging["weights"], rows, tables)}
        self._resume({"averaging": averaging})
        saved, parts = earlier.saved.get("optimizer"), getattr(self.optimizer, "parts", None)
        if saved is None or earlier.keys.get("learner") != self.config["learner"]:
            return
        of_items = {id(parameter) for name, parameter in self.model.named_parameters() if name in tables}
        if parts is None:
            state = moved_state(self.optimizer, saved, rows, of_items)
        else:
            state = {name: moved_state(part, saved[name], rows, of_items) for name, part in parts.items()}
        self.optimizer.load_state_dict(state)

    def _validate_start(self, train_data: Any, valid_data: Any, verbose: bool, saved: bool) -> None:
        self.eval_collector.data_collect(train_data)
        self.best_valid_score, self.best_valid_result = self._valid_epoch(valid_data)
        if saved:
            self._save_checkpoint(-1, verbose=verbose)
        if verbose:
            self.logger.info(f"Before the first update, {self.config['valid_metric']} is {self.best_valid_score:.4f}.")

    @torch.no_grad()
    def _shrink(self) -> None:
        """Draw the weights towards initial ones."""
        for weight, initial in zip(self.model.parameters(), self._initial, strict=True):
            weight.lerp_(initial, 1 - KEPT)
        self._initial = []
        self._restart_average()


def moved_state(optimizer: Any, saved: Mapping[str, Any], rows: Rows, tables: set[int]) -> dict[str, Any]:
    """The state of an optimiser of torch for the items of the model.

    Args:
        optimizer: of the model's parameters; its hyper-parameters stay.
        saved: the ``state_dict`` of the same optimiser at the end of the earlier training.
        rows: where the items are.
        tables: the ``id`` of each parameter with a row for each item.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {
        number: rows.move_state(values, parameters[number]) if id(parameters[number]) in tables else values
        for number, values in saved["state"].items()
    }
    return {**optimizer.state_dict(), "state": state}
