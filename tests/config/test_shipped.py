"""The ready configurations of data sets: which are read by themselves, which by name, and what they say."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from recbole.config import Config
from recbole.data import create_dataset

from recbole_multvae.config import shipped
from recbole_multvae.config.keys import recbole_keys
from recbole_multvae.data.protocols import chosen
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.experiment.run import run
from recbole_multvae.likelihoods import likelihoods
from recbole_multvae.models import FAMILY
from tests.conftest import QUICK, QUIET

#: Users held out for validation and for the test each, and epochs (Liang et al., section 4).
PAPER = {"ml-20m": (10_000, 200), "netflix": (40_000, 100), "msd": (50_000, 100)}
#: A run on one of the paper's data sets in small.
SMALL = {**QUICK, "epochs": 1, "topk": [5], "valid_metric": "NDCG@5", "val_interval": None, "load_col": None,
         "user_inter_num_interval": None, "eval_args": {"split": {"SG": {"valid_users": 9, "test_users": 9}}}}  # fmt: skip


@pytest.mark.parametrize("dataset", PAPER)
@pytest.mark.parametrize("model", ["MultVAE", "MultDAE"])
def test_a_data_set_of_the_paper_is_its_experiment(dataset: str, model: str) -> None:
    config = Config(model, dataset)
    held_out, epochs = PAPER[dataset]
    split = {"SG": {"valid_users": held_out, "test_users": held_out, "fold_in": 0.8, "seed": 98765}}
    assert config["eval_args"] == {
        "split": split, "mode": {"valid": "full", "test": "full"}, "order": "RO", "group_by": "user"
    }  # fmt: skip
    assert config["val_interval"] == (None if dataset == "msd" else {"rating": "[4,inf)"})
    assert config["user_inter_num_interval"] == ("[20,inf)" if dataset == "msd" else "[5,inf)")
    assert config["item_inter_num_interval"] == ("[200,inf)" if dataset == "msd" else "[0,inf)")
    assert (config["metrics"], config["topk"], config["valid_metric"]) == (
        ["CappedRecall", "NDCG"],
        [20, 50, 100],
        "NDCG@100",
    )
    # The notebook's networks: I-600-200-600-I for the one, for which auto takes 600 here, I-200-I for the other.
    assert (config["mlp_hidden_size"], config["latent_dimension"]) == ("auto" if model == "MultVAE" else [], 200)
    assert (config["decoder_hidden_size"], config["kl_weighting"], config["ema_decay"]) == ("mirrored", "equal", 0)
    assert (config["dropout_prob"], config["train_batch_size"], config["learning_rate"]) == (0.5, 500, 0.001)
    assert (config["anneal_cap"], config["total_anneal_steps"], config["likelihood"]) == (0.2, 200_000, "multinomial")
    assert config["epochs"] == config["stopping_step"] == epochs


def test_it_is_for_the_family_only_and_the_user_s_keys_win() -> None:
    assert chosen(Config("EASE", "ml-20m")) is None
    assert Config("BPR", "ml-20m")["epochs"] == 300
    config = Config("MultVAE", "ml-20m", config_dict={"epochs": 7, "eval_args": {"split": {"RS": [8, 1, 1]}}})
    assert config["epochs"] == 7 and chosen(config) is None
    assert Config("MultVAE", "ml-1m")["eval_args"]["split"] == {"RS": [0.8, 0.1, 0.1]}


def test_the_log_says_so_in_one_line(write_dataset: Any, caplog: pytest.LogCaptureFixture) -> None:
    pairs = [(f"u{user}", f"i{(3 * user + item) % 40}") for user in range(40) for item in range(10)]
    for name in ("ml-20m", "other"):
        write_dataset(name, pairs)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            for _ in range(2):  # The second time the data set is the saved one.
                create_dataset(Config("MultVAE", name, config_dict={**SMALL, "state": "INFO", "save_dataset": True}))
        lines = [line for line in caplog.text.splitlines() if "The configuration starts from" in line]
        assert len(lines) == 2 * (name == "ml-20m")
        assert all("dataset/ml-20m.yaml" in line for line in lines)


@pytest.mark.parametrize("name", ["ml-1m-strong", "ml-1m-strong.yaml", str(shipped.configurations()["ml-1m-strong"])])
@pytest.mark.parametrize("model", ["MultVAE", "EASE"])
def test_a_file_is_found_by_its_name(name: str, model: str) -> None:
    config = make_config(model, "ml-1m", [name], QUIET, {})
    assert config["eval_args"]["split"]["SG"]["test_users"] == 750
    assert config["val_interval"] == {"rating": "[4,inf)"}


def test_a_file_of_the_user_s_goes_before_and_a_folder_does_not(tmp_path: Path) -> None:
    Path("ml-1m-strong").write_text("epochs: 3\n")
    Path("paper").mkdir()
    config = make_config("MultVAE", "ml-1m", ["ml-1m-strong", "paper"], QUIET, {})
    assert (config["epochs"], config["train_batch_size"]) == (3, 500)


def test_an_unknown_name_is_an_error_that_lists_them() -> None:
    with pytest.raises(ConfigurationError) as error:
        make_config("MultVAE", "ml-1m", ["ml-1m-wide"], QUIET, {})
    assert str(error.value) == (
        "--config_files names 'ml-1m-wide', but there is no such file, and the files that come with this package are "
        "gowalla-lightgcn, ml-1m-leaderboard, ml-1m-strong, ml-1m-weak, ml-20m, msd, netflix, gaussian, last, later, paper."
    )


def test_files_have_no_key_that_nothing_reads() -> None:
    known = recbole_keys().union(*(model.all_settings(name).model_fields for model in FAMILY for name in likelihoods()))
    for name, file in shipped.configurations().items():
        assert make_config("MultVAE", "ml-1m", [str(file)], QUIET, {}).file_config_dict.keys() <= known, name


def test_the_paper_s_data_set_in_small(write_dataset: Any) -> None:
    write_dataset("ml-20m", [(f"u{user}", f"i{(3 * user + item) % 40}") for user in range(40) for item in range(10)])
    result = run("MultVAE", "ml-20m", config_dict=SMALL)["test_result"]
    assert list(result) == ["cappedrecall@5", "ndcg@5"] and result["ndcg@5"] > 0


def test_gowalla_as_lightgcn_splits_it() -> None:
    Path("gowalla").mkdir()
    for part, rest in (("train", range(1, 8)), ("valid", [8]), ("test", [9])):
        rows = "".join(f"{user}\t{(2 * user + item) % 25}\n" for user in range(50) for item in rest)
        Path(f"gowalla/gowalla.{part}.inter").write_text("user_id:token\titem_id:token\n" + rows)
    keys = {key: value for key, value in QUICK.items() if key != "data_path"}
    for model in ("MultVAE", "BPR"):
        keys = keys if model == "MultVAE" else {**QUIET, "epochs": 1}
        result = run(model, "gowalla", ["gowalla-lightgcn"], {**keys, "data_path": "."})
        assert list(result["test_result"]) == ["recall@20", "ndcg@20"]
