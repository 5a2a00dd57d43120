from __future__ import annotations

import sys
from pathlib import Path

import pytest
from recbole.quick_start import run_recbole

from recbole_multvae.commands.train import main, run
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


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--model=MultVEA"],
            "--model=MultVEA is neither one of RecBole's models nor one of ours: did you mean MultVAE?",
        ),
        (["--model=lightgcn"], "did you mean LightGCN?"),
        (["--model=Nonsense"], "expected one of ADMMSLIM, "),
        (["--config_files=none.yaml"], "--config_files names 'none.yaml', but there is no such file."),
        (["--dataset=none"], "Cannot read the data set none in dataset/none: Neither [dataset/none] exists"),
        (["--anneal_capp=0.1"], "anneal_capp=0.1 is not a configuration key: did you mean anneal_cap?"),
        (["anneal_cap=0.1"], "The argument 'anneal_cap=0.1' is not understood: write --key=value."),
        (["--nproc=0"], "--nproc=0 --group_offset=0 --world_size=0 do not fit: expected one process or more"),
    ],
)
def test_mistakes_are_one_sentence(command: object, flags: list[str], message: str) -> None:
    code, error = command("--state=ERROR", *flags)
    assert code == 1
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error
    assert not Path("saved").exists()
