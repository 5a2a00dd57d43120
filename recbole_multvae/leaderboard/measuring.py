"""One run of a leaderboard: a model is trained, validated and tested, and measured."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.utils import ModelType, init_seed
from scipy import sparse

from recbole_multvae.compatibility import ignore_recbole_deprecations
from recbole_multvae.data.split_digest import digest
from recbole_multvae.evaluation import cold_items
from recbole_multvae.evaluation.per_user import per_user_table
from recbole_multvae.experiment import refit
from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.experiment.preparation import Experiment, prepare
from recbole_multvae.experiment.recbole_errors import explain_recbole_errors
from recbole_multvae.files import atomic_write
from recbole_multvae.leaderboard.breakdown import DetailedEvaluator
from recbole_multvae.leaderboard.run_inputs import RunInputs
from recbole_multvae.sums.model import Sum
from recbole_multvae.tracking.base import effective_keys


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

    With ``refit: True`` all but those of the validation are of the refitted model; training takes as long as both trainings,
    and ``chosen`` is the checkpoint of the first.

    Raises:
        MultVAEError: a user's mistake, or a training that cannot go on.
    """
    with explain_recbole_errors():
        config = _config(inputs)
        refits = refit.take(config)
        experiment = _prepare(inputs, config, "test", "a leaderboard")
        if refits:
            refit.check(experiment)
        measured = _fit(experiment, saved=True) | _data(experiment) | {"refitted": refits}
        measured["chosen"] = experiment.trainer.saved_model_file
        if refits:
            plan, seconds = refit.plan(experiment), list[float]()
            del experiment
            experiment = timed(plan.fit, seconds)()
            measured["seconds"]["training"] += sum(seconds)
            measured["data"] = _after_refit(measured["data"], _data(experiment)["data"])
        return measured | _test(inputs, experiment, measured["seconds"])


def validate(inputs: RunInputs) -> dict[str, Any]:
    """Train and validate a model without saving it: one trial of a search. Errors are those of :func:`measure`."""
    with explain_recbole_errors():
        config = _config(inputs)
        refit.take(config)
        return _fit(_prepare(inputs, config, "validation", "--tune"), saved=False)


def _config(inputs: RunInputs) -> Config:
    ignore_recbole_deprecations()
    return make_config(
        inputs.model, inputs.dataset, inputs.files, inputs.defaults, {**inputs.keys, "seed": str(inputs.seed)}
    )


def _prepare(inputs: RunInputs, config: Config, part: str, reader: str) -> Experiment:
    """Prepare a run; ``part`` of the split, which ``reader`` needs, may not be empty."""
    experiment = prepare(config)
    experiment.check_part(part, reader)
    # RecBole names a checkpoint by the second, and runs may begin in the same one.
    experiment.trainer.saved_model_file = str(Path(config["checkpoint_dir"], f"{Path(inputs.result).stem}.pth"))
    return experiment


def _fit(experiment: Experiment, saved: bool) -> dict[str, Any]:
    """Train. Returns the measurements of training and validation."""
    trainer, curve = experiment.trainer, list[tuple[int, dict[str, float]]]()
    experiment.on_validation(lambda epoch, metrics: curve.append((epoch, metrics)))
    fits: list[float] = []
    validations: list[float] = []
    trainer._valid_epoch = timed(trainer._valid_epoch, validations)
    score, metrics = timed(experiment.fit, fits)(saved)
    seconds = {"training": sum(fits) - sum(validations), "validation": sum(validations)}
    measured = {"valid_score": score, "valid": metrics or {}, "validations": len(validations), "seconds": seconds}
    return measured | {"curve": curve, "configuration": effective_keys(experiment.config), "memory": _peak()}


def _peak() -> float:
    """The most memory that this process has had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _test(inputs: RunInputs, experiment: Experiment, seconds: dict[str, float]) -> dict[str, Any]:
    """Test; adds the seconds of the test to ``seconds``, and writes the metrics of each user beside the result."""
    trainer, test_data, config = experiment.trainer, experiment.test_data, experiment.config
    trainer.evaluator = details = DetailedEvaluator(trainer, inputs.quantiles, experiment.train_data, test_data)
    if config["eval_args"]["mode"]["test"] != "full":
        init_seed(config["seed"], config["reproducibility"])  # Every model gets the same sampled items.
    tests: list[float] = []
    metrics = timed(experiment.test, tests)()
    experiment.save_test_result(metrics)
    seconds["test"] = sum(tests) - details.seconds
    with atomic_write(Path(inputs.result).with_suffix(".npz")) as part, open(part, "wb") as file:
        table = per_user_table(experiment.train_data, test_data)
        np.savez_compressed(file, users=np.asarray(test_data.uid_list), **table, **details.users)
    return {
        "metrics": metrics,
        "lists": details.lists,
        "activity": [group._asdict() for group in details.activity],
        "popularity": details.popularity,
        "age": details.age,
        "cold": [group._asdict() for group in cold_items.test(experiment)],
        "memory": _peak(),
        "gpu_memory": torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None,
        "parameters": _parameters(trainer.model),
        "weights_bytes": weights_bytes(trainer.model),
        "checkpoint": trainer.saved_model_file,
        "weights": trainer.model.member_weights if isinstance(trainer.model, Sum) else {},
    }


def _data(experiment: Experiment) -> dict[str, Any]:
    """The split and its sizes, with the items and interactions of items unseen in training: left out, or kept as cold."""
    loaders = (experiment.train_data, experiment.valid_data, experiment.test_data)
    datasets = dict(zip(("train", "valid", "test"), (loader.dataset for loader in loaders), strict=True))
    train = datasets["train"]
    sizes = {"users": train.user_num - 1, "items": train.item_num - 1}
    sizes |= {name: getattr(part, "interactions", len(part)) for name, part in datasets.items()}
    for name, part in datasets.items():
        sizes |= {f"{name}_left_out_{kind}": count for kind, count in getattr(part, "left_out", {}).items()}
    if cold := getattr(train, "cold_items", None):
        sizes |= {"cold_items": cold.count, "cold_items_from": ", ".join(cold.fields)}
        for name in ("valid", "test"):
            kept = getattr(datasets[name], "of_cold_items", {})  # A refit has no validation.
            sizes |= {f"{name}_cold_{kind}": count for kind, count in kept.items()}
    return {"split": digest(list(datasets.values())), "data": sizes}


def _after_refit(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """The sizes of training and validation before a refit, and those of the test after it.

    Under GT the refitted model knows more items, and perhaps no item is unseen any more.
    """

    def is_tested(name: str) -> bool:
        return name.startswith(("items", "test", "cold"))

    kept = {name: size for name, size in first.items() if not is_tested(name)}
    return kept | {name: size for name, size in second.items() if is_tested(name)}


def _parameters(model: Any) -> int | None:
    """The number of parameters that the model learns by gradients; None for a closed form."""
    if model.type == ModelType.TRADITIONAL:
        return None
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def weights_bytes(model: Any) -> int:
    """The bytes of the parameters and matrices of a model that its checkpoint holds, without those of the optimizer."""
    return _bytes([model.state_dict(), model.other_parameter()])


def _bytes(value: Any) -> int:
    """The bytes of all tensors and arrays in a value."""
    if isinstance(value, torch.Tensor) and value.layout != torch.strided:
        entries = value.to_sparse_coo().coalesce()
        return _bytes([entries.indices(), entries.values()])
    if isinstance(value, torch.Tensor | np.ndarray):
        return int(value.nbytes)
    if isinstance(value, dict) or sparse.issparse(value):
        return _bytes(list((value if isinstance(value, dict) else vars(value)).values()))
    return sum(map(_bytes, value)) if isinstance(value, list | tuple) else 0
