"""Weights & Biases. ``WANDB_PROJECT``, ``WANDB_MODE`` and all its other variables are read by its client."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from recbole_multvae.tracking import base
from recbole_multvae.tracking.base import Curve, Entry, State

#: In the folder of a run that was written offline: it is complete. Online the summary has an entry of this name.
_COMPLETE = "complete"


class Tracker(base.Tracker):
    """An entry is a W&B run, whose id is its number; a row is a run in the group of its runs."""

    rival = "log_wandb"

    def __init__(self, dataset: str) -> None:
        self._project = os.environ.get("WANDB_PROJECT", dataset)
        settings = wandb.setup().settings
        self._offline, self._folder = settings.mode in ("offline", "dryrun"), Path(settings.wandb_dir)
        if settings.mode == "online":
            wandb.login(verify=True)  # It may ask the user, and later there may be nobody to answer.

    def begin(self, entry: Entry) -> Session | None:
        """See the base class."""
        run = self._init(entry, "row" if entry.runs else "train", entry.number)
        if run is None:
            return None
        run.define_metric("valid/*", step_metric="epoch")
        return Session(run)

    def add_onnx(self, entry: Entry, file: str) -> None:
        """See the base class. The file is that of a run of its own in the entry's group."""
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        if run := self._init(entry, "export", base.number(str(entry.number), digest)):
            _log_file(run, file, f"{run.id}-onnx")
            Session(run).end({}, None, "finished")

    def _init(self, entry: Entry, job: str, number: str | None) -> Any:
        """Begin a run; None if there is a complete one with this id."""
        if self._offline and number and any(self._folder.glob(f"offline-run-*-{number}/{_COMPLETE}")):
            return None
        # What is told afterwards has neither an output nor a machine.
        after = {"console": "off", "silent": True, "x_disable_stats": True, "x_disable_machine_info": True}
        run = wandb.init(
            project=self._project,
            id=number,
            name=os.environ.get("WANDB_NAME", entry.name),
            group=entry.group or os.environ.get("WANDB_RUN_GROUP"),
            job_type=os.environ.get("WANDB_JOB_TYPE", job),
            config={**entry.keys, **entry.tags},
            resume="allow" if number else None,
            reinit="create_new",
            settings=wandb.Settings(**(after if number else {})),
        )
        if run.summary.get(_COMPLETE):
            run.finish()
            return None
        return run


class Session(base.Session):
    """See the base class."""

    def __init__(self, run: Any) -> None:
        self._run, self._validations = run, 0

    def log_curve(self, curve: Curve) -> None:
        """See the base class. If the run was cut short, W&B leaves out the steps that it has."""
        for epoch, metrics in curve:
            self._run.log({**base.named("valid", metrics), "epoch": epoch}, step=self._validations)
            self._validations += 1

    def end(self, metrics: Mapping[str, float], checkpoint: str | None, state: State) -> None:
        """See the base class."""
        if checkpoint:
            _log_file(self._run, checkpoint, f"{self._run.id}-checkpoint")
        self._run.summary.update({**metrics, _COMPLETE: state == "finished"})
        offline = self._run.offline
        self._run.finish(exit_code=0 if state == "finished" else 1)
        if offline:
            Path(self._run.settings.sync_dir, _COMPLETE).touch()


def _log_file(run: Any, file: str, name: str) -> None:
    artifact = wandb.Artifact(name, type="model")
    artifact.add_file(file)
    run.log_artifact(artifact)
