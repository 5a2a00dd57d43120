"""A sum that goes on from its checkpoint: networks from their weights, closed forms on all clicks, with the same factors."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import recbole
import torch
from multvae_export.exporter import export

from recbole_multvae import checkpoint
from recbole_multvae.commands.train import main
from recbole_multvae.errors import DataError
from recbole_multvae.leaderboard.local_jobs import LocalJobs
from recbole_multvae.leaderboard.run_inputs import Measure, Run, RunInputs
from recbole_multvae.rebuild.model import load_model
from tests.archive import changed
from tests.conftest import QUICK, Experiment
from tests.sums.conftest import METRIC

COLUMNS = ["user_id:token", "item_id:token", "timestamp:float"]
KEYS = {
    **QUICK,
    **METRIC,
    "epochs": 1,
    "train_batch_size": 64,
    "eval_args": {"split": {"RS": [8, 1, 1]}, "order": "TO", "mode": "full"},
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
}
WEIGHTS = [0.3, 0.6, 0.1, 0.2]


@pytest.fixture(autouse=True)
def _halves() -> None:
    """Data sets of some items of ml-100k: the first half in time, all, all but an item of the first half, and a day."""
    file = Path(recbole.__file__).parent / "dataset_example/ml-100k/ml-100k.inter"
    clicks = pd.read_csv(file, sep="\t", usecols=COLUMNS)
    clicks = clicks[(clicks["item_id:token"] % 12 == 0) & (clicks["user_id:token"] % 2 == 0)].sort_values(
        COLUMNS[2], kind="stable"
    )
    half = clicks[: len(clicks) // 2]
    for name, rows in {
        "half": half,
        "whole": clicks,
        "without": clicks[clicks["item_id:token"] != half["item_id:token"].iloc[0]][::-1],
        "day": clicks[-200:],
    }.items():
        Path(name).mkdir()
        rows[COLUMNS].to_csv(f"{name}/{name}.inter", sep="\t", index=False)


def trained(model: str, dataset: str = "half", **keys: Any) -> Experiment:
    experiment = Experiment(model, dataset, KEYS, **{"checkpoint_dir": f"{dataset}/{model}", **keys})
    experiment.fit()
    return experiment


def added(names: list[str], dataset: str = "half", start: str | None = None, **keys: Any) -> Experiment:
    """A sum of new members, or of members that go on from the checkpoint of a sum; ``keys`` are those of the sum."""
    given = {"warm_start": start} if start else {}
    of_a_member = {name: given | ({"warm_start_member": name} if start else {"reg_weight": 40.0}) for name in names}
    members = {name: file_of(trained(name, dataset, **of_a_member[name])) for name in names}
    return trained("Sum", dataset, **given, **keys, members=members)


def resumed(experiment: Experiment, file: str) -> Experiment:
    experiment.trainer.resume_checkpoint(file)
    experiment.fit()
    return experiment


def file_of(experiment: Experiment) -> str:
    return str(experiment.trainer.saved_model_file)


def factors(file: str) -> dict[str, float]:
    return {member["name"]: member["factor"] for member in checkpoint.load(file)["other_parameter"]["spec"]["members"]}


def flags(start: str, *more: str) -> list[str]:
    keys = {key: KEYS[key] for key in ("load_col", "eval_args", "valid_metric", "topk", "metrics", "learning_rate")}
    given = [
        "--model=MultVAE+EDLAE",
        "--dataset=whole",
        "--data_path=.",
        "--use_gpu=False",
        "--show_progress=False",
        "--epochs=1",
        "--checkpoint_dir=new",
        f"--warm_start={start}",
        *(f"--{key}={value}" for key, value in keys.items()),
    ]
    return list({flag.partition("=")[0]: flag for flag in (*given, *more)}.values())  # The last one counts.


@pytest.fixture
def start() -> str:
    """The checkpoint of a sum of the first half."""
    return file_of(added(["MultVAE", "EDLAE"], weights=WEIGHTS[:2]))


@pytest.fixture
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The members are trained here: :mod:`.test_command` has them in processes of their own."""

    def run(_: LocalJobs, inputs: RunInputs, measure: Measure) -> Run:
        return {"status": "finished", "row": inputs.row, "seconds_in_all": 0.0, **measure(inputs)}

    monkeypatch.setattr(LocalJobs, "run", run)


def test_one_command_takes_the_second_half(
    start: str, _one_process: None, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    with caplog.at_level(logging.INFO):
        assert main(flags(start)) == 0
    (new,) = map(str, Path("new").glob("*.pth"))
    assert factors(new) == factors(start)
    before, after = (checkpoint.load(file) for file in (start, new))
    tokens = after["other_parameter"]["item_tokens"]
    assert set(tokens) > set(before["other_parameter"]["item_tokens"])
    everything = trained("EDLAE", "whole", reg_weight=40.0).model
    assert everything.item_tokens == tokens
    similarity = after["state_dict"]["members.1.similarity"]
    torch.testing.assert_close(similarity, everything.similarity, rtol=0, atol=1e-5)
    assert caplog.text.count("its weights are kept") == 1
    assert re.search(r"    MultVAE: gone on from its weights there\n    EDLAE: computed from the [\d,]+ clicks", caplog.text)
    assert "The weights, kept from warm_start:" in caplog.text
    assert export(new, "new.onnx").model.tokens == tuple(tokens)


def test_closed_forms_of_recbole_keep_the_catalogue_and_a_sum_is_resumed() -> None:
    names = ["MultVAE", "EASE", "ItemKNN", "EDLAE"]
    old = added(names, weights=WEIGHTS)
    new = added(names, "without", file_of(old))
    assert set(new.model.item_tokens) > set(old.model.item_tokens)  # Also the item that has vanished.
    assert new.model.member_configs[1]["reg_weight"] == 40.0
    assert factors(file_of(new)) == factors(file_of(old))
    model, _ = load_model(file_of(new))
    histories = [[1, 2, 3], [new.model.n_items - 1], []]
    torch.testing.assert_close(model.score_histories(histories), new.model.score_histories(histories))

    keys = {name: new.config[name] for name in ("members", "warm_start")}
    again = resumed(Experiment("Sum", "without", KEYS, **keys), file_of(new))
    torch.testing.assert_close(again.model.score_histories(histories), new.model.score_histories(histories))


def test_networks_take_the_clicks_of_a_day_and_the_user_may_set_weights() -> None:
    old = file_of(added(["MultVAE", "MultDAE"], weights=[0.7, 0.3]))
    new = added(["MultVAE", "MultDAE"], "day", old).model
    assert new.weights == [0.7, 0.3] and new.scales == list(checkpoint.load(old)["other_parameter"]["scales"])
    other = added(["MultVAE", "MultDAE"], "day", old, weights={"MultDAE": 1.0, "MultVAE": 2.0})
    assert other.model.weights == [2.0, 1.0]


def test_a_closed_form_does_not_forget_all_clicks_but_those_of_a_day(start: str) -> None:
    message = (
        r"has \d+ clicks for training, and warm_start=.* has learned from 1,\d+: EDLAE is computed from the data set alone"
    )
    with pytest.raises(DataError, match=message):
        trained("EDLAE", "day", warm_start=start, warm_start_member="EDLAE")


def test_another_sum_is_refused_and_nothing_is_written(start: str, capsys: pytest.CaptureFixture[str]) -> None:
    changed(Path(start), Path("listless.pth"), lambda c: c["other_parameter"].pop("scales"))
    for more, message in {
        ("--model=MultVAE+EASE",): "is a checkpoint of the sum MultVAE+EDLAE, and the run trains MultVAE+EASE: name",
        ("--model=MultVAE+EDLAE+Pop",): "and the run trains MultVAE+EDLAE+Pop: name the same members.",
        ("--model=MultVAE",): "is a checkpoint of Sum, and the run trains MultVAE: name one of these.",
        ("--model=MultVAE", "--warm_start_member=Pop"): "of the sum MultVAE+EDLAE, which has no member Pop: name one of",
        ("--model=MultDAE", "--warm_start_member=MultVAE"): "is of the model MultVAE, and the run trains MultDAE",
        ("--model=MultiVAE", "--warm_start_member=MultVAE"): "is not for MultiVAE, as it is RecBole's: take MultVAE",
        ("--latent_dimension=5",): "latent_dimension=5 does not fit warm_start=",
        ("--scales={'MultVAE': 1.0}",): "scales={'MultVAE': 1.0} does not fit the members MultVAE, EDLAE",
        ("--warm_start=listless.pth",): "warm_start='listless.pth' has no complete list of the members of its sum",
    }.items():
        assert main(flags(start, *more)) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and message in error, error
    assert not Path("new").exists()
