"""The seed of the split apart from that of the training."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from recbole_multvae.errors import ConfigurationError
from tests.conftest import QUICK
from tests.data.made import clicks, prepared, rows_of, write

OURS = {key: value for key, value in QUICK.items() if key not in ("data_path", "epochs")}
SPLITS: dict[str, dict[str, Any]] = {
    "RS": {"split": {"RS": [8, 1, 1]}, "group_by": "user", "order": "RO", "mode": "full"},
    "RS of all": {"split": {"RS": [8, 1, 1]}, "group_by": None, "order": "RO", "mode": "full"},
    "LS": {"split": {"LS": "valid_and_test"}, "order": "RO", "mode": "full"},
    "WG": {"split": {"WG": {}}},
    "SG": {"split": {"SG": {"valid_users": 4, "test_users": 4}}},
}


def parts(model: str, **keys: Any) -> list[list[tuple[Any, ...]]]:
    made = prepared(model, "made", **(OURS if model == "MultVAE" else {}), **keys)
    return [sorted(rows_of(loader)) for loader in (made.train_data, made.valid_data, made.test_data)]


@pytest.mark.parametrize("model", ["MultVAE", "EASE"])
@pytest.mark.parametrize("split", SPLITS)
def test_the_split_is_that_of_a_run_with_this_seed(split: str, model: str) -> None:
    write("made", clicks())
    keys = {"eval_args": SPLITS[split]}
    of_seed = {seed: parts(model, seed=seed, **keys) for seed in (3, 7)}
    assert of_seed[3] != of_seed[7]
    for seed in of_seed:
        assert parts(model, seed=seed, split_seed=7, **keys) == of_seed[7]
        assert parts(model, seed=seed, split_seed=None, **keys) == of_seed[seed]


def test_a_split_s_own_seed_comes_first() -> None:
    write("made", clicks())
    own = {"eval_args": {"split": {"WG": {"seed": 3}}}}
    assert parts("EASE", split_seed=7, **own) == parts("EASE", seed=3, eval_args=SPLITS["WG"])


def test_the_training_is_that_of_its_own_seed() -> None:
    write("made", clicks())
    weights = [prepared("MultVAE", "made", **OURS, seed=seed, split_seed=7).trainer.model.state_dict() for seed in (3, 3, 7)]
    same, other = (all(torch.equal(weights[0][name], each[name]) for name in each) for each in weights[1:])
    assert same and not other


@pytest.mark.parametrize("value", [-1, 2**32, "many", 1.5])
@pytest.mark.parametrize("model", ["MultVAE", "EASE"])
def test_mistakes(model: str, value: Any) -> None:
    write("made", clicks())
    with pytest.raises(ConfigurationError, match=f"split_seed={value!r} is not allowed: expected an integer from"):
        prepared(model, "made", split_seed=value)
