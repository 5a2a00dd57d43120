"""The command line of training: its options, its help text, and checks of it before RecBole reads it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from recbole_multvae.config.run_settings import RunSettings
from recbole_multvae.config.settings import RecommenderSettings, Settings, yaml_lines
from recbole_multvae.config.yaml_files import read_keys
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.experiment.configuration import check_model
from recbole_multvae.likelihoods import likelihoods
from recbole_multvae.models import FAMILY, ClickRecommender
from recbole_multvae.sums.model import Sum
from recbole_multvae.tracking import trackers


class _Once(argparse.Action):
    """An option that may not have two values."""

    def __call__(self, parser: Any, options: argparse.Namespace, value: Any, option_string: str | None = None) -> None:
        values = vars(options).setdefault("values", {})
        _set_once(values, self.dest, value)
        vars(options).update(values)


def _set_once(values: dict[str, Any], name: str, value: Any) -> None:
    if values.setdefault(name, value) != value:
        raise ConfigurationError(f"--{name} is given twice, as {values[name]} and as {value}: leave one of them out.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Train and evaluate a model of RecBole or of the Mult-VAE family.",
        epilog="Any configuration key can be set with --key=value, for example: "
        "--model=MultVAE --dataset=ml-100k --epochs=20 --learning_rate=0.001. The key refit needs no value: --refit.",
        allow_abbrev=False,
        add_help=False,
    )
    parser.register("action", None, _Once)  # The default action of add_argument.
    parser.add_argument(
        "--model",
        "-m",
        default="MultVAE",
        help="name of the model (default: %(default)s); several names, with commas between, make a report; "
        "MultVAE:gaussian is MultVAE with the configuration file gaussian, and MultVAE+EDLAE the sum of two models",
    )
    parser.add_argument("--dataset", "-d", default="ml-100k", help="name of the data set (default: %(default)s)")
    parser.add_argument(
        "--config_files", help="YAML files, separated by spaces: paths, or names of shipped ones such as paper"
    )
    parser.add_argument("--per_user", metavar="FILE.csv", help="write the test's metrics of each user into this file")
    parser.add_argument(
        "--track", metavar="TRACKER", help=f"tell a tracker of experiments of each run: {' or '.join(trackers())}"
    )
    parser.add_argument("--help", "-h", action="store_true", help="show this text and the keys of --model, and exit")
    _add_reports(parser)
    _add_processes(parser)
    return parser


def _add_reports(parser: argparse.ArgumentParser) -> None:
    reports = parser.add_argument_group("several models or seeds, and search")
    reports.add_argument("--seeds", help="several seeds: a number of them, counted from seed on, or a list with commas")
    reports.add_argument("--splits", help="several splits for each seed: a number of them, or seeds that draw them")
    reports.add_argument("--export", metavar="FILE.onnx", help="write the best model of a report that can be exported")
    reports.add_argument("--report_dir", help="folder of the report on several models or seeds (default: in leaderboard/)")
    reports.add_argument(
        "--jobs", help="how many runs at a time; auto: as many as cores and memory allow (default: 1; with --ray auto)"
    )
    reports.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="the runs are tasks of this Ray cluster: auto, HOST:PORT, or ray://HOST:PORT from outside it; each takes "
        "OMP_NUM_THREADS CPUs (default: 1)",
    )
    reports.add_argument(
        "--tune", metavar="TRIALS", help="search each model's hyper-parameters on validation, in this number of trials"
    )
    reports.add_argument(
        "--params_file", help="the spaces that --tune searches, as for RecBole's run_hyper.py (default: shipped ones)"
    )


def _add_processes(parser: argparse.ArgumentParser) -> None:
    processes = parser.add_argument_group("several processes and machines")
    processes.add_argument("--nproc", type=int, default=1, help="number of processes on this machine (default: %(default)s)")
    processes.add_argument("--ip", default="localhost", help="address of the machine of rank 0 (default: %(default)s)")
    processes.add_argument("--port", type=int, help="port of that machine (default: a free one; 5678 for several machines)")
    processes.add_argument("--world_size", type=int, default=-1, help="number of processes on all machines")
    processes.add_argument("--group_offset", type=int, default=0, help="rank of this machine's first process")


def _help(parser: argparse.ArgumentParser, model: str, likelihood: str | None) -> str:
    """The help text with the keys of any model, and those of the model, or of the members of a sum, that are ours."""
    likelihood = likelihood if likelihood in likelihoods() else None
    ours: tuple[type[ClickRecommender], ...] = (*FAMILY, Sum)
    names = {part.partition(":")[0] for part in model.split("+")} | ({Sum.__name__} if "+" in model else set())
    groups = {cls.__name__: cls.all_settings(likelihood) for cls in ours if cls.__name__ in names}
    shared: list[type[Settings]] = [RunSettings, *([] if groups else [RecommenderSettings])]
    text = parser.format_help() + _describe_keys("any model", *shared)
    return text + "".join(_describe_keys(name, settings) for name, settings in groups.items())


def _describe_keys(owner: str, *groups: type[Settings]) -> str:
    lines = [f"  {line}" for settings in groups for line in yaml_lines(settings)]
    return "\n".join(["", f"keys of {owner} and their defaults:", *lines, ""])


def read_command_line(argv: Sequence[str] | None) -> tuple[argparse.Namespace, dict[str, str]]:
    """Read the command line and check it.

    Args:
        argv: the arguments; None reads ``sys.argv``.

    Returns:
        The options, with ``config_files`` and ``params_file`` as lists of paths, and the values of the configuration keys
        as text.

    Raises:
        ConfigurationError: an argument is not ``--key=value``, a key has two values, a configuration file cannot be read, or
            the model is unknown.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    keys: dict[str, str] = {}
    for argument in rest:
        # Not an option of argparse: with a value that may be left out, it would take the next argument for it.
        argument = "--refit=True" if argument == "--refit" else argument
        key, equals, value = argument.removeprefix("--").partition("=")
        if not (argument.startswith("--") and key and equals):
            raise ConfigurationError(f"The argument {argument!r} is not understood: write --key=value.")
        _set_once(keys, key, value)
    if options.help:
        print(_help(parser, options.model, keys.get("likelihood")), end="")
        raise SystemExit(0)
    options.config_files = (options.config_files or "").split()
    options.params_file = (options.params_file or "").split()
    for file in options.config_files:
        read_keys(file)
    for model in re.split("[,+]", options.model):
        if model.strip() or options.model == model:  # The rows of a report refuse an empty name among others.
            check_model(model.partition(":")[0].strip())
    return options, keys
