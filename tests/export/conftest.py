"""Checkpoints to export: one trained model of each kind on the block-structured data, trained once."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import Experiment, block_pairs, write_inter

MODELS = ("MultVAE", "MultDAE", "MultiVAE", "MultiDAE")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The path of a checkpoint by model; the data set lies beside it, in ``blocks``."""
    folder = tmp_path_factory.mktemp("trained")
    write_inter(folder, "blocks", block_pairs())
    before, arguments = os.getcwd(), sys.argv
    os.chdir(folder)
    sys.argv = ["test"]
    try:
        paths = {}
        for model in MODELS:
            own = model in ("MultVAE", "MultDAE")
            experiment = Experiment(model, **({} if own else {"train_neg_sample_args": None}))
            experiment.fit()
            paths[model] = folder / f"{model}.pth"
            shutil.copy(experiment.trainer.saved_model_file, paths[model])
        return paths
    finally:
        os.chdir(before)
        sys.argv = arguments


@pytest.fixture
def checkpoint(trained: dict[str, Path]) -> Path:
    """A checkpoint of MultVAE."""
    return trained["MultVAE"]
