"""Telling a tracker of one run while it goes on: what was told stays there, however the run ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from recbole_multvae.data.split_digest import digest
from recbole_multvae.experiment.preparation import Experiment
from recbole_multvae.tracking.base import Entry, Session, State, effective_keys, named, tags
from recbole_multvae.tracking.telling import Telling


@dataclass
class Outcome:
    """What a run leaves: its metrics by name, and its checkpoint."""

    checkpoint: str
    metrics: dict[str, float] = field(default_factory=dict)

    def add(self, part: str, metrics: Mapping[str, float] | None) -> None:
        """Add the metrics of a part, such as ``test``; None if it is empty."""
        self.metrics |= named(part, metrics)


@contextmanager
def follow(telling: Telling, experiment: Experiment) -> Iterator[Outcome]:
    """Tell of a training: of its configuration at once, of each validation, and at the end of the outcome.

    The block fills in the outcome.
    """
    outcome, session = Outcome(experiment.trainer.saved_model_file), _begin(telling, experiment)
    del experiment  # A refit in the block needs its memory.
    state: State = "failed"
    try:
        yield outcome
        state = "finished"
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    finally:
        if session is not None:
            file = outcome.checkpoint if Path(outcome.checkpoint).is_file() else None
            telling.attempt(lambda _: session.end(outcome.metrics, file, state))


def _begin(telling: Telling, experiment: Experiment) -> Session | None:
    session = telling.attempt(lambda tracker: tracker.begin(_entry(experiment)))
    if session is not None:
        experiment.on_validation(lambda epoch, metrics: telling.attempt(lambda _: session.log_curve([(epoch, metrics)])))
    return session


def _entry(experiment: Experiment) -> Entry:
    config = experiment.config
    row = getattr(experiment.trainer.model, "title", config["model"])
    parts = [loader.dataset for loader in (experiment.train_data, experiment.valid_data, experiment.test_data)]
    split = digest(parts) if parts[0].uid_field and parts[0].iid_field else "unknown"
    return Entry(
        name=f"{row}, seed {config['seed']}",
        keys=effective_keys(config),
        tags=tags(config["model"], row, config["dataset"], config["seed"], split),
    )
