"""What trackers are told of single runs, and what nobody is told of."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from recbole_multvae.commands.train import main
from recbole_multvae.experiment.run import run
from recbole_multvae.tracking import trackers
from tests.conftest import QUICK, FakeWandb
from tests.tracking.conftest import FLAGS, OfflineRuns, curve


def test_a_run_in_wandb(blocks: str, offline_runs: OfflineRuns) -> None:
    result = run("MultVAE", blocks, config_dict={**QUICK, "epochs": 4, "eval_step": 2}, track="wandb")
    (told,) = offline_runs()
    assert told["project"] == "blocks" and curve(told, "epoch") == [1, 3] and len(told["artifacts"]) == 1
    assert told["summary"]["test/ndcg@10"] == result["test_result"]["ndcg@10"]


def test_a_run_is_told_until_the_tracker_fails(blocks: str, broken: None, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(("--model=MultVAE", "--track=broken", *FLAGS)) == 1
    assert Path("told").read_text().splitlines() == ["experiment blocks", "begin MultVAE, seed 2020", "curve 1", "curve 3"]
    warning, error = capfd.readouterr().err.splitlines()
    failed = "--track=broken failed (ConnectionError: nobody answers on this line)"
    (checkpoint,) = Path("saved").glob("MultVAE-*.pth")
    assert warning == f"warning: {failed}; the work goes on without it."
    assert error == f"error: {failed}: the training is complete, and its model is in {checkpoint}."


@pytest.mark.parametrize("flags", [["--model=MultVAE"], ["--model=EASE,Pop"], ["--model=EASE+Pop"]])
def test_mistakes_are_one_sentence_and_nothing_runs(
    blocks: str, flags: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main((*flags, *FLAGS, "--track=aim")) == 1
    assert capfd.readouterr().err == "error: --track=aim is not allowed: expected mlflow or wandb.\n"
    for name in trackers():
        with monkeypatch.context() as without:
            without.delitem(sys.modules, f"recbole_multvae.tracking.to_{name}", raising=False)
            without.setitem(sys.modules, name, None)
            assert main((*flags, *FLAGS, f"--track={name}")) == 1
        message = capfd.readouterr().err
        assert message.startswith(f"error: --track={name} needs a package that cannot be imported")
        assert message.endswith(f": install this package with [{name}].\n") and message.count("\n") == 1
    assert {path.name for path in Path().iterdir()} == {"blocks"}


def test_recbole_s_validations_have_their_epochs(blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    run("MultVAE", blocks, config_dict={**QUICK, "epochs": 4, "eval_step": 2, "log_wandb": True})
    assert [(line["valid_step"], "valid/ndcg@10" in line) for line in wandb.lines if "valid_step" in line] == [
        (1, True),
        (3, True),
    ]
    assert [line["train_step"] for line in wandb.lines if "train_step" in line] == [0, 1, 2, 3]


def test_recbole_tells_wandb_by_a_key_of_its_own(blocks: str, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("wandb", reason="W&B is not installed: see [wandb]")
    assert main(("--model=MultVAE", *FLAGS, "--track=wandb", "--log_wandb=True")) == 1
    assert capfd.readouterr().err == "error: --track=wandb and log_wandb=True say the same thing: leave one of them out.\n"
