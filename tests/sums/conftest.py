"""Trained members of sums, as checkpoints."""

from __future__ import annotations

from typing import Any

from tests.conftest import Experiment

METRIC = {"valid_metric": "NDCG@5", "topk": [5], "metrics": ["NDCG", "Recall"]}


def trained(model: str, dataset: str = "uneven", **keys: Any) -> Experiment:
    """A trained model with its best weights; its checkpoint is ``trainer.saved_model_file``."""
    experiment = Experiment(model, dataset, **METRIC, **keys)
    experiment.fit()
    experiment.trainer.evaluate(experiment.valid_data, load_best_model=True)
    return experiment


def added(members: dict[str, Experiment], dataset: str = "uneven", **keys: Any) -> Experiment:
    """The sum of trained members, trained too."""
    files = {name: member.trainer.saved_model_file for name, member in members.items()}
    return trained("Sum", dataset, members=files, **keys)
