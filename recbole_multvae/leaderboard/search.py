"""``--tune``: the hyper-parameters of each row are searched on validation before its seeds are run.

Optuna proposes the trials. Its proposals depend only on the seed and on the results so far. A search that starts again
therefore repeats the same trials in the same order, and reads the results of those that finished: only runs are stored. A
study in one of Optuna's storages would not do: when it is loaded, its sampler starts again from the seed and repeats points.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from recbole_multvae.config import shipped
from recbole_multvae.config.evaluation_keys import empty_parts
from recbole_multvae.config.keys import did_you_mean
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.experiment.configuration import model_names
from recbole_multvae.leaderboard.rows import Row
from recbole_multvae.leaderboard.run_inputs import Run
from recbole_multvae.leaderboard.space import Params, Space, first_point, points, read_space

#: The sampler may propose a point again. After this many proposals per trial the search ends.
PROPOSALS = 20
#: Optuna's TPE draws so many points at random, whatever the results of others are: they may be tried side by side.
STARTUP = 10
#: Trains and validates a row with the hyper-parameters of each trial; the texts are the trials' names in the progress.
RunTrials = Callable[[Row, Sequence[tuple[Params, str]]], list[Run]]
#: The runs of some points, in their order.
RunPoints = Callable[[list[Params]], list[Run]]


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        params: the hyper-parameters that were set; empty for the row as it is configured.
        run: its result; ``valid_score`` is the validation metric, and is missing if the run failed.
    """

    params: Params
    run: Run


@dataclass(frozen=True)
class Search:
    """The search of one row.

    Attributes:
        row: the row.
        file: the file of the space.
        space: without the keys that the user sets, which stay as they are.
        configured: the values of the hyper-parameters in the row's configuration.
        trials: the number of trials.
    """

    row: Row
    file: Path
    space: Space
    configured: Params
    trials: int

    def run(self, seed: int, run_side_by_side: RunTrials) -> dict[str, Any]:
        """Run the trials and print the best.

        Args:
            seed: of the trials and of the proposals.
            run_side_by_side: see its type.

        Returns:
            The search for the report: its ``trials``, the hyper-parameters of the ``best``, and more.
        """
        started = 0

        def run_points(points: list[Params]) -> list[Run]:
            nonlocal started
            title = f"{self.row.name}, trial {{}} of {self.trials}, {{}}"
            tasks = [(params, title.format(n, _text(params))) for n, params in enumerate(points, started + 1)]
            started += len(points)
            return run_side_by_side(self.row, tasks)

        bigger = self.row.config["valid_metric_bigger"]
        trials = run_trials(self.space, self.configured, self.trials, seed, bigger, run_points)
        best = best_of(trials, bigger)
        score, configured_score = (trial.run.get("valid_score") for trial in (best, trials[0]))
        print(
            f"{self.row.name}: the best of {len(trials)} trials is {_text(best.params)}: {self.row.config['valid_metric']} "
            f"on validation is {_score_text(score)}, and {_score_text(configured_score)} as configured",
            flush=True,
        )
        return {
            "space": self.file.name,
            "seed": seed,
            "best": best.params,
            "valid_score": score,
            "valid_score_as_configured": configured_score,
            "seconds": sum(trial.run["seconds_in_all"] for trial in trials),
            "failed": sum(trial.run["status"] == "failed" for trial in trials),
            "trials": [_reported(trial) for trial in trials],
        }


def plan_searches(rows: Mapping[str, Row], files: Sequence[str], trials: int) -> dict[str, Search]:
    """The searches by the names of their rows. A row that has nothing to search has none.

    Args:
        rows: by their names.
        files: ``--params_file``. A file that has the name of a row, such as ``MultVAE-gaussian.hyper``, is for this row
            only, one with that of a model for its rows that have none, and any other for all other rows. A row without a
            file takes the shipped file of its model.
        trials: the most that a row may have.

    Raises:
        ConfigurationError: a file cannot be read, or names a key that a model does not have; or a row cannot be searched.
    """
    names = model_names() | {row.file_name for row in rows.values()}
    searches = {}
    for name, row in rows.items():
        of_row, of_model = ([file for file in files if Path(file).stem == stem] for stem in (row.file_name, row.model))
        of_all = [file for file in files if Path(file).stem not in names]
        file = next(reversed(of_row or of_model or of_all), None) or shipped.space_of(row.model)
        if file and (search := _plan_search(row, Path(file), trials)):
            searches[name] = search
    return searches


def _plan_search(row: Row, file: Path, trials: int) -> Search | None:
    """The search of a row in the space of a file; None if the user sets all of its keys."""
    space = _searched_space(row, file)
    if not space:
        return None
    if "validation" in empty_parts(row.config):
        raise ConfigurationError(
            f"--tune={trials} chooses by validation, and eval_args split={row.config['eval_args']['split']!r} leaves none: "
            "hold some out, for example with {'RS': [8, 1, 1]}."
        )
    if row.config["choose_beta"]:
        raise ConfigurationError(
            f"--tune={trials} keeps no checkpoints of its trials, and choose_beta=True, for {row.name}, goes on from one: "
            "leave one out. --tune searches anneal_cap, which choose_beta chooses."
        )
    try:
        row.configure(first_point(space))
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}, for {row.name}: {error}") from error
    configured = {key: row.config[key] for key in space}
    return Search(row, file, space, configured, expected_trials(space, configured, trials))


def _searched_space(row: Row, file: Path) -> Space:
    """The space without the keys that the user sets. A key that the model lacks is refused: RecBole would ignore it."""
    space = read_space(file)
    for key in space:
        if key not in row.config.final_config_dict:
            hint = did_you_mean(key, row.config.final_config_dict, ".")
            raise ConfigurationError(f"{file} names {key}, which is not a configuration key of {row.model}{hint}")
    return {key: values for key, values in space.items() if key not in row.config.external_config_dict}


def run_trials(space: Space, configured: Params, trials: int, seed: int, bigger: bool, run_points: RunPoints) -> list[Trial]:
    """Try the row as it is configured, and then other points: all if they are few, or what Optuna's TPE proposes.

    Args:
        space: the distribution of each hyper-parameter.
        configured: their values in the row's configuration.
        trials: the number of trials with the first. No point is tried twice.
        seed: of the proposals.
        bigger: whether a bigger validation metric is better.
        run_points: see its type. Points whose proposals do not depend on the results of one another come together.

    Returns:
        The trials in their order.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if bigger else "minimize", sampler=TPESampler(seed=seed))
    others = _other_points(space, configured, trials)
    for params in others or []:
        study.enqueue_trial(params)
    trials, together = (trials, STARTUP) if others is None else (1 + len(others), len(others))
    # The configuration is no trial of the study: its values may lie outside the space.
    untried: dict[str, Params] = {_key(configured): {}}
    tried: dict[str, Trial] = {}
    left = PROPOSALS * trials
    while untried or (left > 0 and len(tried) < trials):
        proposed: list[optuna.trial.Trial] = []
        while left > 0 and len(proposed) < together and len(tried) + len(untried) < trials:
            proposed.append(study.ask({**space}))
            left -= 1
            if (key := _key(proposed[-1].params)) not in tried:
                untried.setdefault(key, proposed[-1].params)
        runs = run_points(list(untried.values())) if untried else []
        tried |= {key: Trial(params, run) for (key, params), run in zip(untried.items(), runs, strict=True)}
        for trial in proposed:
            score = tried[_key(trial.params)].run.get("valid_score")
            study.tell(trial, score, TrialState.FAIL if score is None else None)
        untried, together = {}, 1
    return list(tried.values())


def best_of(trials: list[Trial], bigger: bool) -> Trial:
    """The best trial, the first of equal ones. If all failed it is the first of all, the row as it is configured."""
    finished = [trial for trial in trials if trial.run.get("valid_score") is not None]
    sign = 1 if bigger else -1
    return max(finished or trials[:1], key=lambda trial: sign * trial.run.get("valid_score", 0))


def expected_trials(space: Space, configured: Params, trials: int) -> int:
    """The number of trials of a search: fewer than allowed if the space has fewer points."""
    others = _other_points(space, configured, trials)
    return trials if others is None else 1 + len(others)


def _other_points(space: Space, configured: Params, trials: int) -> list[Params] | None:
    """All points besides the configured one; None if there are more than a search may try."""
    every = points(space, trials)
    others = {_key(params): params for params in every or []}
    others.pop(_key(configured), None)
    return None if every is None or len(others) >= trials else list(others.values())


def _key(params: Params) -> str:
    """The same text for the same values: a list and its text are equal."""
    return repr({name: _parsed(value) for name, value in sorted(params.items())})


def _parsed(value: Any) -> Any:
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError):
        return value


def _reported(trial: Trial) -> dict[str, Any]:
    shown = ("status", "valid_score", "error", "seconds_in_all")
    return {"params": trial.params, **{key: trial.run[key] for key in shown if key in trial.run}}


def _text(params: Params) -> str:
    return " ".join(f"{key}={value}" for key, value in params.items()) or "its configuration"


def _score_text(score: float | None) -> str:
    return "unknown" if score is None else f"{score:.4f}"
