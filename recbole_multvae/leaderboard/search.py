"""The search of hyper-parameters on validation.

Optuna proposes; it is deterministic for a seed and given results. A search that starts again therefore asks for the same
trials, whose results are known, and goes on where it was: nothing but the results is kept.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from recbole_multvae.leaderboard.space import Params, Space, points

#: A sampler may propose what was tried. After so many proposals for each trial the search ends.
PROPOSALS = 20


@dataclass(frozen=True)
class Trial:
    """What was tried.

    Attributes:
        params: the hyper-parameters that were set; none for the model as it is configured.
        run: what was measured; its ``valid_score`` is the validation metric, and is missing from one that failed.
    """

    params: Params
    run: dict[str, Any]


def search(
    space: Space, configured: Params, trials: int, seed: int, bigger: bool, measure: Callable[[Params], dict[str, Any]]
) -> list[Trial]:  # fmt: skip
    """Try the model as it is configured, and then points of a space: all if they are few, or what Optuna's TPE proposes.

    Args:
        space: of the hyper-parameters.
        configured: their values where nothing is searched.
        trials: how many, the first included. No point counts twice.
        seed: of the proposals.
        bigger: whether the bigger validation metric is better.
        measure: returns the run of a point.

    Returns:
        The trials in their order.
    """
    found = {_key(configured): Trial({}, measure({}))}

    def run_of(params: Params) -> dict[str, Any]:
        key = _key(params)
        if key not in found:
            found[key] = Trial(params, measure(params))
        return found[key].run

    few = _few(space, configured, trials)
    if few is not None:
        for params in few:
            run_of(params)
        return list(found.values())

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if bigger else "minimize", sampler=TPESampler(seed=seed))
    for _ in range(PROPOSALS * trials):
        if len(found) >= trials:
            break
        asked = study.ask({**space})
        score = run_of(asked.params).get("valid_score")
        study.tell(asked, score, TrialState.FAIL if score is None else None)
    return list(found.values())


def best_of(trials: list[Trial], bigger: bool) -> Trial:
    """The best trial, the first of equal ones; the first of all, which is the model as it is configured, if all failed."""
    finished = [trial for trial in trials if trial.run.get("valid_score") is not None]
    sign = 1 if bigger else -1
    return max(finished or trials[:1], key=lambda trial: sign * trial.run.get("valid_score", 0))


def expected_trials(space: Space, configured: Params, trials: int) -> int:
    """How many trials a search has: fewer than are allowed where the space has fewer points."""
    few = _few(space, configured, trials)
    return trials if few is None else 1 + len(few)


def _few(space: Space, configured: Params, trials: int) -> list[Params] | None:
    """All points besides that which is configured; None where they are too many to try all."""
    others = [params for params in points(space, trials) or [] if _key(params) != _key(configured)]
    return others if 0 < len(others) < trials else None


def _key(params: Params) -> str:
    """The same text for the same values, whether as a list or as its text."""
    return repr({name: _value(value) for name, value in sorted(params.items())})


def _value(value: Any) -> Any:
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError):
        return value
