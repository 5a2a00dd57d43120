"""A leaderboard: several models, or several seeds, in one command."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.data.dataloader import UserDataLoader
from recbole.data.utils import get_dataloader
from recbole.utils import ModelType, get_model

from recbole_multvae import shipped
from recbole_multvae.commands.configure import make_config, read_keys
from recbole_multvae.commands.leaderboard_export import check_export, export_best, name_exports
from recbole_multvae.commands.leaderboard_run import measure
from recbole_multvae.errors import ConfigurationError, LeaderboardError, NotApplicableError
from recbole_multvae.evaluation.activity import ActivitySettings
from recbole_multvae.leaderboard.entries import Entry, read_entries
from recbole_multvae.leaderboard.forms import write_all
from recbole_multvae.leaderboard.report import PROTOCOL, make_report
from recbole_multvae.leaderboard.runs import files_of, fingerprint, run_all, short_digest
from recbole_multvae.leaderboard.table import text_table
from recbole_multvae.leaderboard.task import Task

#: Groups of users by activity where ``activity_quantiles`` is not given.
QUANTILES = 4


def is_leaderboard(options: argparse.Namespace) -> bool:
    """Whether a command line asks for a leaderboard: for several models, for several seeds, or to export the best."""
    return "," in options.model or ":" in options.model or bool(options.seeds or options.export)


def run_leaderboard(options: argparse.Namespace, keys: Mapping[str, str]) -> None:
    """Train and test every row with every seed, and report them.

    Args:
        options: those of the command line.
        keys: its configuration keys, their values as text.

    Raises:
        ConfigurationError: a mistake in the command line or in a configuration; nothing has run then.
        LeaderboardError: at least one row failed, or the export did; the others are in the report.
    """
    if options.export:
        check_export(options.export)
    if options.nproc != 1 or options.world_size > 0:
        raise ConfigurationError(
            f"--nproc={options.nproc} does not go with several models or seeds, each of which has a process of its own: "
            "leave it out."
        )
    entries = read_entries(options.model, options.config_files)
    configs, reasons = configure(entries, options.dataset, keys)
    if not configs:
        raise ConfigurationError(f"No model of --model={options.model} can be evaluated: {'; '.join(reasons.values())}")
    config = next(iter(configs.values()))
    seeds = _seeds(options.seeds, config["seed"])
    shared = {key: value for key, value in keys.items() if key != "seed"}
    folder = Path(options.report_dir or _folder(options, shared))
    tasks = _tasks(entries, configs, options.dataset, shared, seeds, folder)
    print(f"{len(configs)} models, seeds {', '.join(map(str, seeds))}: the report will be in {folder}")
    runs = run_all(tasks, measure, lambda line: print(line, flush=True))

    settings = {name: _settings(config) for name, config in configs.items()}
    command = f"python run_recbole.py {shlex.join(sys.argv[1:])}"
    report = make_report(runs, [entry.name for entry in entries], config, command, reasons, settings)
    data_path = str(Path(config["data_path"]).parent)
    name_exports(report["rows"], data_path)
    files = write_all(report, folder)
    print(f"\n{text_table(report)}\n\nWrote {', '.join(map(str, files))}")
    if options.export:
        export_best(report, options.export, data_path)
    if failed := [row["name"] for row in report["rows"] if row["status"] == "failed"]:
        raise LeaderboardError(
            f"{', '.join(failed)} failed, and the others are in the report: see the logs in {folder / 'runs'}; the same "
            "command runs only what failed again."
        )


def configure(entries: list[Entry], dataset: str, keys: Mapping[str, str]) -> tuple[dict[str, Config], dict[str, str]]:
    """The configuration of each row by its name, and why the protocol is not for the rows that have none.

    Raises:
        ConfigurationError: a configuration has a mistake, or a model is no general recommender.
    """
    configs, reasons = {}, {}
    for entry in entries:
        kind = get_model(entry.model).type
        if kind not in (ModelType.GENERAL, ModelType.TRADITIONAL):
            raise ConfigurationError(
                f"--model={entry.model} is one of RecBole's {kind.name.lower()} models, which learn from other data: a "
                "leaderboard takes general recommenders."
            )
        try:
            configs[entry.name] = make_config(entry.model, dataset, entry.files, _protocol_of(dataset, entry.files), keys)
        except NotApplicableError as error:
            reasons[entry.name] = str(error)
    return configs, reasons


def _protocol_of(dataset: str, files: Sequence[str]) -> dict[str, Any]:
    """The protocol that our models take from the ready configuration of this name: for all models, unless a file says it."""
    ready = shipped.of_dataset(dataset)
    given = {key for file in files for key in read_keys(file)}
    return {key: value for key, value in read_keys(ready).items() if key in PROTOCOL and key not in given} if ready else {}


def _seeds(text: str | None, first: int) -> list[int]:
    """``--seeds``: how many, from the configuration's seed on, or which, with commas between."""
    if text is None:
        return [first]
    try:
        numbers = [int(part) for part in text.split(",") if part]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < (1 if len(numbers) == 1 else 0):
        raise ConfigurationError(
            f"--seeds={text} is not allowed: expected a number of seeds such as 3, or seeds such as 2020,2021."
        )
    return [first + number for number in range(numbers[0])] if "," not in text else list(dict.fromkeys(numbers))


def _folder(options: argparse.Namespace, keys: Mapping[str, str]) -> Path:
    """The folder of the report: its name tells configurations apart, whatever the models and seeds."""
    files = {Path(file).stem: read_keys(file) for file in options.config_files}
    return Path("leaderboard") / f"{options.dataset}-{short_digest([files, keys])}"


def _tasks(
    entries: list[Entry], configs: dict[str, Config], dataset: str, keys: dict[str, str], seeds: list[int], folder: Path
) -> list[Task]:  # fmt: skip
    try:
        (folder / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--report_dir: cannot write the report into {folder}: {error}") from error
    keys = {"checkpoint_dir": str(folder / "checkpoints"), "show_progress": "False", **keys}
    tasks = []
    for seed in seeds:
        for entry in entries:
            if entry.name not in configs:
                continue
            config = configs[entry.name]
            quantiles = ActivitySettings.from_config(config).activity_quantiles or QUANTILES
            defaults = _protocol_of(dataset, entry.files) | _defaults(config)
            task = Task(entry.name, entry.model, dataset, list(entry.files), defaults, keys, seed, "", quantiles)
            digest = fingerprint(task, [read_keys(file) for file in entry.files], files_of(dataset, config["data_path"]))
            result = folder / "runs" / f"{entry.file_name}-{seed}-{digest}.json"
            tasks.append(replace(task, result=str(result)))
    return tasks


def _defaults(config: Config) -> dict[str, Any]:
    """What a user of RecBole would have to know of the model, where the user did not name it."""
    defaults: dict[str, Any] = {}
    if issubclass(get_dataloader(config, "train"), UserDataLoader):
        defaults["train_neg_sample_args"] = None  # Auto-encoders read whole users: there are no negatives to draw.
    if config["MODEL_TYPE"] == ModelType.TRADITIONAL:
        defaults["epochs"] = 1
    return {key: value for key, value in defaults.items() if key not in config.external_config_dict}


def _settings(config: Config) -> dict[str, Any]:
    """What the report says of a row's settings: what the user gave, what was set for the model, and ``eval_memory``."""
    given = {key: config[key] for key in config.external_config_dict if key in config.final_config_dict}
    hidden = ("checkpoint_dir", "data_path", "show_progress", "seed", "state")
    shown = {key: value for key, value in given.items() if key not in hidden}
    return {**shown, **_defaults(config), "eval_memory": config["eval_memory"]}
