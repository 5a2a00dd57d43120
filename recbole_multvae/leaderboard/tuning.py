"""``--tune``: each row's hyper-parameters are searched on validation before its seeds are run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_multvae.config import shipped
from recbole_multvae.config.evaluation_keys import empty_parts
from recbole_multvae.config.keys import did_you_mean
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.leaderboard.rows import Row
from recbole_multvae.leaderboard.search import Trial, best_of, expected_trials, search
from recbole_multvae.leaderboard.space import Params, Space, first_point, read_space

#: Trains and validates a row with some hyper-parameters; the text is what the progress says.
RunTrial = Callable[[Row, Params, str], dict[str, Any]]


@dataclass(frozen=True)
class Tuning:
    """The search of one row.

    Attributes:
        file: where its space is from.
        space: without the keys that the user named, which stay as they are.
        configured: the values of its hyper-parameters where nothing is searched.
        trials: how many there will be.
    """

    file: Path
    space: Space
    configured: Params
    trials: int


def read_trials(text: str) -> int:
    """``--tune``: the trials of each row, the first of which is the row as it is configured.

    Raises:
        ConfigurationError: it is no number of trials.
    """
    if not text.isdecimal() or int(text) < 2:
        raise ConfigurationError(f"--tune={text} is not allowed: expected a number of trials for each model, such as 20.")
    return int(text)


def tunings(rows: Mapping[str, Row], files: Sequence[str], trials: int) -> dict[str, Tuning]:
    """The searches by the names of their rows; none for a row that has nothing to search.

    Args:
        rows: by their names.
        files: ``--params_file``. One that has the name of a row, such as ``BPR.hyper``, is for this row only, and one with
            another name for all; rows without any take the shipped one of their model.
        trials: the most that a row may have.

    Raises:
        ConfigurationError: a file cannot be read, or names something that a model does not have.
    """
    names = {row.entry.file_name for row in rows.values()}
    found = {}
    for name, row in rows.items():
        own = [file for file in files if Path(file).stem == row.entry.file_name]
        given = own or [file for file in files if Path(file).stem not in names]
        file = Path(given[-1]) if given else shipped.space_of(row.entry.model)
        space = _without_named(read_space(file), row, file) if file else {}
        if file and space:
            if "validation" in empty_parts(row.config):
                raise ConfigurationError(
                    f"--tune={trials} chooses by validation, and eval_args split={row.config['eval_args']['split']!r} "
                    "leaves none: hold some out, for example with {'RS': [8, 1, 1]}."
                )
            try:
                Row.of(row.entry, row.dataset, row.keys, first_point(space))
            except ConfigurationError as error:
                raise ConfigurationError(f"{file}, for {name}: {error}") from error
            configured = {key: row.config[key] for key in space}
            found[name] = Tuning(file, space, configured, expected_trials(space, configured, trials))
    return found


def _without_named(space: Space, row: Row, file: Path) -> Space:
    """The space without what the user has named. A key that the model does not have is refused: RecBole would ignore it."""
    for key in space:
        if key not in row.config.final_config_dict:
            hint = did_you_mean(key, row.config.final_config_dict, ".")
            raise ConfigurationError(f"{file} names {key}, which is not a configuration key of {row.entry.model}{hint}")
    return {key: values for key, values in space.items() if key not in row.config.external_config_dict}


def tune(row: Row, seed: int, tuning: Tuning, run_trial: RunTrial, say: Callable[[str], None]) -> dict[str, Any]:
    """Search for a row.

    Args:
        row: what is searched for.
        seed: of the trials, and of what is proposed.
        tuning: the space.
        run_trial: see its type.
        say: called with a line about what was found.

    Returns:
        What the report says of the search: its ``trials``, and the hyper-parameters of the ``best``.
    """
    started = 0

    def measure(params: Params) -> dict[str, Any]:
        nonlocal started
        started += 1
        return run_trial(row, params, f"{row.entry.name}, trial {started} of {tuning.trials}, {_format(params)}")

    bigger = row.config["valid_metric_bigger"]
    trials = search(tuning.space, tuning.configured, tuning.trials, seed, bigger, measure)
    best = best_of(trials, bigger)
    before, after = trials[0].run.get("valid_score"), best.run.get("valid_score")
    say(
        f"{row.entry.name}: the best of {len(trials)} trials is {_format(best.params)}: {row.config['valid_metric']} on "
        f"validation is {_score(after)}, and {_score(before)} as configured"
    )
    return {
        "space": tuning.file.name,
        "seed": seed,
        "best": best.params,
        "valid_score": after,
        "valid_score_as_configured": before,
        "seconds": sum(trial.run["seconds_in_all"] for trial in trials),
        "failed": sum(trial.run["status"] == "failed" for trial in trials),
        "trials": [_reported(trial) for trial in trials],
    }


def _reported(trial: Trial) -> dict[str, Any]:
    kept = ("status", "valid_score", "error", "seconds_in_all")
    return {"params": trial.params, **{key: trial.run[key] for key in kept if key in trial.run}}


def _format(params: Params) -> str:
    return " ".join(f"{key}={value}" for key, value in params.items()) or "its configuration"


def _score(score: float | None) -> str:
    return "unknown" if score is None else f"{score:.4f}"
