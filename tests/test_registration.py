from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import recbole
from recbole.config import Config
from recbole.data.dataloader import FullSortEvalDataLoader, NegSampleEvalDataLoader, TrainDataLoader, UserDataLoader
from recbole.utils import get_model

import recbole_multvae
from recbole_multvae import MultDAE, MultVAE, register
from recbole_multvae.data.loaders import BatchedFullSortEvalDataLoader, ClickUserDataLoader
from recbole_multvae.errors import ConfigurationError, UnsupportedVersionError
from tests.conftest import QUICK, Experiment


def test_get_model_finds_the_family() -> None:
    assert get_model("MultVAE") is MultVAE
    assert get_model("MultDAE") is MultDAE


def test_importing_and_registering_twice_is_harmless(blocks: str) -> None:
    wrapped = Config._load_internal_config_dict
    importlib.reload(recbole_multvae)
    register()
    assert Config._load_internal_config_dict is wrapped
    assert get_model("MultVAE") is MultVAE
    Experiment("MultVAE").fit()


@pytest.mark.parametrize("version", ["1.1.1", "1.2.0", "2.0.0"])
def test_other_recbole_is_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(recbole, "__version__", version)
    message = f"RecBole 1.2.1, but {version} is installed: pip install --no-deps recbole=="
    with pytest.raises(UnsupportedVersionError, match=message):
        importlib.reload(recbole_multvae)


def test_default_yaml_is_read_and_the_user_s_keys_win(blocks: str) -> None:
    config = Config("MultVAE", "ml-100k")
    assert (config["mlp_hidden_size"], config["latent_dimension"], config["train_batch_size"]) == ("auto", 200, "auto")
    assert config["learning_rate"] == "auto"
    assert Config("MultVAE", "ml-100k", config_dict={"train_batch_size": 7})["train_batch_size"] == 7
    assert Config("MultDAE", "ml-100k")["mlp_hidden_size"] == []


def test_default_yaml_reaches_a_model_passed_as_a_class(blocks: str) -> None:
    class MyVAE(MultVAE):
        pass

    config = Config(MyVAE, "ml-100k")
    assert config["model"] == "MyVAE"
    assert config["latent_dimension"] == 200


def test_dataset_yaml_keeps_its_place_after_the_model_s() -> None:
    # RecBole reads overall, model, sample and data set YAML in this order; ml-100k's says which columns to load.
    assert Config("MultVAE", "ml-100k")["load_col"] == {"inter": ["user_id", "item_id", "rating", "timestamp"]}


@pytest.mark.parametrize(
    ("model", "keys", "train", "valid"),
    [
        ("MultVAE", {}, ClickUserDataLoader, BatchedFullSortEvalDataLoader),
        ("MultVAE", {"eval_args": {"mode": "uni5"}}, ClickUserDataLoader, NegSampleEvalDataLoader),
        ("MultiVAE", {"train_neg_sample_args": None}, UserDataLoader, FullSortEvalDataLoader),
        ("BPR", {"embedding_size": 4}, TrainDataLoader, FullSortEvalDataLoader),
    ],
)
def test_loaders(blocks: str, model: str, keys: dict[str, object], train: type, valid: type) -> None:
    if model == "BPR":
        keys = {**keys, "latent_dimension": None}
    experiment = Experiment(model, **keys)
    assert type(experiment.train_data) is train
    assert type(experiment.valid_data) is type(experiment.test_data) is valid
    experiment.fit()
    assert experiment.trainer.evaluate(experiment.test_data)["recall@10"] > 0


def test_recbole_s_own_models_are_not_checked_for_keys(blocks: str, caplog: pytest.LogCaptureFixture) -> None:
    Config("MultiVAE", "blocks", config_dict={**QUICK, "anneal_capp": 3, "latent_dimension": 4})


def test_key_for_another_model_is_a_warning(blocks: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Config("MultVAE", "blocks", config_dict={**QUICK, "dropout": 0.3, "n_layers": 2, "my_note": 1})
    assert "dropout=0.3 has no effect on this model: did you mean dropout_prob?" in caplog.text
    assert "my_note=1 has no effect on this model." in caplog.text
    assert "n_layers" not in caplog.text


def test_misspelt_key_in_a_file_or_on_the_command_line(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path_factory.mktemp("config") / "c.yaml"
    file.write_text("total_anneal_step: 10\n")
    with pytest.raises(ConfigurationError, match=r"total_anneal_step=10 .* did you mean total_anneal_steps"):
        Config("MultVAE", "ml-100k", config_file_list=[str(file)])
    monkeypatch.setattr(sys, "argv", ["run", "--droput_prob=0.1"])
    with pytest.raises(ConfigurationError, match=r"droput_prob=0.1 .* did you mean dropout_prob"):
        Config("MultVAE", "ml-100k")


def test_training_does_not_import_ray() -> None:
    code = "import sys, recbole_multvae.commands.train, recbole_multvae.commands.recommend; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code]).returncode == 0


def test_a_checkpoint_can_be_loaded_before_any_configuration_is_made(blocks: str) -> None:
    Experiment("MultVAE").fit()
    (file,) = Path("saved").glob("*.pth")
    code = (
        "import sys, recbole_multvae; from recbole.quick_start import load_data_and_model;"
        f"load_data_and_model({str(file)!r})"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True).returncode == 0


class TestQuickStart:
    """RecBole's own entry points, with a model of ours."""

    def test_run_recbole(self, blocks: str) -> None:
        from recbole.quick_start import run_recbole

        result = run_recbole("MultVAE", blocks, config_dict=QUICK)
        assert 0 < result["test_result"]["recall@10"] <= 1

    def test_objective_function(self, blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from recbole import quick_start

        # Outside a trial of ray's, its report has nobody to report to.
        monkeypatch.setattr(sys.modules["recbole.quick_start.quick_start"].tune, "report", lambda **metrics: None)
        keys = {**QUICK, "model": "MultDAE", "dataset": blocks, "learning_rate": 0.01}
        result = quick_start.objective_function(keys, saved=True)
        assert result["model"] == "MultDAE"
        assert result["test_result"]["recall@10"] > 0

    def test_load_data_and_model(self, blocks: str) -> None:
        from recbole.quick_start import load_data_and_model

        experiment = Experiment("MultVAE")
        experiment.fit()
        config, model, *_, test_data = load_data_and_model(experiment.trainer.saved_model_file)
        assert config["model"] == "MultVAE"
        assert config.model_class is MultVAE
        expected = experiment.trainer.evaluate(experiment.test_data)
        assert experiment.trainer.evaluate(test_data) == expected
        for name, value in model.state_dict().items():
            assert value.equal(experiment.model.state_dict()[name])


@pytest.mark.parametrize(("switch", "ours"), [("0", False), ("1", True)])
def test_torch_load_is_left_alone_if_asked(switch: str, ours: bool) -> None:
    code = "import torch; before = torch.load; import recbole_multvae, sys; sys.exit(torch.load is not before)"
    environment = {**os.environ, "RECBOLE_MULTVAE_TORCH_LOAD": switch}
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environment).returncode == ours


def test_only_what_recbole_has_no_look_up_for_is_wrapped() -> None:
    source = Path(recbole_multvae.__file__).with_name("registration.py").read_text("utf-8")
    # Of them four in loops: over two modules, twice, over the corrections, and over RecBole's filters.
    assert source.count("    _wrap(") == 20
