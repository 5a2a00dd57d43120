"""Checkpoints to export: one trained model of each kind on the block-structured data, trained once."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from multvae_export import golden
from multvae_export.graph import onnx_file
from multvae_export.nodes.nodes import Nodes
from multvae_export.trained_model import Model

from tests.conftest import Experiment, block_pairs, write_inter

MODELS = ("MultVAE", "MultDAE", "MultiVAE", "MultiDAE")


def change_nodes(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Write every graph with one text of its nodes in place of another."""
    original = onnx_file.body

    def changed(*arguments: Any) -> Nodes:
        nodes = original(*arguments)
        assert old in nodes.text
        return Nodes(nodes.text.replace(old, new), nodes.constants)

    monkeypatch.setattr(onnx_file, "body", changed)


@contextmanager
def blocks_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """Work in a new folder that holds the block-structured data set, for fixtures that outlive a test."""
    folder = tmp_path_factory.mktemp(name)
    write_inter(folder, "blocks", block_pairs())
    before, arguments = os.getcwd(), sys.argv
    os.chdir(folder)
    sys.argv = ["test"]
    try:
        yield folder
    finally:
        os.chdir(before)
        sys.argv = arguments


def checkpoint_of(experiment: Experiment, name: str) -> Path:
    """Train, and copy the checkpoint into the working folder under a name."""
    experiment.fit()
    return Path(shutil.copy(experiment.trainer.saved_model_file, Path(f"{name}.pth").absolute()))


def assert_as_good_as_recbole(
    items: np.ndarray, scores: np.ndarray, recbole_scores: torch.Tensor, tokens: Any, **near: float
) -> None:
    """The 10 best items of each user, [B, 10], have the scores that RecBole's have: items that tie may change places.

    ``recbole_scores`` are RecBole's scores of all items, [B, C], ``tokens`` the items' tokens by id.
    """
    ids = {token: n for n, token in enumerate(tokens) if n}
    best = recbole_scores.topk(10).values.numpy()
    np.testing.assert_allclose(scores, best, **near)
    worth = recbole_scores.numpy()[np.arange(len(items))[:, None], np.vectorize(ids.__getitem__)(items)]
    np.testing.assert_allclose(worth, best, **near)


def golden_answers(session: Any, model: Model) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Run the golden cases: the name of each, a file's scores, and torch's. Shapes, padding and seen items are checked."""
    for case in golden.cases(model):
        length = max(map(len, case["history"]))
        history = np.array([row + [""] * (length - len(row)) for row in case["history"]], dtype=object)
        items, scores = session.run(None, {"history": history, "k": np.array([case["k"]])})
        expected = np.array([[-np.inf if score is None else score for score in row] for row in case["scores"]])
        assert items.shape == expected.shape, case["name"]
        assert ((items == "") == np.isneginf(expected)).all(), case["name"]
        for row, seen in zip(items, case["history"], strict=True):
            assert not set(row[row != ""]) & set(seen), case["name"]
        yield case["name"], scores, expected


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The path of a checkpoint by model; the data set lies beside it, in ``blocks``."""
    plugin = ("MultVAE", "MultDAE")
    with blocks_folder(tmp_path_factory, "trained"):
        keys = {model: {} if model in plugin else {"train_neg_sample_args": None} for model in MODELS}
        return {model: checkpoint_of(Experiment(model, **keys[model]), model) for model in MODELS}


@pytest.fixture
def checkpoint(trained: dict[str, Path]) -> Path:
    """A checkpoint of MultVAE."""
    return trained["MultVAE"]
