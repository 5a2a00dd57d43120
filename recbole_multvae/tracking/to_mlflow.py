"""MLflow. ``MLFLOW_TRACKING_URI``, ``MLFLOW_EXPERIMENT_NAME`` and all its other variables are read by its client."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import mlflow.onnx
import onnx
from mlflow.entities import Metric, Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from mlflow.utils.validation import MAX_METRICS_PER_BATCH, MAX_PARAM_VAL_LENGTH

from recbole_multvae.tracking import base
from recbole_multvae.tracking.base import Curve, Entry, State

#: Tags of ours: an entry's number, whether it is complete, and the digest of its ONNX file.
_NUMBER, _COMPLETE, _ONNX = "multvae_number", "multvae_complete", "multvae_onnx"
_STATES = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class Tracker(base.Tracker):
    """An entry is an MLflow run; a row is the parent of its runs."""

    def __init__(self, dataset: str) -> None:
        if number := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            experiment = mlflow.set_experiment(experiment_id=number)
        else:
            experiment = mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", dataset))
        self._experiment = experiment.experiment_id
        self._client = mlflow.MlflowClient()

    def _find(self, number: str) -> list[Run]:
        return list(self._client.search_runs([self._experiment], f"tags.{_NUMBER} = '{number}'"))

    def begin(self, entry: Entry) -> Session | None:
        """See the base class. An entry that was cut short is deleted, and begins anew."""
        for run in self._find(entry.number) if entry.number else ():
            if _COMPLETE in run.data.tags:
                return None
            self._client.delete_run(run.info.run_id)
        tags = {**entry.tags, **({_NUMBER: entry.number} if entry.number else {})}
        run = mlflow.start_run(experiment_id=self._experiment, run_name=entry.name, tags=tags)
        mlflow.log_params({key: str(value)[:MAX_PARAM_VAL_LENGTH] for key, value in entry.keys.items()})
        for child in (child for number in entry.runs for child in self._find(number)):
            self._client.set_tag(child.info.run_id, MLFLOW_PARENT_RUN_ID, run.info.run_id)
        return Session(self._client, run.info.run_id)

    def add_onnx(self, entry: Entry, file: str) -> None:
        """See the base class."""
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        for run in self._find(str(entry.number)):
            if run.data.tags.get(_ONNX) == digest:
                continue
            with mlflow.start_run(run_id=run.info.run_id):
                # Without requirements MLflow would load the model in a process to find them.
                requirements = mlflow.onnx.get_default_pip_requirements()
                mlflow.onnx.log_model(
                    onnx.load(file), name="onnx", pip_requirements=requirements, save_as_external_data=False
                )
                mlflow.set_tag(_ONNX, digest)


class Session(base.Session):
    """See the base class."""

    def __init__(self, client: Any, run: str) -> None:
        self._client, self._run = client, run

    def log_curve(self, curve: Curve) -> None:
        """See the base class."""
        now = round(time.time() * 1000)
        values = ((epoch, *each) for epoch, metrics in curve for each in base.named("valid", metrics).items())
        points = [Metric(_allowed(name), value, now, epoch) for epoch, name, value in values]
        for first in range(0, len(points), MAX_METRICS_PER_BATCH):
            self._client.log_batch(self._run, metrics=points[first : first + MAX_METRICS_PER_BATCH])

    def end(self, metrics: Mapping[str, float], checkpoint: str | None, state: State) -> None:
        """See the base class."""
        mlflow.log_metrics({_allowed(name): value for name, value in metrics.items()}, run_id=self._run)
        if checkpoint:
            mlflow.log_artifact(checkpoint, "checkpoint", run_id=self._run)
        if state == "finished":
            mlflow.set_tag(_COMPLETE, True)
        mlflow.end_run(_STATES[state])


def _allowed(name: str) -> str:
    """``ndcg_at_10`` for ``ndcg@10``, as MLflow writes its own metrics; it refuses other characters."""
    return re.sub(r"[^\w\-. /:]", "_", name.replace("@", "_at_"))
