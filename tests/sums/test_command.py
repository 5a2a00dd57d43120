"""``--model=MultVAE+EDLAE`` on the command line, alone and as the row of a report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from recbole_multvae.commands.train import main

FLAGS = (
    "--dataset=blocks",
    "--data_path=.",
    "--use_gpu=False",
    "--epochs=2",
    "--valid_metric=NDCG@10",
    "--show_progress=False",
)


def test_a_sum_keeps_its_members(blocks: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    Path("wide.yaml").write_text("latent_dimension: 8\nreg_weight: 3.0\n")
    flags = ("--model=MultVAE:wide.yaml+EASE", "--anneal_cap=0.2", "--checkpoint_dir=there", *FLAGS)
    with caplog.at_level("INFO"):
        assert main(flags) == 0
    assert "[2 of 2] MultVAE:wide, seed 2020: running" in capfd.readouterr().out
    assert re.search(r"MultVAE:wide\+EASE: NDCG@10 on validation is [\d.]{6}\. The weights, chosen on valid", caplog.text)
    assert re.search(r"    EASE: [\d.]+; alone [\d.]{6}, the sum [+-][\d.]{6}", caplog.text)
    assert len(list(Path("there/members").glob("*.pth"))) == 2
    assert len(list(Path("there").glob("MultVAE_wide+EASE-*.pth"))) == 1
    with caplog.at_level("INFO"):
        assert main((*flags, "--weights=[1,3]")) == 0
    assert capfd.readouterr().out.count("finished before") == 2 and "The weights, as configured" in caplog.text
    next(Path("there/members").glob("EASE-*.pth")).unlink()
    assert main(flags) == 0
    assert capfd.readouterr().out.count("finished before") == 1


def test_a_row_of_a_report(blocks: str, capfd: pytest.CaptureFixture[str]) -> None:
    Path("bad.yaml").write_text("learning_rate: 1.0e+30\n")
    models = "--model=EASE,MultVAE+EASE,MultVAE:bad.yaml+MultVAE"
    assert main((models, *FLAGS)) == 1
    output = capfd.readouterr()
    assert output.out.count("running") == 4
    assert "[5 of 5] MultVAE:bad+MultVAE, seed 2020: FAILED: its member MultVAE:bad failed: The loss " in output.out
    folder = next(Path("leaderboard").iterdir())
    rows = {row["name"]: row for row in json.loads((folder / "report.json").read_text())["rows"]}
    failed = rows["MultVAE:bad+MultVAE"]
    assert failed["status"] == "failed" and failed["error"].startswith("seed 2020: its member MultVAE:bad failed: The loss ")
    both = rows["MultVAE+EASE"]
    assert both["model"] == "Sum" and both["settings"]["EASE"] == rows["EASE"]["settings"]
    assert both["seconds"]["in_all"]["mean"] > rows["EASE"]["seconds"]["in_all"]["mean"] > 0 and both["parameters"] > 1000
    assert both["weights"].keys() == {"MultVAE", "EASE"}
    page = (folder / "report.html").read_text()
    assert "Weights of the sums" in page and f"EASE: {both['weights']['EASE']['mean']:.4f}" in page


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--model=MultVAE+BPR"],
            "BPR cannot be a member of a sum, which scores anyone from clicks alone, as BPR",
        ),
        (["--model=ItemKNN+EASE", "--knn_method=user"], "ItemKNN cannot be a member of a sum"),
        (["--model=MultVAE+ItemAutoRec"], "as ItemAutoRec scores the users of its training data only: leave it out."),
        (["--model=MultVAE+"], "--model=MultVAE+ has an empty name"),
        (["--model=MultVAE+MultVAE"], "--model=MultVAE+MultVAE names MultVAE twice: leave one of them out."),
        (["--model=MultVAE+EASY"], "--model=EASY is neither one of RecBole's models nor one of ours: did you mean EASE?"),
        (["--model=MultVAE+EASE", "--weights=[1,much]"], "weights='[1,much]' is not allowed: expected a list with a number"),
        (
            ["--model=MultVAE+EASE", "--weights=[1,-1]"],
            "weights=[1, -1] is not allowed: expected a list with a number, 0",
        ),
        (["--model=MultVAE+EASE", "--weights=[1,1,1]"], "weights=[1.0, 1.0, 1.0] does not fit the members MultVAE, EASE"),
        (["--model=MultVAE+EASE", "--nproc=2"], "--nproc=2 does not go with a sum"),
        (
            ["--model=MultVAE+EASE", "--eval_args={'split':{'RS':[9,0,1]}}"],
            "The weights of a sum are chosen on validation, and eval_args split={'RS': [9, 0, 1]} leaves none: name them",
        ),
        (["--model=MultVAE+EASE", "--metrics=['NDCG','GAUC']"], "read more than top-k lists: name them"),
        (["--model=MultVAE+EASE", "--eval_args={'mode':'uni50'}"], "ranks only some items: name them, such as weights="),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_runs(
    blocks: str, capfd: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main([*FLAGS, *flags]) == 1
    output = capfd.readouterr()
    assert output.err.startswith("error: ") and output.err.count("\n") == 1 and message in output.err
    assert "running" not in output.out and not list(Path().glob("**/*.pth"))
