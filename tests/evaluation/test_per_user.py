"""``--per_user``: a CSV file of the test's metrics of each user, of one run and of a report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_multvae.commands.train import main
from recbole_multvae.experiment.run import run
from tests.conftest import QUIET, uneven_pairs, write_inter
from tests.data.made import comings, write

FLAGS = ("--dataset=uneven", "--data_path=.", "--use_gpu=False", "--state=ERROR", "--epochs=1", "--topk=[3,5]",
         "--valid_metric=NDCG@5", "--metric_decimal_place=9", "--show_progress=False")  # fmt: skip
KEYS = {**QUIET, "data_path": ".", "epochs": 1, "topk": [3, 5], "valid_metric": "NDCG@5", "metric_decimal_place": 9}


def read(file: str) -> pd.DataFrame:
    return pd.read_csv(file, dtype={"user": str}, keep_default_na=False)


@pytest.mark.parametrize("model", ["MultVAE", "EASE", "NeuMF"])
@pytest.mark.parametrize("more", [{}, {"activity_quantiles": 3}, {"refit": True}], ids=str)
def test_the_mean_is_the_result(uneven: str, model: str, more: dict[str, int]) -> None:
    results = run(model, "uneven", config_dict={**KEYS, **more}, command_line={}, per_user="users.csv")
    table = read("users.csv")
    for name, value in results["refit_test_result" if "refit" in more else "test_result"].items():
        assert table[name].mean() == pytest.approx(value, abs=1e-8)


def test_users_and_histories_are_those_of_the_data(uneven: str) -> None:
    run("EASE", "uneven", config_dict=KEYS, command_line={}, per_user="users.csv")
    clicks = pd.Series([user for user, _ in set(uneven_pairs())]).value_counts()
    table = read("users.csv").set_index("user")
    assert len(table) > 50 and set(table.index) <= set(clicks.index)
    held_out = clicks[table.index] - table["history"]
    assert (held_out > 0).all() and (table["history"] > 0).all()


def test_odd_tokens_are_in_quotes(tmp_path: Path) -> None:
    odd = {"u0": "a,b", "u1": 'say "so"', "u2": "NA", "u3": "007"}
    write_inter(tmp_path, "uneven", [(odd.get(user, user), item) for user, item in uneven_pairs()])
    run("EASE", "uneven", config_dict=KEYS, command_line={}, per_user="users.csv")
    assert {"a,b", 'say "so"', "NA", "007"} & set(read("users.csv")["user"])
    assert not set(odd) & set(read("users.csv")["user"])


def test_a_report_has_every_model_and_seed(uneven: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = (*FLAGS, "--model=EASE,Pop+EASE,BPR", "--seeds=2", "--report_dir=there", "--per_user=users.csv")
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", *flags])
    assert main(flags) == 0
    table, report = read("users.csv"), json.loads(Path("there/report.json").read_text())
    assert list(table.columns[:5]) == ["model", "seed", "split_seed", "user", "history"]
    for row in report["rows"]:
        for metric, spread in row["metrics"].items():
            means = table[table["model"] == row["name"]].groupby("seed")[metric].mean()
            np.testing.assert_allclose(means.loc[row["seeds"]], spread["values"], atol=1e-8)


def test_sequential_models_and_sums(uneven: str) -> None:
    write("made", comings(), ("user_id:token", "item_id:token", "timestamp:float"))
    keys = {**KEYS, "eval_args": {"split": {"GT": {"users": "known"}}}, "hidden_size": 8}
    result = run("GRU4Rec", "made", config_dict=keys, command_line={}, per_user="users.csv")["test_result"]
    assert read("users.csv")["ndcg@5"].mean() == pytest.approx(result["ndcg@5"], abs=1e-8)
    assert main(("--model=EASE+Pop", *FLAGS, "--per_user=sum.csv")) == 0
    assert len(read("sum.csv")) > 50


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model=EASE", "--per_user=none/users.csv"], "--per_user=none/users.csv cannot be written: expected a"),
        (["--model=EASE,Pop", "--per_user=."], "--per_user=. cannot be written"),
        (["--model=EASE+Pop", "--per_user=."], "--per_user=. cannot be written"),
        (["--model=MultVAE", "--per_user=users.csv", "--nproc=2"], "--per_user=users.csv does not go with several"),
        (["--model=EASE", "--per_user=users.csv", "--eval_args={'split': {'RS': [8, 2, 0]}}"],
         "no interaction for the test, which --per_user=users.csv needs"),
        (["--model=GRU4Rec", "--per_user=users.csv", "--dataset=made", "--eval_args={'split': {'LS': 'valid_and_test'}, "
          "'order': 'TO'}"], "--per_user needs a test with a list for each user"),
    ],
)  # fmt: skip
def test_mistakes(uneven: str, capfd: pytest.CaptureFixture[str], flags: list[str], message: str) -> None:
    write("made", comings(), ("user_id:token", "item_id:token", "timestamp:float"))
    own = [flag for flag in FLAGS if flag.split("=")[0] not in {each.split("=")[0] for each in flags}]
    assert main((*own, *flags)) == 1
    assert message in capfd.readouterr().err
    assert not Path("users.csv").exists()
