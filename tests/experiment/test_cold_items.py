"""``cold_items: features``: items that nobody clicked in training stay, and their weights follow from their fields."""

from __future__ import annotations

import logging
import random
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from multvae_export.exporter import export
from recbole.quick_start import load_data_and_model

from recbole_multvae import checkpoint
from recbole_multvae.errors import CheckpointError, ConfigurationError, DataError
from recbole_multvae.evaluation import cold_items
from recbole_multvae.experiment.run import run
from recbole_multvae.leaderboard.measuring import measure
from recbole_multvae.leaderboard.run_inputs import RunInputs
from recbole_multvae.rebuild.model import load_model
from recbole_multvae.rebuild.update import update
from tests.conftest import QUICK, Experiment, block_pairs
from tests.data.made import write

GT = {"eval_args": {"split": {"GT": {"valid_from": 0.8, "test_from": 0.9}}}}
KEYS = {**QUICK, **GT, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "topk": [3, 5], "valid_metric": "NDCG@5"}
FEATURES = {"cold_items": "features"}
#: Of the 30 items, the last ones of each half come late; "odd" and "silent" do too, of which no field says anything.
LATE, LEFT_OUT = {"i13", "i14", "i28", "i29"}, {"odd", "silent"}


@pytest.fixture(autouse=True)
def shop() -> str:
    """Two groups of users and items. Nobody clicked a late item before validation, and the last of them before the test."""
    pairs = [*block_pairs(60, 30), *((f"u{n}", item) for n in (0, 1, 2) for item in sorted(LEFT_OUT))]
    random.Random(0).shuffle(pairs)
    early = [pair for pair in pairs if pair[1] not in LATE | LEFT_OUT]
    late = [pair for pair in pairs if pair[1] in LATE | LEFT_OUT]
    late += early[: len(pairs) // 5 - len(late)]  # A fifth of the clicks is validation and test.
    random.Random(1).shuffle(late)
    late.sort(key=lambda pair: pair[1] == "i29")
    clicks = [*(pair for pair in early if pair not in late), *late]
    columns = ("user_id:token", "item_id:token", "timestamp:float")
    write("shop", [(*pair, 1_000_000_000 + 86_400 * time) for time, pair in enumerate(clicks)], columns)
    draw = np.random.default_rng(0)
    items = [(f"i{n}", ("left", "right")[n >= 15], f"{n % 15 + draw.normal():.4f} {draw.normal():.4f}") for n in range(30)]
    write_items([*items, ("silent", "", "")], "kind:token", "place:float_seq")
    return "shop"


def write_items(items: list[tuple[str, ...]], *columns: str) -> None:
    lines = ["\t".join(("item_id:token", *columns)), *map("\t".join, items)]
    Path("shop/shop.item").write_text("\n".join(lines) + "\n")


#: RecBole names checkpoints by the second: every training has a folder of its own.
NUMBERS = count()


def made(model: str = "MultVAE", **keys: Any) -> Experiment:
    return Experiment(model, "shop", {**KEYS, **FEATURES}, checkpoint_dir=f"saved{next(NUMBERS)}", **keys)


def trained(model: str = "MultVAE", **keys: Any) -> Experiment:
    experiment = made(model, **keys)
    experiment.fit()
    return experiment


def file_of(experiment: Experiment) -> str:
    return str(experiment.trainer.saved_model_file)


def clicks_of(part: Any) -> list[tuple[str, str]]:
    """The clicks of a data set as tokens."""
    return [tuple(part.id2token(f"{kind}_id", part.inter_feat[f"{kind}_id"].numpy()[n]) for kind in ("user", "item"))
            for n in range(len(part))]  # fmt: skip


def tables_of(model: Any) -> list[np.ndarray]:
    """The tables with a row for each item: of a linear model B, whose transpose follows from it in turn."""
    if hasattr(model, "encoder"):
        output = model.decoder[-1]
        tables = [model.encoder.first.weight, torch.cat([output.weight, output.bias[:, None]], dim=1)]
        return [table.detach().numpy() for table in tables]
    return [similarity(model)]


def similarity(model: Any) -> np.ndarray:
    """B, [I, I], of EDLAE or of SparseEDLAE."""
    return np.stack([model.score_histories([[item]])[0, 1:].numpy() for item in range(1, model.n_items)])


def ridge(model: Any, table: np.ndarray) -> np.ndarray:
    """The rows of the unseen items, in plain NumPy: the fields as numbers, and every item left out once to choose."""
    counts = np.asarray(model.trained_on.item_clicks)
    known = np.flatnonzero(counts)
    weights = counts[known] / (counts[known] + 30)
    weights /= weights.mean()
    lines = dict(line.split("\t", 1) for line in Path("shop/shop.item").read_text().splitlines())
    fields = [lines[token].split("\t") for token in model.item_tokens[1:]]
    kinds = np.array([[kind == "left", kind == "right"] for kind, _ in fields], float)
    places = np.array([place.split(" ") for _, place in fields], float)
    places = (places - places[known].mean(0)) / places[known].std(0)
    blocks = []
    for block in (kinds, places):
        centred = block - np.average(block[known], axis=0, weights=weights)
        blocks.append(centred / np.sqrt(np.average((centred[known] ** 2).sum(1), weights=weights)))
    numbers = np.column_stack([np.hstack(blocks), np.ones(len(fields))])

    def fit(strength: float, rows: np.ndarray) -> np.ndarray:
        X, w = numbers[known][rows], weights[rows]
        penalty = strength * np.diag([1.0] * (X.shape[1] - 1) + [0.0])
        return np.linalg.solve(X.T @ (w[:, None] * X) + penalty, X.T @ (w[:, None] * table[known][rows]))

    def error(strength: float) -> float:
        everyone = np.arange(len(known))
        return sum(
            weights[n] * ((table[known[n]] - numbers[known[n]] @ fit(strength, everyone != n)) ** 2).sum() for n in everyone
        )

    best = min(10.0 ** np.arange(-1, 5.5, 0.5), key=error)
    return numbers[np.flatnonzero(counts == 0)] @ fit(best, np.arange(len(known)))


MODELS = [
    ("MultVAE", {}),
    ("MultVAE", {"learner": "sparse_adam", "sampled_softmax": 6}),
    ("MultDAE", {"likelihood": "gaussian", "ema_decay": 0}),
    ("AutoRec", {"ema_decay": 0.9}),
    ("EDLAE", {"reg_weight": 2.0}),
    ("SparseEDLAE", {"reg_weight": 2.0}),
]


@pytest.mark.parametrize(("name", "keys"), MODELS)
def test_training_is_the_same_and_the_new_rows_are_a_ridge_s(name: str, keys: dict[str, Any]) -> None:
    model, without = trained(name, **keys).model.eval(), trained(name, **keys, cold_items="drop").model.eval()
    assert model.item_tokens[: model.n_trained + 1] == without.item_tokens
    assert set(model.item_tokens[model.n_trained + 1 :]) == LATE
    for now, before in zip(tables_of(model), tables_of(without), strict=True):
        np.testing.assert_allclose(now[: len(before), : before.shape[1]], before, rtol=1e-6, atol=1e-8)
    for table in tables_of(model):
        new = table[model.n_trained :]
        if name in ("EDLAE", "SparseEDLAE"):
            stored, known = name == "SparseEDLAE", model.n_trained  # Of a sparse B the largest entries are stored.
            table = table[:known] if stored else table
            expected = ridge(model, np.r_[table[:known, :known], new[:, :known]]), ridge(model, table.T).T
            np.fill_diagonal(expected[1][known:], 0)
            for found, ours in ((new[:, :known], expected[0]), (table[:, known:], expected[1])):
                np.testing.assert_allclose(found, np.where(found == 0, 0, ours) if stored else ours, atol=1e-5)
                assert np.count_nonzero(found) > 0.3 * found.size
        else:
            assert np.ptp(new, axis=0).max() > 0
            np.testing.assert_allclose(new, ridge(model, table), atol=1e-5)


def test_a_part_keeps_the_items_that_have_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    everything = [line.split("\t")[:2] for line in Path("shop/shop.inter").read_text().splitlines()[1:]]
    cuts = [int(share * len(everything)) for share in (0.8, 0.9)]
    lines = np.split(np.array(everything), cuts)
    assert not {item for _, item in lines[0]} & (LATE | LEFT_OUT)
    for refit in (False, True):
        split = made(refit=refit, state="INFO")
        parts = [loader.dataset for loader in (split.train_data, split.valid_data, split.test_data)]
        seen = {item for _, item in np.vstack(lines[: 1 + refit])}
        assert sorted(clicks_of(parts[2])) == sorted((u, item) for u, item in lines[2] if item in LATE | seen)
        cold = [item for _, item in lines[2] if item in LATE - seen]
        assert parts[2].of_cold_items == {"items": len(set(cold)), "interactions": len(cold)}
        left = [item for _, item in lines[2] if item in LEFT_OUT - seen]
        assert parts[2].left_out == {"items": len(set(left)), "interactions": len(left)}
        assert parts[2].cold_items.count == len(LATE - seen) == (1 if refit else 4)
    assert "stay in the test: their weights follow from kind, place." in caplog.text


def test_the_checkpoint_scores_the_same_and_is_exported_as_any_other() -> None:
    experiment = trained()
    experiment.trainer.evaluate(experiment.test_data)  # The best weights.
    model, history = experiment.model.eval(), [[1, 2, experiment.model.n_items - 1], []]
    file = file_of(experiment)
    again, _ = load_model(file)
    by_recbole = load_data_and_model(file)[1].eval()
    for loaded in (again, by_recbole):
        assert loaded.item_tokens == model.item_tokens
        torch.testing.assert_close(loaded.score_histories(history), model.score_histories(history), rtol=0, atol=0)
    exported = export(file, "shop.onnx")
    assert set(exported.model.tokens[1:]) >= LATE and Path("shop.onnx").is_file()


@pytest.mark.parametrize("keys", [{}, {"ema_decay": 0, "learner": "adagrad"}])
def test_a_run_that_is_resumed_ends_as_an_unbroken_one(keys: dict[str, Any]) -> None:
    unbroken, first = trained(**keys, epochs=4), trained(**keys, epochs=2)
    rest = made(**keys, epochs=4)
    rest.trainer.resume_checkpoint(file_of(first))
    rest.fit()
    for name, weight in unbroken.model.state_dict().items():
        torch.testing.assert_close(rest.model.state_dict()[name], weight, rtol=0, atol=0)


def test_what_an_earlier_checkpoint_knows_keeps_its_weights() -> None:
    earlier = trained(eval_args={"split": {"GT": {"valid_from": 0.85, "test_from": 0.9}}}, cold_items="drop")
    known = set(earlier.model.item_tokens[1:]) & (LATE | LEFT_OUT)
    later = made(warm_start=file_of(earlier), epochs=0)
    assert known and {*later.model.item_tokens[later.model.n_trained + 1 :]} == LATE - known
    later.fit()
    before, after = (load_model(file_of(run))[0] for run in (earlier, later))
    for token in known:
        rows = [model.encoder.first.weight[model.item_tokens.index(token) - 1] for model in (before, after)]
        torch.testing.assert_close(rows[1], rows[0])
    assert after.encoder.first.weight[after.n_trained :].detach().abs().sum(dim=1).min() > 0


def test_a_sum_has_the_new_items_of_its_members() -> None:
    members = {name: trained(name) for name in ("MultVAE", "SparseEDLAE")}
    files = {name: file_of(member) for name, member in members.items()}
    both = trained("Sum", members=files, weights=[0.5, 0.5])
    history, rows = [[1, 5]], slice(both.model.n_trained + 1, None)
    parts = [load_model(file)[0].score_histories(history)[:, rows] for file in files.values()]
    expected = sum(factor * part for factor, part in zip(both.model.factors, parts, strict=True))
    assert expected.shape[1] == len(LATE)
    torch.testing.assert_close(load_model(file_of(both))[0].score_histories(history)[:, rows], expected)


def hits_of(experiment: Experiment, among: bool) -> list[float]:
    """The recall at 3 of each user with unseen items in the test, from all scores."""
    model, data, recalls = experiment.model.eval(), experiment.test_data.dataset, []
    users, items = (data.inter_feat[field].numpy() for field in ("user_id", "item_id"))
    for user in np.unique(users[items > model.n_trained]):
        history = data.fold_in[user].indices.tolist()
        scores = model.score_histories([history])[0]
        scores[[0, *history]] = -torch.inf
        scores[: model.n_trained + 1 if among else 1] = -torch.inf
        relevant = set(items[(users == user) & (items > model.n_trained)].tolist())
        recalls.append(len(relevant & set(scores.topk(3).indices.tolist())) / len(relevant))
    return recalls


def test_a_run_and_a_report_measure_unseen_items(caplog: pytest.LogCaptureFixture) -> None:
    keys = {
        **KEYS,
        **FEATURES,
        "epochs": 3,
        "metrics": ["NDCG", "Recall", "GAUC"],
        "metric_decimal_place": 8,
        "state": "INFO",
    }
    caplog.set_level(logging.INFO)
    run("MultVAE", "shop", config_dict=keys, command_line={})
    inputs = RunInputs("row", "MultVAE", "shop", [], keys, {}, 2020, str(Path("result.json").resolve()), 2, "shop")
    measured = measure(inputs)
    experiment = Experiment("MultVAE", "shop", keys)
    experiment.trainer.evaluate(experiment.test_data, model_file=measured["checkpoint"])
    tests = cold_items.test(experiment)
    for test, group, among in zip(tests, measured["cold"], (False, True), strict=True):
        assert test._asdict() == group and set(test.metrics) == {
            f"{name}@{k}" for name in ("ndcg", "recall") for k in (3, 5)
        }
        assert test.metrics["recall@3"] == pytest.approx(np.mean(hits_of(experiment, among)), abs=1e-7)
    assert tests[1].metrics["recall@3"] > 0 and tests[0].of == len(LATE) == measured["data"]["cold_items"]
    assert (
        measured["data"]["cold_items_from"] == "kind, place"
        and measured["data"]["test_cold_interactions"] == tests[0].clicks
    )
    assert cold_items.describe(tests) in caplog.text


def test_a_refit_that_knows_all_items_measures_none(shop: str) -> None:
    file = Path(shop, f"{shop}.inter")
    file.write_text("".join(line for line in file.read_text().splitlines(True) if "\ti29\t" not in line))
    keys = {**KEYS, **FEATURES, "refit": True}
    measured = measure(RunInputs("row", "EDLAE", shop, [], keys, {}, 2020, str(Path("result.json").resolve()), 2, shop))
    assert measured["data"]["valid_cold_items"] == len(LATE) - 1
    assert measured["data"]["items"] == 30 - 1 + len(LEFT_OUT) and measured["data"]["test_left_out_items"] == 0
    assert not measured["cold"] and not {name for name in measured["data"] if name.startswith(("cold", "test_cold"))}


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ({"cold_items": "feature"}, ConfigurationError, "cold_items='feature' is not allowed: expected drop or features."),
        ({"eval_args": {"split": {"RS": [8, 1, 1]}}}, ConfigurationError, "is for eval_args split GT, where time decides"),
        ({"model": "EASE"}, ConfigurationError, "is not for EASE, as it is RecBole's: take one of this package, such as"),
        ({"model": "ItemAutoRec"}, ConfigurationError, "its weights belong to the users of its training: take AutoRec."),
    ],
)
def test_what_cannot_be_done_is_refused(keys: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        made(**{"model": "MultVAE", **keys})
    assert not list(Path().glob("saved*/*"))


@pytest.mark.parametrize(
    ("items", "columns", "message"),
    [
        (None, (), "and there is no file .*shop.item: write one with a line for each item, or leave it out."),
        ([("i1",), ("i29",)], (), "has no fields besides item_id: add some"),
        ([("i1", "3"), ("i2", "dear"), ("i29", "4")], ("price:float",), "line 3 of .* has 'dear' as price: expected finite"),
        ([(f"i{n}", "new") for n in range(30)], ("state:token",), "the fields state of .* tell no two of the trained items"),
        ([("i28", "a"), ("i29", "b")], ("kind:token",), "none of them is in .*shop.item, such as 'i.*': expected a line"),
    ],
)
def test_a_file_without_fields_is_refused(
    items: list[tuple[str, ...]] | None, columns: tuple[str, ...], message: str
) -> None:
    Path("shop/shop.item").unlink()
    if items is not None:
        write_items(items, *columns)
    with pytest.raises(DataError, match=message):
        made()
    assert not list(Path().glob("saved*/*"))


def test_load_col_chooses_fields_and_a_day_is_refused() -> None:
    load = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "place"]}
    experiment = trained("EDLAE", load_col=load)
    assert (
        experiment.model.cold_items.fields == ("place",)
        and checkpoint.load(file_of(experiment))["config"]["load_col"] == load
    )
    write("day", [("u1", "i1", 1)], ("user_id:token", "item_id:token", "timestamp:float"))
    with pytest.raises(CheckpointError, match="multvae-update reads no fields of items: train it"):
        update(file_of(experiment), Path("day/day.inter"), Path("new.pth"))
