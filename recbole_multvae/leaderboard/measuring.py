"""One run of a leaderboard: a model is trained, validated and tested, and measured."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.utils import ModelType, init_seed

from recbole_multvae.compatibility import ignore_recbole_deprecations
from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.experiment.preparation import Experiment, prepare
from recbole_multvae.experiment.recbole_errors import explain_recbole_errors
from recbole_multvae.files import atomic_write
from recbole_multvae.leaderboard.breakdown import DetailedEvaluator
from recbole_multvae.leaderboard.runs import RunInputs
from recbole_multvae.leaderboard.split_digest import digest
from recbole_multvae.sums.model import Sum


def timed(method: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """The method; each call appends its seconds to the list."""

    def call(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        result = method(*args, **kwargs)
        seconds.append(time.perf_counter() - started)
        return result

    return call


def measure(inputs: RunInputs) -> dict[str, Any]:
    """Train, validate and test a model. Returns the measurements, which JSON can hold.

    Raises:
        MultVAEError: a user's mistake, or a training that cannot go on.
    """
    with explain_recbole_errors():
        experiment, training = _fit(inputs, "test", "a leaderboard", saved=True)
        return training | _test(inputs, experiment, training["seconds"])


def validate(inputs: RunInputs) -> dict[str, Any]:
    """Train and validate a model without saving it: one trial of a search. Errors are those of :func:`measure`."""
    with explain_recbole_errors():
        return _fit(inputs, "validation", "--tune", saved=False)[1]


def _fit(inputs: RunInputs, part: str, reader: str, saved: bool) -> tuple[Experiment, dict[str, Any]]:
    """Train; ``part`` of the split, which ``reader`` needs, may not be empty."""
    ignore_recbole_deprecations()
    keys = {**inputs.keys, "seed": str(inputs.seed)}
    experiment = prepare(make_config(inputs.model, inputs.dataset, inputs.files, inputs.defaults, keys))
    experiment.check_part(part, reader)
    trainer = experiment.trainer
    fits: list[float] = []
    validations: list[float] = []
    trainer._valid_epoch = timed(trainer._valid_epoch, validations)
    score, metrics = timed(experiment.fit, fits)(saved)
    seconds = {"training": sum(fits) - sum(validations), "validation": sum(validations)}
    return experiment, {
        "valid_score": score,
        "valid": metrics or {},
        "validations": len(validations),
        "seconds": seconds,
    }


def _test(inputs: RunInputs, experiment: Experiment, seconds: dict[str, float]) -> dict[str, Any]:
    """Test; adds the seconds of the test to ``seconds``, and writes the metrics of each user beside the result."""
    trainer, test_data, config = experiment.trainer, experiment.test_data, experiment.config
    trainer.evaluator = details = DetailedEvaluator(trainer, inputs.quantiles, experiment.train_data, test_data)
    if config["eval_args"]["mode"]["test"] != "full":
        init_seed(config["seed"], config["reproducibility"])  # Every model gets the same sampled items.
    tests: list[float] = []
    metrics = timed(experiment.test, tests)()
    seconds["test"] = sum(tests)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with atomic_write(Path(inputs.result).with_suffix(".npz")) as part, open(part, "wb") as file:
        np.savez_compressed(file, users=np.asarray(test_data.uid_list), **details.users)
    datasets = [loader.dataset for loader in (experiment.train_data, experiment.valid_data, test_data)]
    return {
        "metrics": metrics,
        "lists": details.lists,
        "activity": [group._asdict() for group in details.activity],
        "popularity": details.popularity,
        "split": digest(datasets),
        "data": _sizes(datasets),
        "memory": peak,
        "gpu_memory": torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None,
        "parameters": _parameters(trainer.model),
        "checkpoint": trainer.saved_model_file,
        "weights": trainer.model.member_weights if isinstance(trainer.model, Sum) else {},
    }


def _sizes(datasets: list[Any]) -> dict[str, int]:
    train, valid, test = datasets
    return {
        "users": train.user_num - 1,
        "items": train.item_num - 1,
        "train": len(train),
        "valid": len(valid),
        "test": len(test),
    }


def _parameters(model: Any) -> int | None:
    """The number of parameters that the model learns by gradients; None for a closed form."""
    if model.type == ModelType.TRADITIONAL:
        return None
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
