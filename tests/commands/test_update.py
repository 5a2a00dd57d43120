from __future__ import annotations

import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from multvae_export.exporter import export
from recbole.quick_start import load_data_and_model

from recbole_multvae import checkpoint
from recbole_multvae.commands import recommend
from recbole_multvae.commands.update import main
from recbole_multvae.errors import CheckpointError
from tests.archive import changed
from tests.conftest import QUIET, Experiment, block_pairs

Row = tuple[str, str, int]
HEADER = "user_id:token\titem_id:token\trating:float\n"
KEYS = {
    **QUIET,
    "data_path": ".",
    "load_col": {"inter": ["user_id", "item_id", "rating"]},
    "eval_args": {"split": {"RS": [1, 0, 0]}},
    "val_interval": {"rating": "[3,inf)"},
}


def rows(users: Iterable[int], items: Iterable[int], seed: int) -> list[Row]:
    drawn = random.Random(seed)
    return [(f"u{u}", f"i{i}", drawn.randint(1, 5)) for u in users for i in items if drawn.random() < 0.4]


#: Later days repeat some clicks, have late ones of old users, and new users and items. Some ratings are too low, among them
#: all those of one user and of one item.
FIRST = rows(range(30), range(12), 0)
SECOND = [*FIRST[:20], *rows(range(10, 40), range(14), 1), ("low", "i1", 1), ("u1", "low", 2)]
THIRD = rows(range(35, 45), range(5, 16), 2)


def write(file: str, *days: list[Row]) -> Path:
    path = Path(file)
    path.parent.mkdir(exist_ok=True)
    path.write_text(HEADER + "".join(f"{user}\t{item}\t{rating}\n" for day in days for user, item, rating in day))
    return path


def trained(model: str, *days: list[Row], **keys: Any) -> str:
    """A checkpoint of a training on some days."""
    write("shop/shop.inter", *days)
    experiment = Experiment(model, "shop", KEYS, **keys)
    experiment.trainer.fit(experiment.train_data, verbose=False)
    return str(shutil.move(experiment.trainer.saved_model_file, f"{len(days)}.pth"))


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        ("EDLAE", {"dropout_prob": 0.4, "reg_weight": 2.5, "user_exponent": 0.6}),
        ("EDLAE", {"dropout_prob": 0.0, "reg_weight": 10.0}),
        ("SparseEDLAE", {"dropout_prob": 0.3, "reg_weight": 2.5, "user_exponent": 0.5, "neighbours": 6}),
    ],
)
def test_equals_a_training_on_everything(model: str, keys: dict[str, Any]) -> None:
    old = trained(model, FIRST, **keys)
    write("second.inter", SECOND), write("third.inter", THIRD)
    shutil.rmtree("shop")
    assert main([old, "second.inter", "new.pth"]) == 0
    assert main(["new.pth", "third.inter", "new.pth"]) == 0
    new, everything = checkpoint.load("new.pth"), checkpoint.load(trained(model, FIRST, SECOND, THIRD, **keys))
    for name in ("spec", "item_tokens", "user_tokens", "training_clicks", "training_sha256", "dataset", "update"):
        assert new["other_parameter"][name] == everything["other_parameter"][name], name
    assert "i15" in new["other_parameter"]["item_tokens"] and "low" not in new["other_parameter"]["item_tokens"]
    assert new["state_dict"].keys() == everything["state_dict"].keys()
    for name, weights in everything["state_dict"].items():
        torch.testing.assert_close(new["state_dict"][name], weights, rtol=0, atol=1e-5)


def added(*days: list[Row]) -> str:
    """A checkpoint of a sum of both linear models."""
    members = {model: shutil.move(trained(model, *days), f"{model}.pth") for model in ("EDLAE", "SparseEDLAE")}
    return trained("Sum", *days, members=members, weights=[0.7, 0.3])


def test_a_sum_keeps_its_factors(capsys: pytest.CaptureFixture[str]) -> None:
    old, write_day = added(FIRST), write("second.inter", SECOND)
    assert main([old, str(write_day), "new.pth"]) == 0
    new, everything = checkpoint.load("new.pth"), checkpoint.load(added(FIRST, SECOND))
    for name, weights in everything["state_dict"].items():
        torch.testing.assert_close(new["state_dict"][name], weights, rtol=0, atol=1e-5)
    before = checkpoint.load(old)["other_parameter"]["spec"]["members"]
    assert new["other_parameter"]["spec"]["members"] == before and before[0]["weight"] == 0.7
    assert export("new.pth", "new.onnx").model.tokens == tuple(everything["other_parameter"]["item_tokens"])
    assert recommend.main(["new.pth", "--user=u1", "-k", "2"]) == 0
    assert "EDLAE+SparseEDLAE recommends" in capsys.readouterr().out


def test_a_member_that_took_new_clicks_takes_a_day_of_other_items() -> None:
    order = {"eval_args": {**KEYS["eval_args"], "order": "RO"}}
    old = trained("EDLAE", FIRST, SECOND, **order, warm_start=added(FIRST), warm_start_member="EDLAE")
    assert main([old, str(write("day.inter", [("u1", "shiny", 5)])), "new.pth"]) == 0
    assert checkpoint.load("new.pth")["other_parameter"]["item_tokens"][-1] == "shiny"


@pytest.fixture
def old() -> str:
    return trained("EDLAE", FIRST, user_inter_num_interval="[2,inf)")


def test_new_items_reach_new_users(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    write("day.inter", [("new", "shiny", 5), ("new", "i1", 5), ("u3", "shiny", 4), ("u4", "i1", 1)])
    assert main([old, "day.inter", "new.pth"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "day.inter: 3 of 3 clicks are new, with 1 new user and 1 new item."
    assert lines[2] == "user_inter_num_interval='[2,inf)' is not applied to the day, as it needs all days."
    exported = export("new.pth", "new.onnx")
    assert exported.checks and exported.model.tokens[-1] == "shiny" and not exported.model.metrics
    with pytest.raises(CheckpointError, match=r"^new.pth was updated with the clicks of a day, .* take multvae-recommend"):
        load_data_and_model("new.pth")

    Path("shop/shop.item").write_text("item_id:token\ttitle:token_seq\nshiny\tA shiny thing\n")
    assert recommend.main(["new.pth", "--user=new", "-k", "20"]) == 0
    liked, recommended = capsys.readouterr().out.split("EDLAE recommends")
    assert "User new of shop liked 2 items" in liked and "A shiny thing" in liked
    assert "A shiny thing" not in recommended and "i2" in recommended
    assert recommend.main(["new.pth", "--user=u7", "-k", "20"]) == 0
    assert "A shiny thing" in capsys.readouterr().out


def test_a_day_counts_once(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    day = str(write("day.inter", SECOND))
    assert main([old, day, "once.pth"]) == main(["once.pth", day, "twice.pth"]) == 0
    assert "\nday.inter: 0 of " in capsys.readouterr().out
    once, twice = (checkpoint.load(file)["state_dict"]["similarity"] for file in ("once.pth", "twice.pth"))
    np.testing.assert_array_equal(once, twice)


def mistake(capsys: pytest.CaptureFixture[str], old: str, day: str = "day.inter", new: str = "new.pth") -> str:
    """The error, after which nothing is there that was not there before."""
    before = sorted(Path().rglob("*"))
    assert main([old, day, new]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and len(error.splitlines()) == 1
    assert sorted(path for path in Path().rglob("*") if path.parts[0] != "log") == [p for p in before if p.parts[0] != "log"]
    return error


def test_a_wrong_day(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    write("day.inter", SECOND).rename("day.csv")
    assert "day.inter is not there: expected a file" in mistake(capsys, old)
    assert "day.csv has another name: expected a file" in mistake(capsys, old, "day.csv")
    for content, message in (
        ("", "day.inter is empty: expected a header"),
        (HEADER, "day.inter has a header and no rows"),
        ("user:token\titem_id:token\trating:float\nu1\ti1\t3\n", "day.inter lacks the column user_id:token"),
        ("user_id:token\titem_id:token\nu1\ti1\n", "val_interval names 'rating', which is no column of the data set"),
        (f"{HEADER}u1\ti1\n", "Line 2 of .*day.inter has 2 values, and its header names 3 columns"),
        (f"{HEADER}u1\ti1\t2\n", "Cannot read the data set day"),
    ):
        Path("day.inter").write_text(content)
        assert message.split(".*")[-1] in mistake(capsys, old)


def test_a_wrong_checkpoint(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    write("day.inter", SECOND)

    def damaged(**clicks: Any) -> str:
        return str(changed(Path(old), Path("wrong.pth"), lambda c: c["other_parameter"]["clicks"].update(clicks)))

    saved = checkpoint.load(old)["other_parameter"]["clicks"]
    for clicks in (
        {"columns": saved["columns"].flip(0)},
        {"columns": saved["columns"] + 100},
        {"offsets": saved["offsets"][:-1]},
        {"offsets": None},
        {"other": 1},
    ):
        assert "are not those that its model was computed from" in mistake(capsys, damaged(**clicks))
    changed(Path(old), Path("wrong.pth"), lambda c: c["other_parameter"].pop("clicks"))
    assert "wrong.pth does not hold the clicks of its training" in mistake(capsys, "wrong.pth")
    changed(Path(old), Path("wrong.pth"), lambda c: c["other_parameter"].update(format_version=99))
    assert "The checkpoint is of format 99" in mistake(capsys, "wrong.pth")
    Path("wrong.pth").write_bytes(Path(old).read_bytes()[:3000])
    assert "is damaged or is not one of RecBole's" in mistake(capsys, "wrong.pth")
    assert "The new checkpoint nowhere/new.pth would be in a folder that is not there" in mistake(
        capsys, old, new="nowhere/new.pth"
    )
    assert "The new checkpoint shop is a folder" in mistake(capsys, old, new="shop")


def test_another_model(write_dataset: Any, capsys: pytest.CaptureFixture[str]) -> None:
    write("day.inter", SECOND), write_dataset("blocks", block_pairs())
    for model, message in (
        (
            "MultVAE",
            "is a checkpoint of MultVAE, and multvae-update takes those of EDLAE, SparseEDLAE and sums of these only: train "
            "it on with --warm_start=",
        ),
        ("ItemAutoRec", "EDLAE, SparseEDLAE and sums of these only: train it again with the clicks of all days."),
        ("EASE", "is not a checkpoint of this family"),
    ):
        experiment = Experiment(model)
        experiment.trainer._save_checkpoint(0, verbose=False)
        assert message in mistake(capsys, experiment.trainer.saved_model_file)


def test_an_interrupted_update_leaves_the_old_checkpoint(
    old: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(contents: Any, file: str, **_: Any) -> None:
        Path(file).write_bytes(b"half of it")
        raise OSError("No space left on device")

    write("day.inter", SECOND)
    content = Path(old).read_bytes()
    monkeypatch.setattr(torch, "save", full)
    assert f"The new checkpoint {old} cannot be written: No space left on device" in mistake(capsys, old, new=old)
    assert Path(old).read_bytes() == content
