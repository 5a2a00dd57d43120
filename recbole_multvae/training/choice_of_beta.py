"""The choice of beta by annealing (Liang et al., WWW 2018, section 2.2.2).

A first run raises beta from 0 to 1. The beta at its best validation is the cap of a second run, whose result counts. Until
that validation the two runs are the same, update for update: the second continues from the checkpoint that the first wrote
there, and ends as if it had been trained from the beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from recbole_multvae.errors import ConfigurationError

#: Updates over which the first run raises beta, if the user names none: enough for the model to learn beside small betas.
#: The default of ``total_anneal_steps`` is for a beta that is known.
FIRST_RUN_STEPS = 5000


class Evaluation(NamedTuple):
    """A validation: the number of updates before it, ``valid_metric``, and beta (None without a KL term)."""

    update: int
    score: float
    beta: float | None


def check_choice(user_keys: Mapping[str, Any], settings: Any) -> None:
    """Check that the run can choose beta, if the user's keys set ``choose_beta``.

    Args:
        user_keys: the user's keys and values.
        settings: the settings of the model, or None for a model that is not of the family.

    Raises:
        ConfigurationError: the model has no KL term, beta does not rise, or several processes train.
    """
    if not user_keys.get("choose_beta"):
        return
    if not hasattr(settings, "choose_beta"):
        raise ConfigurationError(
            f"choose_beta={user_keys['choose_beta']!r} is for models of this package with a KL term, such as MultVAE: "
            "leave it out, or name such a model."
        )
    if settings.total_anneal_steps == 0:
        raise ConfigurationError(
            "choose_beta=True raises beta from 0 to 1, and total_anneal_steps=0 leaves no updates for it: leave one out."
        )
    if "local_rank" in user_keys:
        raise ConfigurationError("choose_beta=True trains in one process only: leave out --nproc.")


def first_run_keys(user_keys: Mapping[str, Any], settings: Any) -> dict[str, Any]:
    """The keys that have other defaults in a run that chooses beta."""
    named = any(user_keys.get(key) is not None for key in ("total_anneal_steps", "anneal_epochs"))
    if not user_keys.get("choose_beta") or named:
        return {}
    default = type(settings).model_fields["total_anneal_steps"].default  # A file for the data set may have another one.
    return {"total_anneal_steps": FIRST_RUN_STEPS} if settings.total_anneal_steps == default else {}


def train_twice(trainer: Any, train: Callable[[], Any]) -> Any:
    """Do both runs, log them, and draw them beside the checkpoint.

    Args:
        trainer: a ``FamilyTrainer`` that validates and saves. Its configuration becomes that of the second run.
        train: trains from ``trainer.start_epoch`` to ``trainer.epochs`` and returns the result of ``Trainer.fit``.

    Returns:
        The result of the second run.
    """
    from recbole_multvae.training.beta_figure import draw  # Before the training, as matplotlib may not be installed.

    first = _first_run(trainer, train)
    picture = str(Path(trainer.saved_model_file).with_suffix(".png"))
    draw(picture, trainer.valid_metric, [first])
    result = _second_run(trainer, train)
    second = trainer.evaluations
    draw(picture, trainer.valid_metric, [first, second])
    trainer.logger.info(_report(trainer, first, second) + f"\nBoth are drawn in {picture}.")
    return result


def _first_run(trainer: Any, train: Callable[[], Any]) -> list[Evaluation]:
    """Raise beta from 0 to 1 without early stopping, and return the trainer to the best validation."""
    epochs, patience = trainer.epochs, trainer.stopping_step
    last = epochs // trainer.eval_step * trainer.eval_step
    anneal_steps, updates_per_epoch = trainer.model.anneal_steps, trainer.model.updates_per_epoch
    steps = min(anneal_steps, last * updates_per_epoch)
    _set_keys(trainer, anneal_cap=1.0, total_anneal_steps=steps, anneal_epochs=None)
    trainer.epochs = ceil(steps / updates_per_epoch / trainer.eval_step) * trainer.eval_step
    trainer.stopping_step = trainer.epochs
    trainer.logger.info(
        f"Choice of beta, first run: beta rises from 0 to 1 over {steps} updates, {trainer.epochs} epochs of "
        f"{updates_per_epoch}"
        + (f" (epochs={epochs} has no more updates; {anneal_steps} were asked for)" if steps < anneal_steps else "")
        + ". It does not stop early: stopping_step is for the second run."
    )
    _train_on(trainer, train)
    trainer.epochs, trainer.stopping_step = epochs, patience
    evaluations = trainer.evaluations
    trainer.resume_checkpoint(trainer.saved_model_file)
    return evaluations


def _second_run(trainer: Any, train: Callable[[], Any]) -> Any:
    """Continue from the best validation, with its beta as the cap."""
    beta, steps, file = trainer.model.beta, trainer.model.anneal_steps, trainer.saved_model_file
    _set_keys(trainer, anneal_cap=beta, choose_beta=False)
    trainer._save_checkpoint(trainer.start_epoch - 1, verbose=False)
    trainer.logger.info(
        f"Choice of beta, second run: beta rises to {beta:.6g} and stays there. Until update {trainer.model.update} it is "
        f"the same as the first run, so it continues from there, and its checkpoint replaces the first's, {file}. To train "
        f"it from the beginning, take --anneal_cap={beta!r} --total_anneal_steps={steps}."
    )
    return _train_on(trainer, train)


def _set_keys(trainer: Any, **keys: Any) -> None:
    """Set configuration keys of the model, for the checkpoint too."""
    for key, value in keys.items():
        trainer.config[key] = value
    trainer.model.settings = trainer.model.read_settings(trainer.config)


def _train_on(trainer: Any, train: Callable[[], Any]) -> Any:
    """Train the epochs that are left. With none left, RecBole would save a checkpoint as if nothing had been trained."""
    if trainer.start_epoch < trainer.epochs:
        return train()
    return trainer.best_valid_score, trainer.best_valid_result


def _report(trainer: Any, first: list[Evaluation], second: list[Evaluation]) -> str:
    best = max if trainer.valid_metric_bigger else min
    lines = [f"Choice of beta by annealing, {trainer.valid_metric} on the validation part:"]
    for name, run in (("first run ", first), ("second run", second)):
        score = best(evaluation.score for evaluation in run)
        at = [evaluation for evaluation in run if evaluation.score == score][-1]  # RecBole keeps the last of equal ones.
        lines.append(
            f"  {name}  beta up to {run[-1].beta:.6g}: {score:.4f} at update {at.update} with beta {at.beta:.6g}, "
            f"{run[-1].score:.4f} at the last update, {run[-1].update}"
        )
    return "\n".join(lines)
