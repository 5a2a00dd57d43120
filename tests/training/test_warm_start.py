"""A training that goes on from a checkpoint: rows follow the tokens of their items, and nothing that was known is lost."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.quick_start import load_data_and_model

from recbole_multvae import checkpoint
from recbole_multvae.commands.train import main
from recbole_multvae.data.digests import content_digest
from recbole_multvae.rebuild.model import load_model
from recbole_multvae.training.warm_start import KEPT
from tests.conftest import QUICK, Experiment, block_pairs

BY_TIME = {"split": {"RS": [8, 1, 1]}, "order": "TO", "mode": "full"}
KEYS = {"eval_args": BY_TIME, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
#: Of the 20 items of yesterday, the last two have vanished; two are new.
YESTERDAY = {f"i{n}" for n in range(20)}
GONE, NEW = {"i18", "i19"}, {"new0", "new1"}


def write(name: str, pairs: Iterable[tuple[str, str]]) -> None:
    rows = [f"{user}\t{item}\t{time}" for time, (user, item) in enumerate(pairs)]
    Path(name).mkdir()
    Path(name, f"{name}.inter").write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n")


@pytest.fixture(autouse=True)
def _days() -> None:
    """Data sets: yesterday's, what it grew to, with items and users in another order, and the clicks of a day alone."""
    pairs = block_pairs()
    random.Random(0).shuffle(pairs)
    write("yesterday", pairs)
    day = [(f"u{user}", f"new{user % 2}") for user in range(20)] + [("late", "i3"), ("late", "new0"), ("late", "i5")]
    write("grown", [pair for pair in reversed(pairs) if pair[1] not in GONE] + day)
    write("day", [*day, *(pair for pair in pairs if pair[1] in {"i0", "i11"})])


#: RecBole names checkpoints by the second: every training has a folder of its own.
NUMBERS = count()


def made(model: str = "MultVAE", dataset: str = "yesterday", **keys: Any) -> Experiment:
    return Experiment(model, dataset, {**QUICK, **KEYS}, checkpoint_dir=f"saved{next(NUMBERS)}", **keys)


def trained(model: str = "MultVAE", dataset: str = "yesterday", **keys: Any) -> Experiment:
    experiment = made(model, dataset, **keys)
    experiment.fit()
    return experiment


def file_of(experiment: Experiment) -> str:
    return str(experiment.trainer.saved_model_file)


def scores(experiment: Experiment, *histories: list[str]) -> dict[str, torch.Tensor]:
    """The scores of each item for histories of tokens, by the checkpoint."""
    model, _ = load_model(file_of(experiment))
    ids = {token: number for number, token in enumerate(model.item_tokens)}
    rows = model.score_histories([[ids[token] for token in history] for history in histories])
    return {token: rows[:, number] for token, number in ids.items() if number}


@pytest.mark.parametrize("model", ["MultVAE", "MultDAE", "AutoRec"])
def test_what_the_checkpoint_knows_is_there_under_the_same_names(model: str) -> None:
    old = trained(model)
    new = trained(model, "grown", warm_start=file_of(old), epochs=0)
    assert set(new.model.item_tokens[1:]) == YESTERDAY | NEW and new.model.item_tokens[1] != old.model.item_tokens[1]
    histories = ["i0", "i2"], ["i15", "i12", "i19"], []
    before, after = scores(old, *histories), scores(new, *histories)
    for token in YESTERDAY:
        torch.testing.assert_close(after[token], before[token])
    saved = checkpoint.load(file_of(new))["config"]
    assert saved["warm_start_sha256"] == content_digest(Path(file_of(old)))


def test_grown_data_draw_the_weights_towards_initial_ones_and_the_schedule_is_over() -> None:
    keys = {"learning_rate": 0.0, "total_anneal_steps": 1000, "epochs": 1}
    old = trained(epochs=5, total_anneal_steps=1000)
    saved = {name: checkpoint.load(file_of(old))["state_dict"][name] for name in ("decoder.0.bias", "encoder.first.bias")}
    initial = made("MultVAE", "grown", warm_start=file_of(old), **keys).model
    new = trained("MultVAE", "grown", warm_start=file_of(old), **keys).model
    for name, before in saved.items():
        torch.testing.assert_close(new.get_parameter(name), before.lerp(initial.get_parameter(name), 1 - KEPT))
    assert new.beta == 0.5 and new.update > 500


@pytest.mark.parametrize("learner", ["adam", "sparse_adam"])
def test_averages_and_moments_go_on_with_the_file_of_a_day(learner: str) -> None:
    keys = {"learner": learner, "sampled_softmax": 6}
    old = trained(**keys)
    new = trained("MultVAE", "day", **keys, warm_start=file_of(old), epochs=0)
    before, after = checkpoint.load(file_of(old)), checkpoint.load(file_of(new))
    rows, places = (tokens_of(saved) for saved in (before, after))
    kept = sorted(YESTERDAY)
    sources, targets, fresh = [rows[i] for i in kept], [places[i] for i in kept], [places[i] for i in NEW]
    for name in ("exp_avg", "exp_avg_sq"):
        for was, now in zip(moments(before, name), moments(after, name), strict=True):
            assert torch.equal(now[targets], was[sources]) and not now[fresh].any()
    if learner == "adam":
        was, now = (saved["averaging"]["weights"]["encoder.first.weight"] for saved in (before, after))
        assert torch.equal(now[targets], was[sources])
        assert after["averaging"]["updates"] == before["averaging"]["updates"]


def tokens_of(saved: dict[str, Any]) -> dict[str, int]:
    return {token: row for row, token in enumerate(saved["other_parameter"]["item_tokens"][1:])}


def moments(saved: dict[str, Any], name: str) -> list[torch.Tensor]:
    """Those of the weights with a row for each item."""
    parts = saved["optimizer"]
    states = [parts] if "state" in parts else parts.values()
    found = [values[name] for part in states for values in part["state"].values()]
    return [value for value in found if len(value) == len(saved["other_parameter"]["item_tokens"]) - 1]


def test_the_file_of_a_day_keeps_the_catalogue(caplog: pytest.LogCaptureFixture) -> None:
    old = trained()
    with caplog.at_level(logging.INFO):
        new = trained("MultVAE", "day", state="INFO", warm_start=file_of(old))
    Path(file_of(old)).unlink()
    tokens = set(new.model.item_tokens[1:])
    assert tokens == YESTERDAY | NEW
    assert "16 items of" in caplog.text and "20 items kept, 2 new, 0 gone" in caplog.text
    assert "may have learned" not in caplog.text
    _, model, dataset, *_ = load_data_and_model(file_of(new))
    assert model.item_tokens == new.model.item_tokens == dataset.field2id_token["item_id"].tolist()
    for name, weight in load_model(file_of(new))[0].state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])


@pytest.mark.parametrize(("split", "left_out"), [({"GT": None}, NEW), ({"SG": {"valid_users": 2, "test_users": 2}}, set())])
def test_protocols_leave_out_no_item_that_the_model_knows(
    split: dict[str, Any], left_out: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    old = trained()
    new = trained("MultVAE", "grown", warm_start=file_of(old), eval_args={"split": split}, state="WARNING")
    assert set(new.model.item_tokens[1:]) == YESTERDAY | NEW - left_out
    dropped = made("MultVAE", "grown", warm_start=file_of(old), vanished_items="drop").model
    assert set(dropped.item_tokens[1:]) == YESTERDAY - GONE | NEW
    assert ("may have learned from clicks of the validation" in caplog.text) == ("SG" in split)


def test_the_start_is_kept_where_nothing_is_better_and_a_refit_takes_it_too() -> None:
    old = trained(epochs=40, learning_rate=0.02, anneal_cap=0.1)
    flags = ["--model=MultVAE", "--dataset=yesterday", f"--warm_start={file_of(old)}", "--learning_rate=9", "--ema_decay=0",
             "--refit",
             "--epochs=3", "--data_path=.", "--eval_step=1", "--show_progress=False", f"--load_col={KEYS['load_col']}",
             "--checkpoint_dir=new"]  # fmt: skip
    assert main(flags) == 0
    first, second = (checkpoint.load(file) for file in sorted(Path("new").glob("*.pth"), key=lambda file: len(file.name)))
    assert first["epoch"] == second["epoch"] == -1 and first["config"]["eval_args"]["order"] == "TO"
    assert first["config"]["latent_dimension"] == second["config"]["latent_dimension"] == 4
    assert [update for update, *_ in first["evaluations"]] == [first["other_parameter"]["update"]]


@pytest.mark.parametrize("dataset", ["grown", "day"])
@pytest.mark.parametrize("stopped_after", [0, 2])
def test_a_resumed_run_ends_as_an_unbroken_one(dataset: str, stopped_after: int) -> None:
    old = trained()
    keys = {"warm_start": file_of(old), "eval_step": 0}
    whole, half = (trained("MultVAE", dataset, epochs=epochs, **keys) for epochs in (4, stopped_after))
    rest = made("MultVAE", dataset, epochs=4, **keys)
    rest.trainer.resume_checkpoint(file_of(half))
    rest.fit()
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, rest.model.state_dict()[name]), name


def test_other_checkpoints_and_models_are_refused_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    file = file_of(trained())
    write("other", [(user, f"x{item}") for user, item in block_pairs()])
    damage(torch.load(file, weights_only=False), file)
    for flags, message in {
        ("--model=MultDAE",): r"is a checkpoint of MultVAE, and the run trains MultDAE",
        ("--latent_dimension=5",): r"latent_dimension=5 does not fit .* trained with 4: leave the key out",
        (
            "--dataset=other",
        ): r"None of the 20 items of the data set other is one of .* is 'xi\d+' and the checkpoint's is 'i\d+'",
        ("--choose_beta=True",): r"choose_beta=True raises beta from 0",
        ("--model=EDLAE",): r"EDLAE, as it is computed at once.* multvae-update",
        ("--model=ItemAutoRec",): r"belong to the users of its training: take AutoRec",
        ("--model=BPR",): r"is not for BPR, as it is RecBole's: take MultVAE",
        ("--model=MultVAE+EDLAE",): r"is a checkpoint of MultVAE, and the run trains Sum",
        ("--warm_start=none.pth",): r"Cannot load the checkpoint none.pth: .*No such file",
        ("--warm_start=half.pth",): r"The checkpoint half.pth is damaged",
        ("--warm_start=plain.pth",): r"warm_start='plain.pth' is not a checkpoint of RecBole's",
        ("--warm_start=nameless.pth",): r"warm_start='nameless.pth' has no item tokens",
        ("--warm_start=newer.pth",): r"is of format 99",
        ("--warm_start=cut.pth",): r"The weights decoder.2.weight of warm_start='cut.pth' are not there",
    }.items():
        refused(["--model=MultVAE", "--dataset=grown", f"--warm_start={file}", *flags], message, capsys)


def damage(saved: dict[str, Any], file: str) -> None:
    """Write checkpoints that cannot be taken."""
    Path("half.pth").write_bytes(Path(file).read_bytes()[:-3000])
    added = saved["other_parameter"]
    cut = {name: weight for name, weight in saved["state_dict"].items() if name != "decoder.2.weight"}
    for name, content in {
        "plain": {"weights": cut},
        "nameless": {**saved, "other_parameter": None},
        "newer": {**saved, "other_parameter": {**added, "format_version": 99}},
        "cut": {**saved, "state_dict": cut},
    }.items():
        torch.save(content, f"{name}.pth", pickle_protocol=4)


def refused(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = list({flag.partition("=")[0]: flag for flag in flags}.values())  # The last one counts.
    flags += ["--data_path=.", "--checkpoint_dir=new", "--show_progress=False", f"--load_col={KEYS['load_col']}"]
    assert main(flags) != 0
    error = capsys.readouterr().err
    assert re.search(message, error) and "Traceback" not in error, error
    assert not list(Path().glob("new/*.pth"))
