from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
import torch
from recbole.quick_start import run_recbole
from recbole.trainer import Trainer

from recbole_multvae import MultVAE, checkpoint
from recbole_multvae.commands.train import main
from recbole_multvae.data import memory
from recbole_multvae.experiment.run import run
from tests.conftest import QUICK, QUIET

FLAGS = ["--dataset=blocks", "--data_path=.", "--epochs=1", "--show_progress=False", "--state=ERROR", "--use_gpu=False"]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    """Run the command line; returns the exit code and what it printed to stderr."""

    def call(*flags: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["run_recbole.py", *flags])
        return main(list(flags)), capsys.readouterr().err

    return call


@pytest.mark.parametrize("model", ["MultVAE", "MultDAE", "LightGCN"])
def test_any_model_trains(blocks: str, command: object, model: str) -> None:
    code, _ = command(f"--model={model}", *FLAGS)
    assert code == 0
    assert list(Path("saved").glob(f"{model}-*.pth"))


@pytest.mark.parametrize(("model", "keys"), [("MultVAE", QUICK), ("BPR", {**QUIET, "epochs": 2, "data_path": "."})])
def test_results_are_those_of_recbole_s_quick_start(blocks: str, model: str, keys: dict[str, object]) -> None:
    assert run(model, blocks, config_dict=dict(keys)) == run_recbole(model, blocks, config_dict=dict(keys))


def test_config_files_and_keys(blocks: str, command: object) -> None:
    Path("one.yaml").write_text("epochs: 3\nlatent_dimension: 3\n")
    Path("two.yaml").write_text("anneal_cap: 0.1\n")
    code, error = command("--model=MultVAE", *FLAGS[:2], *FLAGS[3:], "--config_files=one.yaml two.yaml", "--dropout_prob=2")
    assert (code, error) == (
        1,
        "error: dropout_prob=2 is not allowed: expected a number from 0 up to, but not including, 1.\n",
    )
    code, _ = command("--model=MultVAE", *FLAGS[:2], *FLAGS[3:], "--config_files=one.yaml two.yaml")
    assert code == 0


def assert_one_sentence(code: int, error: str, message: str) -> None:
    assert code == 1
    assert error.startswith("error: ")
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(("model", "needed"), [("EDLAE", 4 * 20**2), ("EASE", 36 * 21**2), ("ADMMSLIM", 44 * 21**2)])
def test_more_items_than_memory_holds(
    blocks: str, command: object, model: str, needed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: needed - 1)
    code, error = command(f"--model={model}", *FLAGS)
    assert_one_sentence(code, error, f"{model} needs 0.0 GiB of memory for 20 items, and 0.0 GiB are available: take a m")
    assert not list(Path("saved").glob("*.pth"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--model=MultVEA"],
            "--model=MultVEA is neither one of RecBole's models nor one of ours: did you mean MultVAE?",
        ),
        (["--model=lightgcn"], "did you mean LightGCN?"),
        (["--model=Nonsense"], "expected one of ADMMSLIM, "),
        (["--config_files=none.yaml"], "--config_files names 'none.yaml', but there is no such file, and the files that"),
        (["--config_files=."], "--config_files names the folder '.': name a YAML file in it."),
        (["--dataset=none"], "Cannot read the data set none in dataset/none: Neither [dataset/none] exists"),
        (["--anneal_capp=0.1"], "anneal_capp=0.1 is not a configuration key: did you mean anneal_cap?"),
        (["anneal_cap=0.1"], "The argument 'anneal_cap=0.1' is not understood: write --key=value."),
        (["--anneal_cap", "0.1"], "The argument '--anneal_cap' is not understood: write --key=value."),
        (["--=1"], "The argument '--=1' is not understood: write --key=value."),
        (["--epochs=1", "--epochs=2"], "--epochs is given twice, as 1 and as 2: leave one of them out."),
        (["--model=MultVAE", "-m", "BPR"], "--model is given twice, as MultVAE and as BPR: leave one of them out."),
        (["--nproc=0"], "--nproc=0 --group_offset=0 --world_size=0 do not fit: expected one process or more"),
        (["--learning_rate=abc"], "learning_rate='abc' is not allowed: expected a number, 0 or more, or auto."),
        (["--train_batch_size=0"], "train_batch_size=0 is not allowed: expected a positive integer, or auto."),
        (["--model=BPR", "--embedding_size=abc"], "embedding_size='abc' is not allowed: expected a number such as 64"),
        (["--model=SASRec", "--train_neg_sample_args={'distribution': 'uniform', 'sample_num': 1}"],
         "RecBole refuses this: train_neg_sample_args [{'distribution': 'uniform',"),
        (["--transform=foo", "--dataset=blocks", "--data_path=."], "refuses this: There is no transform named 'foo'"),
        (["--checkpoint_dir=file/x", "--dataset=blocks", "--data_path=."], "checkpoint_dir='file/x' cannot be made or"),
        (["--checkpoint_dir=file", "--dataset=blocks", "--data_path=."], "checkpoint_dir='file' cannot be made or written"),
        (["--topk=21", "--valid_metric=MRR@21", "--dataset=blocks", "--data_path=."],
         "topk=[21] asks for more items than the 20 that the data set blocks has: lower it"),
        (["--eval_args={'order': 'TO'}", "--dataset=blocks", "--data_path=."],
         "eval_args order 'TO' sorts by the column timestamp, which is not loaded"),
        (["--model=FM", "--dataset=blocks", "--data_path=.", "--use_gpu=False"],
         "The model reads the column 'label', which the data set does not have"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(blocks: str, command: object, flags: list[str], message: str) -> None:
    Path("file").write_text("")
    assert_one_sentence(*command("--state=ERROR", "--show_progress=False", *flags), message)
    assert not list(Path().glob("saved/*"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"epochs: [1, 2\nseed: 3", "Cannot read line 2 of the configuration file c.yaml as YAML: expected ',' or ']'"),
        (b"epochs:\t3\n\tseed: 1\n", "Cannot read line 1 of the configuration file c.yaml as YAML: found character"),
        (b"# nothing\n", "The configuration file c.yaml is empty: expected lines such as epochs: 20."),
        (b"- epochs\n- 3\n", "c.yaml holds something else than keys and values: expected lines such as epochs: 20."),
        (b"epochs\n", "c.yaml holds something else than keys and values"),
        (b"3: 4\n", "c.yaml holds something else than keys and values"),
        ("note: caf\u00e9\n".encode("latin-1"), "The configuration file c.yaml is not in UTF-8: save it in this encoding."),
    ],
)
def test_configuration_files_that_cannot_be_read(command: object, content: bytes, message: str) -> None:
    Path("c.yaml").write_bytes(content)
    assert_one_sentence(*command("--config_files=c.yaml"), message)


@pytest.mark.parametrize("model", ["MultVAE", "BPR"])
def test_loss_that_becomes_nan(blocks: str, command: object, model: str) -> None:
    code, error = command(f"--model={model}", *FLAGS[:2], *FLAGS[3:], "--epochs=5", "--learning_rate=1e30")
    assert_one_sentence(code, error, "The loss became NaN: lower learning_rate=1e+30, or limit the gradients")
    (file,) = Path("saved").iterdir()
    assert error.endswith(f"the best state so far is in {file}.\n")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory(blocks: str, command: object, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def full(*args: object) -> None:
        raise error

    monkeypatch.setattr(MultVAE, "calculate_loss", full)
    message = "There is not enough memory: lower train_batch_size=50 or eval_batch_size=4096"
    assert_one_sentence(*command("--model=MultVAE", *FLAGS), message)


def test_learner_that_is_not_for_the_model(blocks: str, command: object) -> None:
    message = "learner=sparse_adam is not for BPR, whose gradients are dense: take learner=adam; no checkpoint"
    assert_one_sentence(*command("--model=BPR", *FLAGS, "--learner=sparse_adam"), message)


def test_log_that_cannot_be_written(blocks: str, command: object) -> None:
    Path("log").write_text("")
    assert_one_sentence(*command("--model=MultVAE", *FLAGS), "RecBole cannot write its log into ./log: ")


def test_bug_keeps_its_traceback(blocks: str, command: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(MultVAE, "calculate_loss", broken)
    with pytest.raises(TypeError, match="a bug"):
        command("--model=MultVAE", *FLAGS)


def test_value_may_hold_an_equals_sign(blocks: str, command: object, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert command("--model=MultVAE", *FLAGS, "--note=a=b", "--learner=sgd")[0] == 0
    assert "The configuration key note='a=b' has no effect on this model." in caplog.messages
    (file,) = Path("saved").iterdir()
    config = checkpoint.load(file)["config"]
    assert (config["note"], config["learner"]) == ("a=b", "sgd")


def test_files_that_are_split_already_need_no_times(blocks: str, command: object) -> None:
    for part in ("train", "valid", "test"):
        Path(f"blocks/blocks.{part}.inter").write_text(Path("blocks/blocks.inter").read_text())
    parts = "--benchmark_filename=['train', 'valid', 'test']"
    assert command("--model=MultVAE", *FLAGS, parts, "--eval_args={'order': 'TO'}") == (0, "")


class TestInterrupted:
    """Ctrl-C: exit code 130, and one sentence."""

    @pytest.fixture(autouse=True)
    def _interrupt(self, blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
        train = Trainer._train_epoch

        def interrupted(trainer: Trainer, data: object, epoch: int, *args: object, **keys: object) -> object:
            if epoch == 1:
                raise KeyboardInterrupt
            return train(trainer, data, epoch, *args, **keys)

        monkeypatch.setattr(Trainer, "_train_epoch", interrupted)

    @pytest.mark.parametrize("model", ["MultVAE", "BPR"])
    def test_names_the_checkpoint(self, command: object, model: str) -> None:
        code, error = command(f"--model={model}", *FLAGS[:2], *FLAGS[3:], "--epochs=5")
        (file,) = Path("saved").iterdir()
        assert (code, error) == (130, f"Interrupted: the best state so far is in {file}.\n")

    def test_says_that_there_is_none(self, command: object) -> None:
        code, error = command("--model=MultVAE", *FLAGS[:2], *FLAGS[3:], "--epochs=5", "--eval_step=3")
        assert (code, error) == (130, "Interrupted: no checkpoint has been written.\n")

    def test_is_a_keyboard_interrupt_in_python(self) -> None:
        with pytest.raises(KeyboardInterrupt, match="the best state so far is in saved"):
            run("MultVAE", "blocks", config_dict={**QUICK, "epochs": 5})
