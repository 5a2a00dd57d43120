"""The rows of a leaderboard with their configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.data.dataloader import UserDataLoader
from recbole.data.utils import get_dataloader
from recbole.utils import EvaluatorType, ModelType, get_model

from recbole_multvae.config import shipped
from recbole_multvae.config.evaluation_keys import empty_parts
from recbole_multvae.config.yaml_files import read_keys
from recbole_multvae.data.digests import files_of
from recbole_multvae.errors import ConfigurationError, NotApplicableError
from recbole_multvae.evaluation.activity import ActivitySettings
from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.leaderboard.entries import Entry
from recbole_multvae.leaderboard.report import PROTOCOL
from recbole_multvae.leaderboard.runs import fingerprint
from recbole_multvae.leaderboard.space import Params
from recbole_multvae.leaderboard.task import Task

#: Groups of users by activity where ``activity_quantiles`` is not given.
QUANTILES = 4


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        entry: how it is named.
        dataset: the name of the data set.
        keys: the keys of the command line, their values as text.
        config: RecBole's, of the row as it is configured.
    """

    entry: Entry
    dataset: str
    keys: Mapping[str, str]
    config: Config

    @classmethod
    def of(cls, entry: Entry, dataset: str, keys: Mapping[str, str], params: Params | None = None) -> Row:
        """The row with some hyper-parameters.

        Raises:
            ConfigurationError: a configuration has a mistake, or the model is no general recommender.
            NotApplicableError: the protocol is not for the model.
        """
        kind = get_model(entry.model).type
        if kind not in (ModelType.GENERAL, ModelType.TRADITIONAL):
            raise ConfigurationError(
                f"--model={entry.model} is one of RecBole's {kind.name.lower()} models, which learn from other data: a "
                "leaderboard takes general recommenders."
            )
        defaults = _protocol_of(dataset, entry.files) | (params or {})
        config = make_config(entry.model, dataset, entry.files, defaults, keys)
        check_compares(config)
        return cls(entry, dataset, keys, config)

    def task(self, folder: Path, seed: int, params: Params, keys: Mapping[str, str]) -> Task:
        """What a run is told.

        Args:
            folder: of the results.
            seed: RecBole's.
            params: hyper-parameters that a search found.
            keys: further keys, which those of the command line go before.
        """
        quantiles = ActivitySettings.from_config(self.config).activity_quantiles or QUANTILES
        defaults = _protocol_of(self.dataset, self.entry.files) | self._defaults() | params
        given = {**keys, **{key: value for key, value in self.keys.items() if key != "seed"}}
        entry = self.entry
        task = Task(entry.name, entry.model, self.dataset, list(entry.files), defaults, given, seed, "", quantiles)
        data = files_of(self.dataset, self.config["data_path"])
        digest = fingerprint(task, [read_keys(file) for file in entry.files], data)
        return replace(task, result=str(folder / f"{entry.file_name}-{seed}-{digest}.json"))

    def settings(self) -> dict[str, Any]:
        """What the report says of the settings: what the user gave, what was set for the model, and ``eval_memory``."""
        given = self.config.external_config_dict
        hidden = ("checkpoint_dir", "data_path", "show_progress", "seed", "state")
        shown = {key: self.config[key] for key in given if key in self.config.final_config_dict and key not in hidden}
        return {**shown, **self._defaults(), "eval_memory": self.config["eval_memory"]}

    def _defaults(self) -> dict[str, Any]:
        """What a user of RecBole would have to know of the model, where the user did not name it."""
        defaults: dict[str, Any] = {}
        if issubclass(get_dataloader(self.config, "train"), UserDataLoader):
            defaults["train_neg_sample_args"] = None  # Auto-encoders read whole users: there are no negatives to draw.
        if self.config["MODEL_TYPE"] == ModelType.TRADITIONAL:
            defaults["epochs"] = 1
        return {key: value for key, value in defaults.items() if key not in self.config.external_config_dict}


def check_compares(config: Config) -> None:
    """Refuse what a leaderboard has no columns for, and a test that will be empty, before anything is trained.

    Raises:
        ConfigurationError: says what to change.
    """
    if config["eval_type"] == EvaluatorType.VALUE:
        raise ConfigurationError(
            f"metrics={config['metrics']!r} compare predictions with labels, and a leaderboard compares rankings: take "
            "metrics such as ['NDCG', 'Recall'], or run one model without --seeds."
        )
    if "test" in empty_parts(config):
        raise ConfigurationError(
            f"eval_args split={config['eval_args']['split']!r} leaves no test, which a leaderboard needs: hold some out, "
            "for example with {'RS': [8, 1, 1]}."
        )


def configure(entries: list[Entry], dataset: str, keys: Mapping[str, str]) -> tuple[dict[str, Row], dict[str, str]]:
    """The rows by their names, and why the protocol is not for the entries that have none.

    Raises:
        ConfigurationError: a configuration has a mistake, a model is no general recommender, or no row is left.
    """
    rows, reasons = {}, {}
    for entry in entries:
        try:
            rows[entry.name] = Row.of(entry, dataset, keys)
        except NotApplicableError as error:
            reasons[entry.name] = str(error)
    if not rows:
        names = ",".join(entry.name for entry in entries)
        raise ConfigurationError(f"No model of --model={names} can be evaluated: {'; '.join(reasons.values())}")
    return rows, reasons


def _protocol_of(dataset: str, files: Sequence[str]) -> dict[str, Any]:
    """The protocol that our models take from the ready configuration of this name: for all models, unless a file says it."""
    ready = shipped.of_dataset(dataset)
    given = {key for file in files for key in read_keys(file)}
    return {key: value for key, value in read_keys(ready).items() if key in PROTOCOL and key not in given} if ready else {}
