"""RecBole's configuration from files, a dictionary and a command line, with one sentence for every ordinary mistake."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import recbole
from recbole.config import Config

from recbole_multvae.config.keys import check_former_keys, check_keys, did_you_mean, recbole_keys
from recbole_multvae.config.refit import check_refit
from recbole_multvae.config.run_settings import RunSettings
from recbole_multvae.config.settings import RecommenderSettings
from recbole_multvae.config.values import check_values
from recbole_multvae.config.yaml_files import read_keys
from recbole_multvae.data.exact_times import order_by_time
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.evaluation.many_users import scores_users
from recbole_multvae.models import FAMILY
from recbole_multvae.sums.model import Sum
from recbole_multvae.training.processes import join_group

#: Keys whose value is a name, though it may look like a number or like a division: ``--checkpoint_dir=2026/11``.
_NAMES = ("data_path", "checkpoint_dir", "warm_start", "warm_start_member")


def make_config(
    model: str | None, dataset: str | None, files: Sequence[str] | None = None, keys: dict[str, Any] | None = None,
    command_line: Mapping[str, str] | None = None,
) -> Config:  # fmt: skip
    """Make RecBole's ``Config``: the command line wins over ``keys``, and these over the files, as in RecBole.

    Args:
        model: the name of a model; None reads it from the configuration.
        dataset: the name of a data set; None reads it from the configuration.
        files: paths of YAML files, or names of shipped ones.
        keys: further configuration keys.
        command_line: the keys of the command line and their values as text; None reads ``sys.argv`` as RecBole does.

    Raises:
        ConfigurationError: a file is not YAML of keys and values, a key is misspelt, or a value is not allowed.
    """
    config = _plain(_CheckedConfig(model, dataset, files, keys, command_line))
    order_by_time(config)
    if "local_rank" in config:  # One process of several.
        join_group(config)
    else:
        config._init_device()
    return config


def model_names() -> set[str]:
    """The names of RecBole's models, read from its files without importing them, and of ours."""
    files = (Path(recbole.__file__).parent / "model").glob("*_recommender/*.py")
    classes = {name for file in files for name in re.findall(r"^class (\w+)", file.read_text("utf-8"), re.MULTILINE)
               if name.lower() == file.stem}  # fmt: skip
    return classes | {model.__name__ for model in (*FAMILY, Sum)}


def check_model(model: str) -> None:
    """Refuse the name of a model that does not exist.

    Raises:
        ConfigurationError: names the most similar model, or all of them.
    """
    names = model_names()
    if model not in names:
        hint = did_you_mean(model, names, f": expected one of {', '.join(sorted(names))}.")
        raise ConfigurationError(f"--model={model} is neither one of RecBole's models nor one of ours{hint}")


def _plain(config: Config) -> Config:
    """The same configuration as RecBole's own class: a checkpoint holds it, and must load without this module."""
    plain = Config.__new__(Config)
    vars(plain).update(vars(config))
    return plain


class _CheckedConfig(Config):
    """RecBole's ``Config`` with checks of its keys and values. It leaves the device to :func:`make_config`."""

    def __init__(self, model: Any, dataset: Any, files: Any, keys: Any, command_line: Mapping[str, str] | None) -> None:
        self.command_line = command_line
        super().__init__(model, dataset, files, keys)
        del self.command_line

    def _load_config_files(self, files: Sequence[str] | None) -> dict[str, Any]:
        return {key: value for file in files or [] for key, value in read_keys(file, self.yaml_loader).items()}

    def _load_cmd_line(self) -> dict[str, Any]:
        if self.command_line is None:
            return super()._load_cmd_line()
        return self._convert_config_dict(dict(self.command_line))

    def _convert_config_dict(self, keys: dict[str, Any]) -> dict[str, Any]:
        return {key: self._converted(key, value) for key, value in keys.items()}

    def _converted(self, key: str, value: Any) -> Any:
        try:
            converted = super()._convert_config_dict({key: value})[key]
        except Exception:  # RecBole evaluates the text. If that fails, with whatever error, the value is the text.
            return value
        return value if key in _NAMES and not isinstance(converted, str) else converted

    def _set_default_parameters(self) -> None:
        folder = Path(self.final_config_dict["data_path"]) / self.dataset
        super()._set_default_parameters()
        if (folder / f"{self.dataset}.inter").is_file():  # RecBole takes its own ml-100k, whatever data_path says.
            self.final_config_dict["data_path"] = str(folder)

    def _init_device(self) -> None:
        pass

    def _load_internal_config_dict(self, model: str, model_class: Any, dataset: str) -> None:
        super()._load_internal_config_dict(model, model_class, dataset)
        settings = getattr(model_class, "settings_class", None)
        if settings is None:
            self._check_recbole_model(model_class)
        RunSettings.from_config(self.external_config_dict)
        if {**self.internal_config_dict, **self.external_config_dict}.get("loss_type") == "CE":
            self.internal_config_dict["train_neg_sample_args"] = None  # RecBole refuses its own default beside this loss.
        check_former_keys(self.external_config_dict, self.internal_config_dict)
        check_values(self.external_config_dict, self.internal_config_dict, settings.model_fields if settings else ())
        check_refit({"benchmark_filename": None, **self.internal_config_dict, **self.external_config_dict}, model_class)

    def _check_recbole_model(self, model_class: Any) -> None:
        """Check the keys of a model of RecBole's; those of ours are checked in registration, for RecBole's script too."""
        if scores_users(model_class):
            self.internal_config_dict |= RecommenderSettings().model_dump()
            RecommenderSettings.from_config(self.external_config_dict)
        model_keys = {*self.internal_config_dict, *RunSettings.model_fields} - recbole_keys()
        check_keys(self.external_config_dict, model_keys)
