"""Spaces of hyper-parameters, in the text form of RecBole's ``run_hyper.py --params_file``.

A line is ``name kind values``, such as ``learning_rate loguniform -8,-4`` or ``n_layers choice [1,2,3]``. The kinds are
those of ``HyperTuning._build_space_from_file`` in ``recbole/trainer/hyper_tuning.py`` of RecBole 1.2.1. Values are
literals and are never executed.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from optuna.distributions import CategoricalDistribution, FloatDistribution

from recbole_multvae.errors import ConfigurationError

Distribution: TypeAlias = CategoricalDistribution | FloatDistribution
Space = dict[str, Distribution]
Params = dict[str, Any]


def read_space(file: Path) -> Space:
    """Read the distribution of each hyper-parameter.

    Raises:
        ConfigurationError: the file cannot be read or has no hyper-parameter, or a line is not understood.
    """
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--params_file: cannot read {file}: {error}") from error
    space: Space = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, kind, values = (*line.split(maxsplit=2), "", "")[:3]
        try:
            if name in space:
                raise ValueError(f"{name} is named twice")
            space[name] = _KINDS[kind](values)
        except (KeyError, ValueError, SyntaxError, TypeError, OverflowError) as error:
            raise ConfigurationError(
                f"Line {number} of {file} is not understood: {line.strip()!r}; expected a name, one of {', '.join(_KINDS)}, "
                "and values, such as learning_rate choice [0.01,0.001] or learning_rate loguniform -8,-4 (powers of e)."
            ) from error
    if not space:
        raise ConfigurationError(
            f"{file} names no hyper-parameter: expected lines such as learning_rate choice [0.01,0.001]."
        )
    return space


def _choice(text: str) -> CategoricalDistribution:
    """Lists become their texts: Optuna takes only texts and numbers, and RecBole evaluates the texts again."""
    values = ast.literal_eval(text)
    if not isinstance(values, list | tuple):
        raise ValueError("a list of values is expected")
    return CategoricalDistribution([repr(value) if isinstance(value, list | tuple | dict) else value for value in values])


def _uniform(text: str) -> FloatDistribution:
    low, high = map(float, text.split(","))
    return FloatDistribution(low, high)


def _quniform(text: str) -> FloatDistribution:
    low, high, step = map(float, text.split(","))
    return FloatDistribution(low, high, step=step)


def _loguniform(text: str) -> FloatDistribution:
    low, high = map(float, text.split(","))
    return FloatDistribution(math.exp(low), math.exp(high), log=True)


_KINDS: dict[str, Callable[[str], Distribution]] = {
    "choice": _choice,
    "uniform": _uniform,
    "quniform": _quniform,
    "loguniform": _loguniform,
}


def points(space: Space, most: int) -> list[Params] | None:
    """Every point of a space of choices; None for a space of numbers, or of more than ``most`` points."""
    choices = [values.choices for values in space.values() if isinstance(values, CategoricalDistribution)]
    if len(choices) < len(space) or math.prod(map(len, choices)) > most:
        return None
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*choices)]


def first_point(space: Space) -> Params:
    """A point of the space: the first choices and the lowest numbers."""
    return {
        name: values.choices[0] if isinstance(values, CategoricalDistribution) else values.low
        for name, values in space.items()
    }
