"""A run of this package, step by step as its command makes it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.experiment.preparation import Experiment, prepare
from recbole_multvae.experiment.recbole_errors import explain_recbole_errors
from tests.differential.made import NAME, Example
from tests.differential.outcome import Candidates, Outcome, of_data, scores_of


def write(example: Example, folder: Path) -> None:
    """Write the files of a data set, and remove those of another."""
    path = folder / NAME
    path.mkdir(parents=True, exist_ok=True)
    for old in path.iterdir():
        old.unlink()
    for name, content in example.files.items():
        (path / f"{NAME}{name}").write_bytes(content)


def run(example: Example, folder: Path) -> Outcome:
    """Run an example, whose files are in ``folder``.

    Raises:
        MultVAEError: the command ends in a sentence.
    """
    with explain_recbole_errors(), _own_streams():
        config = make_config(example.model, NAME, None, _keys(example, folder), {})
        experiment = prepare(config)
        outcome = of_data([experiment.train_data, experiment.valid_data, experiment.test_data])
        _train(experiment, outcome)
        return outcome


@contextmanager
def _own_streams() -> Iterator[None]:
    """RecBole's ``init_logger`` wraps the streams anew in every run: after a thousand, a print would recurse too deeply."""
    streams = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def _keys(example: Example, folder: Path) -> dict[str, Any]:
    return {**example.keys, "data_path": str(folder), "checkpoint_dir": str(folder / "saved")}


def _train(experiment: Experiment, outcome: Outcome) -> None:
    trainer: Any = experiment.trainer
    candidates = Candidates(trainer)
    outcome.valid_metrics = dict(experiment.fit(saved=False)[1] or {})
    candidates.take("valid", experiment.valid_data, outcome)
    outcome.test_metrics = dict(experiment.test(saved=False) or {})
    candidates.take("test", experiment.test_data, outcome)
    outcome.scores = scores_of(trainer.model, outcome)
