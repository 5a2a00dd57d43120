"""The part of the training command that makes a leaderboard: its options become the arguments of one call."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from recbole_multvae.errors import ConfigurationError
from recbole_multvae.leaderboard import shell
from recbole_multvae.leaderboard.board import run_leaderboard

#: A larger number is a seed, such as 2021, and not a number of seeds.
MOST_SEEDS = 1000


def is_leaderboard(options: argparse.Namespace) -> bool:
    """Whether a command line asks for a leaderboard: for several models or seeds, for a search, or to export the best."""
    row_with_file = ":" in options.model and "+" not in options.model
    return "," in options.model or row_with_file or bool(options.seeds or options.splits or options.export or options.tune)


def check_one_process(options: argparse.Namespace, what: str) -> None:
    """Refuse ``--nproc`` and ``--world_size`` for ``what`` already has several processes.

    Raises:
        ConfigurationError: the command line has them.
    """
    if options.nproc != 1 or options.world_size > 0:
        raise ConfigurationError(f"--nproc={options.nproc} does not go with {what}: leave it out.")


def leaderboard(options: argparse.Namespace, keys: Mapping[str, str]) -> None:
    """Make the leaderboard that a command line asks for.

    Args:
        options: of the command line.
        keys: its configuration keys, their values as text.

    Raises:
        ConfigurationError: a mistake in the command line or in a configuration; nothing has run.
        LeaderboardError: a row or the export failed; the other rows are in the report.
    """
    check_one_process(options, "several models or seeds, each of which has a process of its own")
    run_leaderboard(
        options.model,
        options.dataset,
        options.config_files,
        keys,
        command=f"python run_recbole.py {shell.join(sys.argv[1:])}",
        seeds=_seeds("seeds", options.seeds),
        splits=_seeds("splits", options.splits),
        trials=_trials(options.tune) if options.tune else 0,
        params_files=options.params_file,
        export=options.export,
        report_dir=options.report_dir,
        jobs=read_jobs(options),
        ray=options.ray,
        per_user=options.per_user,
        track=options.track,
    )


def _seeds(option: str, text: str | None) -> int | list[int]:
    """``--seeds`` and ``--splits``: the number of seeds, or the seeds separated by commas."""
    if text is None:
        return 1
    try:
        numbers = [int(part) for part in text.split(",") if part]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < (1 if len(numbers) == 1 else 0):
        raise ConfigurationError(
            f"--{option}={text} is not allowed: expected a number of seeds such as 3, or seeds such as 2020,2021."
        )
    if "," in text:
        return list(dict.fromkeys(numbers))
    if numbers[0] > MOST_SEEDS:
        raise ConfigurationError(
            f"--{option}={text} would be {numbers[0]:,} seeds, counted from seed on: for the seed {text} alone write "
            f"--{option}={text}, with the comma at its end."
        )
    return numbers[0]


def read_jobs(options: argparse.Namespace) -> int | None:
    """``--jobs``: how many runs there may be at a time; None for ``auto``, which is the default with ``--ray``."""
    text = options.jobs or ("auto" if options.ray else "1")
    if text != "auto" and (not text.isdecimal() or int(text) < 1):
        raise ConfigurationError(f"--jobs={text} is not allowed: expected a number of runs at a time such as 2, or auto.")
    return None if text == "auto" else int(text)


def _trials(text: str) -> int:
    """``--tune``: the number of trials of each row; the first is the row as it is configured."""
    if not text.isdecimal() or int(text) < 2:
        raise ConfigurationError(f"--tune={text} is not allowed: expected a number of trials for each model, such as 20.")
    return int(text)
