"""The rows of a leaderboard: models with their configuration files, as ``--model`` and ``--config_files`` name them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.data.dataloader import UserDataLoader
from recbole.data.utils import get_dataloader
from recbole.utils import EvaluatorType, ModelType, get_model

from recbole_multvae.config import shipped
from recbole_multvae.config.evaluation_keys import empty_parts
from recbole_multvae.config.keys import recbole_keys
from recbole_multvae.config.run_settings import RunSettings
from recbole_multvae.config.settings import RecommenderSettings, Settings
from recbole_multvae.config.yaml_files import read_keys
from recbole_multvae.data.digests import files_of
from recbole_multvae.data.protocols import chosen
from recbole_multvae.errors import ConfigurationError, NotApplicableError
from recbole_multvae.experiment.configuration import make_config, model_names
from recbole_multvae.leaderboard.report import PROTOCOL
from recbole_multvae.leaderboard.run_inputs import DISPLAY, RunInputs, fingerprint
from recbole_multvae.sums.member import check_member
from recbole_multvae.sums.model import SumSettings, named_scales, named_weights
from recbole_multvae.sums.trainer import check_choice_of_weights
from recbole_multvae.sums.warm_start import check_members

#: Groups of users by activity unless ``activity_quantiles`` sets their number.
QUANTILES = 4
#: The keys of a sum besides RecBole's.
SUM_KEYS: tuple[type[Settings], ...] = (SumSettings, RunSettings)
#: Keys that the report does not list among a row's settings.
HIDDEN = ("checkpoint_dir", "data_path", "seed", *DISPLAY)


@dataclass(frozen=True)
class Row:
    """One row: a model with its configuration.

    Attributes:
        name: the row's name in the report: the model, ``model:file``, or such names with + between.
        model: the name of the model; ``Sum`` with members.
        files: the configuration files, in the order in which they are read.
        dataset: the name of the data set.
        keys: the configuration keys of the command line, their values as text.
        members: the rows of the models that a sum adds.
    """

    name: str
    model: str
    files: tuple[str, ...]
    dataset: str
    keys: Mapping[str, str]
    members: tuple[Row, ...] = ()

    @property
    def file_name(self) -> str:
        """The row's name as part of a file name."""
        return self.name.replace(":", "-")

    @cached_property
    def config(self) -> Config:
        """RecBole's configuration of the row. Errors are those of :meth:`configure`."""
        return self.configure({})

    def configure(self, params: Mapping[str, Any]) -> Config:
        """RecBole's configuration of the row with some hyper-parameters.

        Raises:
            ConfigurationError: a configuration has a mistake, or the model is no general recommender or cannot be added.
            NotApplicableError: the protocol does not suit the model.
        """
        kind = get_model(self.model).type
        if kind not in (ModelType.GENERAL, ModelType.TRADITIONAL, ModelType.SEQUENTIAL):
            raise ConfigurationError(
                f"--model={self.model} is one of RecBole's {kind.name.lower()} models, which learn from other data: a "
                "leaderboard takes general recommenders, and sequential ones with split GT."
            )
        defaults = {**self._protocol, **self._file_keys, **params}
        config = make_config(self.model, self.dataset, self._config_files, defaults, self._own_keys)
        if kind is ModelType.SEQUENTIAL and not chosen(config):
            raise NotApplicableError(
                f"{self.model} is one of RecBole's sequential models, which RecBole tests on each click by itself: take "
                "eval_args split GT, where all models have the same test."
            )
        _check_comparable(config)
        if self.members:
            self._check_members(config)
        return config

    def on_split(self, seed: int) -> Row:
        """The row with the split that a seed draws, whatever the seed of the training."""
        keys = {**self.keys, "split_seed": str(seed)}
        return replace(self, keys=keys, members=tuple(member.on_split(seed) for member in self.members))

    def as_member(self) -> Row:
        """The row as a member of a sum: with ``warm_start``, it goes on from its own part of the sum's checkpoint."""
        keys = {key: value for file in self.files for key, value in read_keys(file).items()} | {**self.keys}
        return replace(self, keys={**self.keys, "warm_start_member": self.name}) if keys.get("warm_start") else self

    def _check_members(self, config: Config) -> None:
        """Refuse members that cannot be added, weights of others, and weights that cannot be chosen."""
        names = tuple(member.name for member in self.members)
        check_members(config, names)
        for member in self.members:
            check_member(member.name, member.config)
        settings = SumSettings.from_config(config.final_config_dict)
        named_scales(settings.scales, names)
        if named_weights(settings.weights, names) is None:
            check_choice_of_weights(config)

    @property
    def _config_files(self) -> tuple[str, ...]:
        """The files that RecBole reads: those of a sum are read here, as they have keys of its members too."""
        return () if self.members else self.files

    @property
    def _file_keys(self) -> dict[str, Any]:
        """The keys of the files that a sum reads; nothing for a model, whose files RecBole reads."""
        keys = {key: value for file in self.files for key, value in read_keys(file).items()} if self.members else {}
        return {key: value for key, value in keys.items() if self._reads(key)}

    @property
    def _own_keys(self) -> dict[str, str]:
        """The keys of the command line without those of a sum's members, or without those of the sum."""
        return {key: value for key, value in self.keys.items() if self._reads(key)}

    def _reads(self, key: str) -> bool:
        if self.members:
            return key in {*recbole_keys(), *(key for group in SUM_KEYS for key in group.model_fields)}
        return key not in SumSettings.model_fields.keys() - RecommenderSettings.model_fields.keys() or self.model == "Sum"

    def inputs(self, folder: Path, seed: int, params: Mapping[str, Any], overrides: Mapping[str, str]) -> RunInputs:
        """The inputs of one run.

        Args:
            folder: where the result is written.
            seed: RecBole's.
            params: hyper-parameters that a search chose.
            overrides: further configuration keys; keys of the command line win over them.
        """
        defaults = {**self._protocol, **self._model_defaults, **self._file_keys, **params}
        keys = {**overrides, **{key: value for key, value in self._own_keys.items() if key != "seed"}}
        quantiles = RunSettings.from_config(self.config).activity_quantiles or QUANTILES
        data_folder = str(self.config["data_path"])
        inputs = RunInputs(
            self.name, self.model, self.dataset, list(self._config_files), defaults, keys, seed, "", quantiles, data_folder
        )
        contents = [read_keys(file) for file in inputs.files]
        digests = files_of(self.dataset, inputs.data_folder)
        if start := self.config["warm_start_sha256"]:
            digests["warm_start"] = start
        digest = fingerprint(inputs, contents, digests)
        return replace(inputs, result=str(folder / f"{self.file_name}-{seed}-{digest}.json"))

    def settings(self) -> dict[str, Any]:
        """The row's settings for the report: those of the user, those set for the model, and ``eval_memory``.

        A sum has those of its members too, by their names.
        """
        config = self.config
        shown = [key for key in config.external_config_dict if key in config.final_config_dict and key not in HIDDEN]
        own = {key: config[key] for key in shown} | self._model_defaults | {"eval_memory": config["eval_memory"]}
        return own | {member.name: member.settings() for member in self.members}

    @property
    def _protocol(self) -> dict[str, Any]:
        """The protocol of the shipped configuration that has the data set's name, without the keys of the row's files.

        Models of this package take it by themselves; here every model gets it.
        """
        file = shipped.of_dataset(self.dataset)
        user_keys = {key for file in self.files for key in read_keys(file)}
        keys = read_keys(file) if file else {}
        return {key: value for key, value in keys.items() if key in PROTOCOL and key not in user_keys}

    @cached_property
    def _model_defaults(self) -> dict[str, Any]:
        """Keys that RecBole's models need, unless the user sets them."""
        defaults: dict[str, Any] = {}
        if issubclass(get_dataloader(self.config, "train"), UserDataLoader):
            defaults["train_neg_sample_args"] = None  # Auto-encoders read whole users: there are no negatives to draw.
        if self.config["MODEL_TYPE"] == ModelType.TRADITIONAL:
            defaults["epochs"] = 1
        return {key: value for key, value in defaults.items() if key not in self.config.external_config_dict}


def read_rows(models: str, files: Sequence[str], dataset: str, keys: Mapping[str, str]) -> list[Row]:
    """The rows that a command line names.

    Args:
        models: ``--model``, names separated by commas. ``MultVAE:gaussian`` is MultVAE with this configuration file, and
            ``MultVAE+EDLAE`` is the sum of two models.
        files: ``--config_files``. A file that has the name of a model, such as ``EASE.yaml``, is read for this model only,
            whether it is named or not; the others are read for all.
        dataset: the name of the data set.
        keys: the configuration keys of the command line, their values as text.

    Raises:
        ConfigurationError: a row has no name, or two rows or two members of a sum have the same name.
    """
    texts = [text.strip() for text in models.split(",")]
    names = model_names()

    def row(text: str) -> Row:
        model, colon, file = text.partition(":")
        if not model or (colon and not file):
            raise ConfigurationError(
                f"--model={models} has an empty name: write models with commas between, such as MultVAE,EASE, or with + "
                "between, such as MultVAE+EDLAE, for their sum."
            )
        name = f"{model}:{Path(file).stem}" if file else model
        return Row(name, model, (*shared_with(model), *([file] if file else [])), dataset, keys)

    def shared_with(model: str) -> list[str]:
        return [path for path in files if Path(path).stem not in names - {model}]

    def row_or_sum(text: str) -> Row:
        if "+" not in text:
            return row(text)
        members = _unlike([row(part.strip()).as_member() for part in text.split("+")], models)
        return Row("+".join(members), "Sum", tuple(shared_with("Sum")), dataset, keys, tuple(members.values()))

    return list(_unlike([row_or_sum(text) for text in texts], models).values())


def _unlike(rows: Sequence[Row], models: str) -> dict[str, Row]:
    """The rows by name, no two of which are equal."""
    names = [row.name for row in rows]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigurationError(f"--model={models} names {twice} twice: leave one of them out.")
    return dict(zip(names, rows, strict=True))


def with_members(rows: Iterable[Row]) -> dict[str, Row]:
    """The rows and the members of their sums by name, a sum after its members."""
    return {each.name: each for row in rows for each in (*row.members, row)}


def tell_unread(rows: Iterable[Row], files: Iterable[str]) -> None:
    """Say which files are not read, as they have the name of a model that has no row."""
    others = model_names() - {row.model for row in with_members(rows).values()}
    for file in files:
        if (model := Path(file).stem) in others:
            print(f"{file} is for the model {model}, which is not in --model: the file is not read.")


def split_applicable(rows: Sequence[Row]) -> tuple[dict[str, Row], dict[str, str]]:
    """The rows that the protocol suits, by name, and for the others the reason why it does not.

    Raises:
        ConfigurationError: a configuration has a mistake, a model is no general recommender, or no row is left.
    """
    applicable, reasons = {}, {}
    for row in rows:
        try:
            _ = row.config
            applicable[row.name] = row
        except NotApplicableError as error:
            reasons[row.name] = str(error)
    if not applicable:
        names = ",".join(row.name for row in rows)
        raise ConfigurationError(f"No model of --model={names} can be evaluated: {'; '.join(reasons.values())}")
    return applicable, reasons


def on_splits(rows: Mapping[str, Row], splits: int | Sequence[int]) -> list[dict[str, Row]]:
    """The rows on each split, by name. All have the same splits.

    Args:
        rows: by name.
        splits: the number of splits from ``split_seed`` or else ``seed`` on, or the seeds that draw them.

    Raises:
        ConfigurationError: several splits are asked for, and the configuration draws none.
    """
    config = next(iter(rows.values())).config
    if splits == 1 and "split_seed" in config.external_config_dict:
        return [dict(rows)]
    if splits != 1:
        _check_drawn(config, splits)
    first = config["seed"] if config["split_seed"] is None else config["split_seed"]
    seeds = [first + n for n in range(splits)] if isinstance(splits, int) else splits
    return [{name: row.on_split(seed) for name, row in rows.items()} for seed in seeds]


def _check_drawn(config: Config, splits: int | Sequence[int]) -> None:
    """Refuse several splits where the configuration draws none, or one for each seed."""
    of_each_seed = "split_seed" in config.external_config_dict and config["split_seed"] is None
    if of_each_seed or config["benchmark_filename"] or config["eval_args"]["order"] == "TO":
        reason = "split_seed=None draws one for each seed" if of_each_seed else "this split is the same for every seed"
        raise ConfigurationError(f"--splits={splits} asks for several splits, and {reason}: leave one of the two out.")


def _check_comparable(config: Config) -> None:
    """Refuse metrics that a leaderboard has no columns for, and a split without a test, before anything is trained."""
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
