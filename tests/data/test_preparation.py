from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataset import Dataset
from recbole.sampler import Sampler
from recbole.utils import FeatureSource

from tests.conftest import QUIET, Experiment, recbole_s

ML_100K = {**QUIET, "load_col": None}


def ml_100k(**keys: Any) -> Any:
    dataset = create_dataset(Config("MultVAE", "ml-100k", config_dict={**ML_100K, **keys}))
    dataset._change_feat_format()
    return dataset


@pytest.mark.parametrize("ratios", [[0.8, 0.1, 0.1], [6, 2, 2], [0.5, 0.5], [0.98, 0.01, 0.01], [0.9, 0, 0.1], [1]])
def test_split_is_recbole_s(ratios: list[float]) -> None:
    dataset = ml_100k()
    dataset.shuffle()
    expected = Dataset.split_by_ratio(dataset, ratios, "user_id")
    ours = dataset.split_by_ratio(ratios, group_by="user_id")
    assert len(ours) == len(expected) == len(ratios)
    for part, other in zip(ours, expected, strict=True):
        assert part.inter_feat.columns == other.inter_feat.columns
        for name, values in part.inter_feat.interaction.items():
            assert values.dtype == other.inter_feat[name].dtype
            assert torch.equal(values, other.inter_feat[name]), name


def test_used_items_are_recbole_s(blocks: str) -> None:
    sampler = Experiment("MultVAE").test_data._sampler
    expected = recbole_s(Sampler.get_used_ids)(sampler)
    ours = Sampler.get_used_ids(sampler)
    assert list(ours) == list(expected) == ["train", "valid", "test"]
    users = np.arange(sampler.user_num)
    for phase in ours:
        assert list(ours[phase][users]) == list(expected[phase][users])
        assert ours[phase][3] == expected[phase][3]
    negatives = sampler.sample_by_user_ids(np.array([1, 2, 2]), None, 4)
    assert not any(int(item) in expected["test"][user] for item, user in zip(negatives, [1, 2, 2] * 4, strict=True))


def read(name: str, load_feat: Any = Dataset._load_feat) -> Any:
    dataset = Dataset.__new__(Dataset)
    dataset.config = Config("MultVAE", name, config_dict={**ML_100K, "data_path": "."})
    dataset.logger = logging.getLogger()
    dataset._get_preset()
    dataset._get_field_from_config()
    return load_feat(dataset, f"{name}/{name}.inter", FeatureSource.INTERACTION)


def number(draw: random.Random) -> str:
    shape = draw.choice(["{:.17g}", "{:.3f}", "{:e}", "{:.0f}", "{:.25f}"])
    return shape.format(draw.choice([draw.random(), draw.gauss(0, 1) * 10 ** draw.randint(-300, 300)]))


@pytest.mark.parametrize("quote", ["", '"'], ids=["plain", "quoted"])
def test_tables_are_recbole_s(quote: str) -> None:
    """Lines of every kind that RecBole reads as they are meant."""
    draw = random.Random(0)
    tokens = ["u 1", "007", "1e5", "-", "é", " x", "inf", "#", "\\N"]
    rows = [
        f"{quote}{draw.choice(tokens)}{quote}\t{draw.randint(0, 9)}\t{draw.choice([number(draw), number(draw), 'NaN', ''])}"
        for _ in range(5000)
    ]
    rows[10:10] = ["", "  "]
    Path("odd").mkdir()
    Path("odd/odd.inter").write_text("user_id:token\titem_id:token\trating:float\n" + "\n".join(rows), "utf-8")
    ours, theirs = read("odd"), read("odd", recbole_s(Dataset._load_feat))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


def test_ml_100k_is_recbole_s(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = ml_100k()
    monkeypatch.setattr(Dataset, "_load_feat", recbole_s(Dataset._load_feat))
    theirs = ml_100k()
    for feat in ("inter_feat", "user_feat", "item_feat"):
        for name, values in getattr(theirs, feat).interaction.items():
            assert torch.equal(getattr(ours, feat)[name], values), name
    assert {field: list(tokens) for field, tokens in ours.field2id_token.items()} == {
        field: list(tokens) for field, tokens in theirs.field2id_token.items()
    }


def test_other_models_are_prepared_by_recbole(blocks: str) -> None:
    sampler = Experiment("BPR", latent_dimension=None).test_data._sampler
    assert isinstance(sampler.used_ids, np.ndarray)
    assert isinstance(sampler.used_ids[1], set)
