"""Keys and columns without effect are refused, and the keys that the errors name have the effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbole_multvae.commands.train import main
from recbole_multvae.config.run_settings import RunSettings
from recbole_multvae.errors import ConfigurationError, DataError
from tests.data.made import BY_TIME, COLUMNS, clicks, prepared, rows_of, write

LABELED = ("user_id:token", "item_id:token", "label:float")


def labeled() -> list[tuple[str, str, int]]:
    return [(user, item, int(rating > 2)) for user, item, rating, _ in clicks()]


def everything(experiment: Any) -> set[tuple[str, str]]:
    parts = (experiment.train_data._dataset, experiment.valid_data.dataset, experiment.test_data.dataset)
    return {row for data in parts for row in rows_of(type("Part", (), {"dataset": data}))}


@pytest.mark.parametrize("model", ["MultVAE", "EASE", "BPR"])
@pytest.mark.parametrize("load", [None, {"inter": ["user_id", "item_id", "rating"]}])
def test_threshold_is_refused_and_val_interval_does_it(model: str, load: Any) -> None:
    write("made", clicks())
    keys = {} if load is None else {"load_col": load}
    with pytest.raises(
        ConfigurationError, match=r"threshold=.* has no effect on .* with val_interval={'rating': '.4,inf.'}."
    ):
        prepared(model, "made", threshold={"rating": 4}, **keys)
    kept = everything(prepared(model, "made", val_interval={"rating": "[4,inf)"}, **keys))
    assert kept == {row[:2] for row in clicks() if row[2] >= 4}


@pytest.mark.parametrize("model", ["MultVAE", "EASE", "BPR"])
def test_a_column_of_labels_is_refused(model: str) -> None:
    write("made", labeled(), LABELED)
    zeros = sum(not row[2] for row in labeled())
    with pytest.raises(
        DataError, match=f"made.inter has the column label, which is 0 in {zeros} of 120 rows, and {model} takes"
    ):
        prepared(model, "made")
    assert everything(prepared(model, "made", val_interval={"label": "[1,inf)"})) == {row[:2] for row in labeled() if row[2]}
    left_out = {"unload_col": {"inter": ["label"]}, "load_col": None}
    assert everything(prepared(model, "made", **left_out)) == {row[:2] for row in labeled()}


def test_labels_may_be_tokens() -> None:
    write("made", labeled(), (*LABELED[:2], "label:token"))
    with pytest.raises(DataError, match="has the column label, which is 0 in"):
        prepared("MultVAE", "made")


def test_labels_of_the_evaluation_only_are_told(caplog: pytest.LogCaptureFixture) -> None:
    write("made", clicks())
    load = {"inter": ["user_id", "item_id", "rating"]}
    keys = {"metrics": ["AUC"], "valid_metric": "AUC", "eval_args": {"mode": "labeled"}, "load_col": load}
    prepared("MultVAE", "made", threshold={"rating": 4}, **keys)
    assert "The labels count in the evaluation only: MultVAE takes every row for a click." in caplog.text


def test_negatives_that_are_not_drawn_are_told(caplog: pytest.LogCaptureFixture) -> None:
    write("made", clicks())
    prepared("MultVAE", "made", train_neg_sample_args={"distribution": "popularity"})
    assert "train_neg_sample_args has no effect on MultVAE, which learns from all items of a user at once." in caplog.text


def test_splits_of_files_that_are_split_are_told(caplog: pytest.LogCaptureFixture) -> None:
    for number, part in enumerate("abc"):
        write("made", clicks()[number::3], part=f".{part}")
    prepared("EASE", "made", benchmark_filename=["a", "b", "c"], eval_args={"split": {"RS": [8, 1, 1]}, "mode": "full"})
    assert "eval_args split have no effect with benchmark_filename." in caplog.text


def test_a_test_that_repeats_training_is_told(caplog: pytest.LogCaptureFixture) -> None:
    write("made", clicks() * 2)
    prepared("EASE", "made")
    assert "interactions of the test repeat a user and an item of training, and may be found again" in caplog.text


def test_labels_that_are_all_1_say_nothing() -> None:
    write("made", [(*row[:2], 1) for row in labeled()], LABELED)
    prepared("MultVAE", "made")


@pytest.mark.parametrize("model", ["NeuMF", "LR"])
def test_models_that_learn_from_labels_get_them(model: str) -> None:
    write("made", clicks())
    load = {"inter": ["user_id", "item_id", "rating"]}
    keys = {"metrics": ["AUC"], "valid_metric": "AUC", "eval_args": {"mode": "labeled"}, "load_col": load}
    data = prepared(model, "made", threshold={"rating": 4}, **keys).train_data._dataset
    assert set(data.inter_feat["label"].tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"val_interval": {"rating": "[4,inf)"}}, "val_interval=.* has no effect with benchmark_filename"),
        ({"user_inter_num_interval": "[2,inf)"}, "user_inter_num_interval='.2,inf.' has no effect with benchmark_filename"),
        ({"rm_dup_inter": "first"}, "rm_dup_inter='first' has no effect with benchmark_filename"),
        ({"filter_inter_by_user_or_item": False}, "filter_inter_by_user_or_item=False has no effect"),
    ],
)
def test_filters_of_files_that_are_split_are_refused(keys: dict[str, Any], message: str) -> None:
    for number, part in enumerate("abc"):
        write("made", clicks()[number::3], part=f".{part}")
    prepared("EASE", "made", benchmark_filename=["a", "b", "c"])
    with pytest.raises(ConfigurationError, match=message):
        prepared("EASE", "made", benchmark_filename=["a", "b", "c"], **keys)


@pytest.mark.parametrize("load", [{}, {"load_col": None}, {"load_col": {"inter": ["user_id", "item_id", "item_id_list"]}}])
def test_histories_in_lists_are_for_sequential_models(load: dict[str, Any]) -> None:
    rows = [(user, item, "i1 i2") for user, item, *_ in clicks()]
    for part in ("", ".a", ".b", ".c"):
        write("made", rows, ("user_id:token", "item_id:token", "item_id_list:token_seq"), part)
    for files in (None, ["a", "b", "c"]):
        with pytest.raises(
            DataError, match="has histories in the column item_id_list, which only RecBole's sequential models"
        ):
            prepared("MultVAE", "made", benchmark_filename=files, **load)


def test_a_test_of_nobody_who_is_known_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    rows = sorted(clicks())
    for part, part_rows in (("a", rows[:60]), ("b", rows[:12]), ("c", rows[60:])):
        write("made", part_rows, part=f".{part}")
    with pytest.raises(DataError, match="None of the 10 users of the test has an interaction in training"):
        prepared("MultVAE", "made", benchmark_filename=["a", "b", "c"])
    write("made", rows[30:], part=".c")
    prepared("MultVAE", "made", benchmark_filename=["a", "b", "c"])
    assert "10 of 15 users of the test have no interaction in training." in caplog.text


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"load_col": {"inter": ["user_id", "item_id", "ratings"]}},
            "load_col names 'ratings', which .*: did you mean rating",
        ),
        (
            {"load_col": None, "unload_col": {"inter": ["time"]}},
            "unload_col names 'time', which is no column of .*timestamp",
        ),
        (
            {"lowest_val": {"rating": 4}},
            "lowest_val=.* has no effect in RecBole 1.2: write val_interval={'rating': '.4,inf.'}",
        ),
        (
            {"min_user_inter_num": 5},
            "min_user_inter_num=5 has no effect in RecBole 1.2: write user_inter_num_interval='.5,inf.'",
        ),
        ({"split": {"LS": "valid_and_test"}}, "split=.* has no effect in RecBole 1.2: write eval_args="),
        ({"val_intervall": {"rating": "[4,inf)"}}, "val_intervall=.* is not a configuration key: did you mean val_interval"),
        ({"load_col": {"inter": None}}, "load_col={'inter': None} is not allowed: expected"),
        ({"eval_args": {"mode": "labeled"}}, "mode='labeled' compares predictions with labels .* take metrics=.'AUC'."),
    ],
)
@pytest.mark.parametrize("model", ["MultVAE", "EASE"])
def test_keys_that_nothing_reads(model: str, keys: dict[str, Any], message: str) -> None:
    write("made", clicks())
    with pytest.raises(ConfigurationError, match=message):
        prepared(model, "made", **keys)


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        (
            "float",
            {"val_interval": {"ratin": "[4,inf)"}},
            "val_interval names 'ratin', which is no column .*: did you mean rating",
        ),
        (
            "float",
            {"val_interval": {"rating": [1, 3, 5]}},
            r"\[1, 3, 5\]} is not allowed, as the column is of type float: expected",
        ),
        ("float", {"val_interval": {"rating": ["4", "5"]}}, "is of type float: expected an interval of numbers, such as"),
        ("token", {"val_interval": {"rating": "[4,inf)"}}, "is of type token: expected a list of its tokens, such as"),
        ("token", {"val_interval": {"rating": [4, 5]}}, "is of type token: expected a list of its tokens, such as"),
        (
            "float",
            {"alias_of_item_id": ["x"]},
            "alias_of_item_id names 'x', which is no column of the data set: expected some",
        ),
    ],
)
def test_columns_that_keys_name(kind: str, keys: dict[str, Any], message: str) -> None:
    write("made", clicks(), (*COLUMNS[:2], f"rating:{kind}", COLUMNS[3]))
    with pytest.raises(ConfigurationError, match=message):
        prepared("EASE", "made", **keys)


def test_a_data_set_that_is_missing_is_what_is_said() -> None:
    with pytest.raises(DataError, match=r"Cannot read the data set nothing in \./nothing: Neither"):
        prepared("EASE", "nothing", val_interval={"rating": "[4,inf)"})


@pytest.mark.parametrize("good", ["[4,5]", [4, 5], "[4,4];(4,5]", ["4", "5"]])
def test_values_of_a_column(good: Any) -> None:
    kind = "token" if good == ["4", "5"] else "float"
    write("made", clicks(), (*COLUMNS[:2], f"rating:{kind}", COLUMNS[3]))
    kept = everything(prepared("EASE", "made", val_interval={"rating": good}))
    assert kept == {row[:2] for row in clicks() if row[2] >= 4}


def test_a_misspelt_key_of_a_model_of_recbole_names_its_own() -> None:
    write("made", clicks())
    model_keys = ", ".join(sorted({*RunSettings.model_fields, "eval_memory", "reg_weight"}))
    with pytest.raises(ConfigurationError, match=rf"did you mean reg_weight\? The keys of this model are {model_keys}\.$"):
        prepared("EASE", "made", reg_wieght=3)


def test_columns_that_other_keys_read_are_loaded() -> None:
    write("made", clicks())
    columns = prepared("EASE", "made", val_interval={"rating": "[2,inf)"}, eval_args=BY_TIME).train_data._dataset.inter_feat
    assert set(columns.columns) == {"user_id", "item_id", "rating", "timestamp"}
    columns = prepared("EASE", "made").train_data._dataset.inter_feat
    assert set(columns.columns) == {"user_id", "item_id"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("--eval_args={'split': {'RS': [8, 2, 0]}}", "leaves no test, which a leaderboard needs"),
        ("--eval_args={'split': {'LS': 'valid_only'}}", "leaves no test, which a leaderboard needs"),
        (
            "--eval_args={'mode': 'labeled'} --metrics=['AUC'] --valid_metric=AUC",
            "a leaderboard compares rankings: take metrics",
        ),
        ("--eval_args={'split': {'RS': [8, 0, 2]}} --tune=3", "--tune=3 chooses by validation, and eval_args split="),
    ],
)
def test_a_leaderboard_without_a_ranking_or_a_test_is_refused(keys: str, message: str, capsys: Any) -> None:
    write("made", clicks(), COLUMNS)
    options = ["--model=EASE,Pop", "--dataset=made", "--data_path=.", *(f"--{key}" for key in keys[2:].split(" --"))]
    assert main(options) == 1
    assert message in capsys.readouterr().err
    assert not Path("leaderboard").exists()


@pytest.mark.parametrize("keys", [{"activity_quantiles": 2}, {}])
def test_a_run_without_a_test_says_so(keys: dict[str, Any], caplog: Any, capsys: Any) -> None:
    write("made", clicks(), COLUMNS)
    options = [*(f"--{key}={value}" for key, value in keys.items()), "--eval_args={'split': {'RS': [8, 2, 0]}}"]
    code = main(["--model=EASE", "--dataset=made", "--data_path=.", "--use_gpu=False", "--epochs=1", *options])
    error, log = capsys.readouterr().err, caplog.text
    assert code == bool(keys)
    assert ("no interaction for the test, which activity_quantiles=2 needs" in error) == bool(keys)
    assert ("There is no test result, as the split leaves no interaction for the test." in log) != bool(keys)


@pytest.mark.parametrize(
    "keys", [{"eval_args": {"mode": "pop3"}}, {"train_neg_sample_args": {"distribution": "popularity"}}]
)
def test_popular_items_that_run_out_are_refused(keys: dict[str, Any]) -> None:
    """RecBole would draw for ever: u0 has all items but one that nobody has."""
    write("made", [*(row for row in clicks() if row[0] != "u0"), *(("u0", f"i{n}", 1, n) for n in range(12))])
    Path("made/made.item").write_text("item_id:token\n" + "".join(f"i{n}\n" for n in range(14)))
    load = {"load_col": {"inter": ["user_id", "item_id"], "item": ["item_id"]}}
    keys = {**keys, "eval_args": {"split": {"RS": [1, 0, 0]}, **keys.get("eval_args", {})}}
    with pytest.raises(DataError, match=r"draws items that a user lacks .* has all 12 items that anybody has: leave such"):
        prepared("BPR", "made", **load, **keys)


@pytest.mark.parametrize("split", [{"SG": {"valid_users": 8, "test_users": 8}}, {"WG": {"seed": 1}}])
def test_more_items_than_a_protocol_leaves(split: dict[str, Any]) -> None:
    rows = [*clicks(items=8), *((f"u{n}", f"rare{n}", 5, n) for n in range(20))]
    write("made", rows, COLUMNS)
    with pytest.raises(
        ConfigurationError, match=r"topk=.27. asks for more items than the [12][0-9] that the data set made has"
    ):
        prepared("MultVAE", "made", eval_args={"split": split}, topk=[27], valid_metric="NDCG@27")
