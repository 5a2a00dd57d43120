"""Error messages of a training that ends early: why it ended, and where its best state is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from recbole.config import Config
from recbole.trainer.trainer import AbstractTrainer

from recbole_multvae.errors import TrainingError, TrainingInterrupted


@contextmanager
def explain_early_end(trainer: AbstractTrainer, config: Config, chosen: str | None = None) -> Iterator[None]:
    """Turn Ctrl-C, a loss that is NaN and too little memory into one sentence each.

    Args:
        trainer: its checkpoint is the best state.
        config: RecBole's.
        chosen: the best state where the trainer has saved none.

    Raises:
        TrainingError: the loss became NaN, or there is not enough memory.
        TrainingInterrupted: Ctrl-C; it is a ``KeyboardInterrupt``.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise TrainingInterrupted(f"Interrupted: {best_state(trainer.saved_model_file, chosen)}") from None
    except (ValueError, RuntimeError) as error:
        reason = _reason(error, config)
        if reason is None:
            raise
        raise TrainingError(f"{reason}; {best_state(trainer.saved_model_file, chosen)}") from error


def best_state(*checkpoints: str | None) -> str:
    """The end of a sentence about a training that ended early: where its best state is, the first of these that exists."""
    for checkpoint in checkpoints:
        if checkpoint and Path(checkpoint).is_file():
            return f"the best state so far is in {checkpoint}."
    return "no checkpoint has been written."


def _reason(error: Exception, config: Config) -> str | None:
    """Why training cannot go on, and what to change; None for a bug."""
    text = str(error)
    if text == "Training loss is nan":  # Trainer._check_nan.
        return (
            f"The loss became NaN: lower learning_rate={config['learning_rate']!r}, or limit the gradients, for example "
            "with clip_grad_norm={'max_norm': 5}"
        )
    if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in text:
        return (
            f"There is not enough memory: lower train_batch_size={config['train_batch_size']} or "
            f"eval_batch_size={config['eval_batch_size']}, or the sizes of the model"
        )
    if "SparseAdam does not support dense gradients" in text:
        return f"learner=sparse_adam is not for {config['model']}, whose gradients are dense: take learner=adam"
    return None
