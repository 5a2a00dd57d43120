"""Keys that are left at auto follow from the size of the training data, and the user's keys win."""

from __future__ import annotations

import logging

import pytest
from recbole.config import Config
from recbole.data.dataset import Dataset

from recbole_multvae.config import automatic
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.models.multvae import MultVAE
from tests.conftest import QUIET, Experiment

AUTOMATIC = {**QUIET, "data_path": ".", "latent_dimension": 4, "epochs": 1}


class Data:
    """A data set of a size, as far as the rule looks at it."""

    uid_field = "user_id"

    def __init__(self, users: int, items: int, clicks: int) -> None:
        self.item_num, self.inter_num = items + 1, clicks
        self.inter_feat = {"user_id": self}
        self.unique = lambda: range(users)


@pytest.mark.parametrize(
    ("size", "hidden", "batch", "rate", "step"),
    [
        ((943, 1682, 80_808), [], 50, 0.002, 5),  # ml-100k
        ((6033, 3123, 673_059), [600], 251, 0.002008, 4),  # ml-1m
        ((29_858, 40_981, 719_081), [], 500, 0.003, 2),  # gowalla
        ((116_677, 20_108, 8_500_000), [600], 500, 0.003, 1),  # ml-20m
        ((20, 5, 60), [], 50, 0.002, 30),
    ],
)
def test_rule(size: tuple[int, int, int], hidden: list[int], batch: int, rate: float, step: int) -> None:
    config = Config("MultVAE", "ml-100k")
    automatic.resolve_auto(config, Data(*size))
    chosen = [config[key] for key in ("mlp_hidden_size", "train_batch_size", "learning_rate", "eval_step")]
    assert chosen == [hidden, batch, rate, step]


@pytest.mark.parametrize(
    ("items", "neighbours", "penalty"),
    [(20, 200, 300.0), (3_123, 200, 300.0), (17_632, 200, 113.0), (40_981, 97, 49.0), (1_000_000, 20, 20.0)],
)
def test_rule_of_the_sparse_linear_model(items: int, neighbours: int, penalty: float) -> None:
    config = Config("SparseEDLAE", "ml-100k")
    automatic.resolve_auto(config, Data(1000, items, 100_000))
    assert (config["neighbours"], config["reg_weight"]) == (neighbours, penalty)


def test_a_named_key_wins_and_the_others_follow_from_it() -> None:
    config = Config("MultVAE", "ml-100k", config_dict={"train_batch_size": 300})
    automatic.resolve_auto(config, Data(943, 1682, 80_808))
    assert (config["train_batch_size"], config["learning_rate"], config["eval_step"]) == (300, 0.0024, 25)


def test_few_epochs_are_validated_in() -> None:
    config = Config("MultVAE", "ml-100k", config_dict={"epochs": 5})
    automatic.resolve_auto(config, Data(943, 1682, 80_808))
    assert config["eval_step"] == 1


def test_other_optimisers_keep_recbole_s_rate() -> None:
    config = Config("MultVAE", "ml-100k", config_dict={"learner": "sgd"})
    automatic.resolve_auto(config, Data(29_858, 40_981, 719_081))
    assert config["learning_rate"] == 0.001


def test_what_was_chosen_is_logged_and_saved(blocks: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        experiment = Experiment("MultVAE", defaults=AUTOMATIC)
    (line,) = [record.getMessage() for record in caplog.records if record.message.startswith("Left at auto")]
    assert line.startswith("Left at auto, and chosen for 40 users, 20 items and ")
    assert "train_batch_size: 50  (users / 24, from 50 to 500)" in line
    assert experiment.config["train_batch_size"] == experiment.train_data.step == 50
    assert experiment.trainer.optimizer.param_groups[0]["lr"] == 0.002
    assert experiment.model.spec()["mlp_hidden_size"] == []


def test_models_of_several_configurations_share_a_data_set(blocks: str) -> None:
    data = Experiment("MultDAE", defaults=AUTOMATIC).train_data.dataset
    config = Config("MultVAE", blocks, config_dict=AUTOMATIC)
    model = MultVAE(config, data)
    assert (config["train_batch_size"], model.settings.mlp_hidden_size) == (50, [])


def test_a_model_of_a_split_of_the_user_s_own(blocks: str) -> None:
    data = Dataset(Config("MultVAE", blocks, config_dict=AUTOMATIC))
    data._change_feat_format()
    train, _ = data.split_by_ratio([0.9, 0.1])
    assert MultVAE(data.config, train).spec()["mlp_hidden_size"] == []


def test_the_paper_s_values(blocks: str) -> None:
    from recbole_multvae.config.yaml_files import read_keys

    keys = read_keys("paper")
    experiment = Experiment("MultVAE", defaults={**QUIET, "data_path": ".", "epochs": 1}, **keys)
    assert [layer["units"] for layer in experiment.model.spec()["layers"]] == [600, 200, 600, 20]
    assert experiment.trainer._average is None


@pytest.mark.parametrize("key", ["train_batch_size", "learning_rate", "eval_step"])
def test_auto_is_for_the_family(blocks: str, key: str) -> None:
    from recbole_multvae.experiment.configuration import make_config

    make_config("MultVAE", blocks, keys={key: "auto", "data_path": "."}, command_line={})
    with pytest.raises(ConfigurationError, match=rf"{key}='auto' is not allowed"):
        make_config("BPR", blocks, keys={key: "auto", "data_path": "."}, command_line={})
