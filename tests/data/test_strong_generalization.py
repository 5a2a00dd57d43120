"""Strong generalization: the split, the clicks that models see of held-out users, and the metrics, each against NumPy."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from multvae_export.exporter import export
from onnxruntime import InferenceSession
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.quick_start import load_data_and_model

from recbole_multvae.clicks import Clicks
from recbole_multvae.commands.recommend import main as recommend_main
from recbole_multvae.data.csr import distinct_clicks
from recbole_multvae.data.loaders import UsersWithHistories
from recbole_multvae.errors import ConfigurationError, DataError
from recbole_multvae.evaluation.recbole_models import READERS, histories_of
from recbole_multvae.experiment.run import run
from tests.conftest import QUICK, QUIET, Experiment, recbole_s, uneven_pairs

SEED = 98765
HELD_OUT = 12
#: For RecBole's models too, which get only the keys that they have.
RECBOLE = {
    **QUIET, "data_path": ".", "epochs": 2, "topk": [3, 10], "metrics": ["CappedRecall", "Recall", "NDCG"],
    "valid_metric": "NDCG@10", "metric_decimal_place": 9,
}  # fmt: skip
OURS = {**QUICK, **RECBOLE}


def split(**arguments: Any) -> dict[str, Any]:
    return {"eval_args": {"split": {"SG": {"valid_users": HELD_OUT, "test_users": HELD_OUT, "seed": SEED, **arguments}}}}


@pytest.fixture
def data(write_dataset: Callable[..., None]) -> list[tuple[str, str]]:
    write_dataset("uneven", pairs := uneven_pairs())
    return pairs


def reference(pairs: list[tuple[str, str]], seed: int, held_out: int = HELD_OUT) -> tuple[set[str], list[dict[str, tuple]]]:
    """The notebook's procedure in plain Python: the training users; for validation and test, (fold-in, to find) by user."""
    users = list(dict.fromkeys(user for user, _ in pairs))
    np.random.seed(seed)
    users = [users[place] for place in np.random.permutation(len(users))]
    training = set(users[: -2 * held_out])
    catalogue = {item for user, item in pairs if user in training}
    parts = []
    for group in (users[-2 * held_out : -held_out], users[-held_out:]):
        np.random.seed(seed)
        part = {}
        for user in dict.fromkeys(user for user, _ in pairs if user in group):
            clicks = [item for clicker, item in pairs if clicker == user and item in catalogue]
            relevant = np.random.choice(len(clicks), len(clicks) // 5, replace=False) if len(clicks) >= 5 else []
            part[user] = [c for n, c in enumerate(clicks) if n not in relevant], [clicks[n] for n in sorted(relevant)]
        parts.append(part)
    return training, parts


def pairs_of(dataset: Any) -> list[tuple[str, str]]:
    columns = [dataset.id2token(field, dataset.inter_feat[field].numpy()) for field in ("user_id", "item_id")]
    return list(zip(*map(list, columns), strict=True))


def by_user(dataset: Any, clicks: Any) -> dict[str, set[str]]:
    users, items = clicks.nonzero()
    result: dict[str, set[str]] = {}
    for user, item in zip(dataset.id2token("user_id", users), dataset.id2token("item_id", items), strict=True):
        result.setdefault(user, set()).add(item)
    return result


@pytest.mark.parametrize("model", ["MultVAE", "EASE"])
def test_the_split_is_that_of_the_paper_s_code_draw_for_draw(data: list[tuple[str, str]], model: str) -> None:
    experiment = Experiment(model, "uneven", OURS if model == "MultVAE" else RECBOLE, **split())
    training, parts = reference(data, SEED)
    train = experiment.train_data.dataset
    assert sorted(pairs_of(train)) == sorted(pair for pair in data if pair[0] in training)
    assert set(train.field2id_token["item_id"]) == {"[PAD]"} | {item for user, item in data if user in training}
    assert any(item.startswith("own") for item in train.field2id_token["item_id"])
    for loader, part in zip((experiment.valid_data, experiment.test_data), parts, strict=True):
        relevant = by_user(loader.dataset, distinct_clicks(loader.dataset))
        assert relevant == {user: set(clicks[1]) for user, clicks in part.items() if clicks[1]}
        seen = by_user(loader.dataset, loader.dataset.fold_in)
        assert seen == {user: set(clicks[0]) for user, clicks in part.items() if clicks[0]}
    assert any(not clicks[1] for part in parts for clicks in part.values())  # Users with fewer than five.


def test_training_never_sees_held_out_users(data: list[tuple[str, str]]) -> None:
    training, _ = reference(data, SEED)
    for model, keys in (("MultVAE", OURS), ("MultiVAE", {**RECBOLE, "train_neg_sample_args": None})):
        experiment = Experiment(model, "uneven", keys, **split())
        visited = torch.cat([batch["user_id"] for batch in experiment.train_data])
        assert set(experiment.dataset.id2token("user_id", visited.numpy())) == training
    for model in ("EASE", "ItemKNN"):
        experiment = Experiment(model, "uneven", RECBOLE, **split())
        visited = torch.cat([batch["user_id"] for batch in experiment.train_data])
        assert set(experiment.dataset.id2token("user_id", visited.numpy())) == training
        rows = np.flatnonzero(experiment.model.interaction_matrix.getnnz(axis=1))
        assert set(experiment.dataset.id2token("user_id", rows)) == training


def metrics(scores: np.ndarray, seen: np.ndarray, relevant: np.ndarray, ks: list[int]) -> dict[str, float]:
    """The paper's Recall@R and NDCG@R and RecBole's Recall@R, from scores [users, items] without the padding item."""
    order = np.argsort(-np.where(seen > 0, -np.inf, scores), axis=1, kind="stable")
    hits = np.take_along_axis(relevant, order, axis=1)
    total, gain = relevant.sum(axis=1), 1 / np.log2(np.arange(2, relevant.shape[1] + 2))
    result = {}
    for k in ks:
        result[f"cappedrecall@{k}"] = (hits[:, :k].sum(axis=1) / np.minimum(k, total)).mean()
        result[f"recall@{k}"] = (hits[:, :k].sum(axis=1) / total).mean()
        ideal = np.array([gain[: min(k, n)].sum() for n in total])
        result[f"ndcg@{k}"] = ((hits[:, :k] * gain[:k]).sum(axis=1) / ideal).mean()
    return result


def scores_of(experiment: Experiment, seen: np.ndarray) -> np.ndarray:
    if hasattr(experiment.model, "score_histories"):
        return experiment.model.score_histories([(np.flatnonzero(row) + 1).tolist() for row in seen])[:, 1:].numpy()
    if hasattr(experiment.model, "item_similarity"):
        return seen @ np.asarray(experiment.model.item_similarity)[1:, 1:]
    return seen @ experiment.model.w.toarray()[1:, 1:]


@pytest.mark.parametrize("model", ["MultVAE", "MultDAE", "AutoRec", "EDLAE", "EASE", "ItemKNN"])
@pytest.mark.parametrize("phase", ["valid", "test"])
def test_metrics_are_those_of_a_ranking_in_numpy(data: list[tuple[str, str]], model: str, phase: str) -> None:
    keys = OURS if model in ("MultVAE", "MultDAE") else {**RECBOLE, "train_batch_size": 8}
    experiment = Experiment(model, "uneven", keys, **split())
    experiment.fit()
    loader = experiment.valid_data if phase == "valid" else experiment.test_data
    result = experiment.trainer.evaluate(loader)
    relevant = distinct_clicks(loader.dataset).toarray()[:, 1:]
    users = relevant.any(axis=1)
    seen = loader.dataset.fold_in.toarray()[users, 1:].astype(np.float32)
    expected = metrics(scores_of(experiment, seen), seen, relevant[users], [3, 10])
    assert result == pytest.approx({name: expected[name] for name in result}, abs=1e-6)


@pytest.mark.parametrize("model", sorted(READERS.keys() - {"Pop"}))
def test_a_model_of_recbole_s_reads_histories_as_it_reads_those_of_training(data: Any, model: str) -> None:
    keys = {**RECBOLE, "train_neg_sample_args": None} if READERS[model].__name__ == "_auto_encoder" else RECBOLE
    experiment = Experiment(model, "uneven", keys)
    network = experiment.model.eval()
    clicks = distinct_clicks(experiment.train_data.dataset)
    ids = np.array([3, 17, 5, 5, 40])
    users = UsersWithHistories({"user_id": torch.from_numpy(ids)}, Clicks.from_csr(clicks[ids]))
    places = vars(network).keys() & {"history_item_id", "history_item_value", "interaction_matrix", "pred_mat"}
    before = {name: vars(network)[name] for name in places}
    with torch.no_grad(), histories_of(users, network) as renumbered:
        scores = network.full_sort_predict(renumbered)
    expected = network.full_sort_predict(Interaction({"user_id": torch.from_numpy(ids)}))
    torch.testing.assert_close(scores, expected.detach(), atol=1e-4, rtol=1e-4)  # ADMMSLIM adds noise.
    assert all(vars(network)[name] is value for name, value in before.items())
    assert not scores.view(5, -1)[0].equal(scores.view(5, -1)[1])


@pytest.mark.parametrize("model", ["MultiVAE", "MultiDAE", "RecVAE", "MacridVAE", "SLIMElastic", "ADMMSLIM", "Pop"])
def test_recbole_s_models_train_and_rank(data: Any, model: str) -> None:
    result = run(model, "uneven", config_dict={**RECBOLE, "train_neg_sample_args": None, "epochs": 1, **split()})
    assert 0 < result["test_result"]["ndcg@10"] <= 1


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "CDAE", "ENMF", "NeuMF"])
def test_other_models_are_refused_before_the_data_are_read(model: str) -> None:
    message = f"split SG evaluates users who are not in training, and {model} needs more of a user than a set of clicks"
    with pytest.raises(ConfigurationError, match=message):
        Config(model, "nowhere", config_dict=split())
    Config(model, "nowhere", config_dict={**split(), "benchmark_filename": ["a", "b", "c"]})  # It wins over the split.


def test_a_model_that_reads_ratings_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"users who are not in training, and targets='ratings' reads ratings"):
        Config("AutoRec", "nowhere", config_dict={**split(), "targets": "ratings"})
    with pytest.raises(
        ConfigurationError, match=r"evaluates users who are not in training, and ItemAutoRec scores the users"
    ):
        Config("ItemAutoRec", "nowhere", config_dict=split())


def test_item_knn_that_compares_users_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="ItemKNN with knn_method='user' compares the users of training"):
        Config("ItemKNN", "nowhere", config_dict={**split(), "knn_method": "user"})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (split(valid_users=60), "holds out valid_users=60 and test_users=12 of 70 users, which leaves none for training"),
        (split(valid_users=0), "valid_users=0 is not allowed: expected a positive integer"),
        (split(fold_in=1.0), "fold_in=1.0 is not allowed: expected a number between 0 and 1"),
        (split(seed=-1), "seed=-1 is not allowed: expected an integer from 0"),
        (split(valid_user=5), "split SG has no argument 'valid_user': did you mean valid_users?"),
        ({"eval_args": {"split": {"SG": [750, 750]}}}, r"SG=\[750, 750\] is not allowed: expected a dictionary"),
        ({"eval_args": {**split()["eval_args"], "mode": "uni5"}}, "mode='uni5' does not go with split SG"),
    ],
)
def test_mistakes(data: Any, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Experiment("MultVAE", "uneven", OURS, **keys)


def test_nothing_to_be_found(write_dataset: Callable[..., None]) -> None:
    write_dataset("short", [(f"u{user}", f"i{item}") for user in range(40) for item in range(4)])
    with pytest.raises(DataError, match=r"None of the 12 held-out users .* has clicks left to rank: a user needs 5 clicks"):
        Experiment("MultVAE", "short", OURS, **split())


def test_recbole_s_seed_decides_unless_the_split_has_its_own(data: list[tuple[str, str]]) -> None:
    def test_users(config_seed: int, split_seed: int | None) -> set[str]:
        dataset = Experiment("MultVAE", "uneven", OURS, **split(seed=split_seed), seed=config_seed).test_data.dataset
        return set(by_user(dataset, dataset.fold_in))

    expected = {seed: {user for user, (seen, _) in reference(data, seed)[1][1].items() if seen} for seed in (1, SEED)}
    assert expected[1] != expected[SEED]
    assert test_users(SEED, None) == test_users(1, SEED) == expected[SEED]
    assert test_users(1, None) == expected[1]


def test_a_pair_that_occurs_twice_counts_once(data: list[tuple[str, str]], write_dataset: Callable[..., None]) -> None:
    write_dataset("twice", [pair for pair in data for _ in range(2)])
    once, twice = (Experiment("MultVAE", name, OURS, **split()).test_data.dataset for name in ("uneven", "twice"))
    assert by_user(once, once.fold_in) == by_user(twice, twice.fold_in)
    assert pairs_of(once) == pairs_of(twice)


def test_item_features_follow_the_catalogue(data: list[tuple[str, str]]) -> None:
    tokens = sorted({item for _, item in data})
    Path("uneven/uneven.item").write_text("item_id:token\tname:token\n" + "".join(f"{t}\tname of {t}\n" for t in tokens))
    experiment = Experiment("MultVAE", "uneven", OURS, **split(), load_col={"inter": ["user_id", "item_id"], "item": "*"})
    items = experiment.train_data.dataset.get_item_feature()
    assert items["item_id"].tolist() == list(range(experiment.model.n_items)) and len(tokens) > experiment.model.n_items
    for item, name in zip(items["item_id"][1:], items["name"][1:], strict=True):
        token = experiment.dataset.id2token("item_id", int(item))
        assert experiment.dataset.id2token("name", int(name)) == f"name of {token}"


def test_a_checkpoint_is_loaded_and_tested_as_it_was(data: Any) -> None:
    for model, keys in (("MultVAE", OURS), ("EASE", RECBOLE)):
        experiment = Experiment(model, "uneven", keys, **split())
        experiment.fit()
        expected = experiment.trainer.evaluate(experiment.test_data)
        *_, test_data = load_data_and_model(experiment.trainer.saved_model_file)
        assert experiment.trainer.evaluate(test_data) == expected


def test_a_held_out_user_gets_recommendations_for_the_fold_in(data: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    experiment = Experiment("MultVAE", "uneven", OURS, **split())
    experiment.fit()
    seen = by_user(experiment.dataset, experiment.test_data.dataset.fold_in)
    user = max(seen, key=lambda user: len(seen[user]))
    assert recommend_main([experiment.trainer.saved_model_file, f"--user={user}", "-k", "3"]) == 0
    liked, recommended = capsys.readouterr().out.split("MultVAE recommends")
    assert f"User {user} of uneven liked {len(seen[user])} items" in liked
    assert not seen[user] & {line.split()[1] for line in recommended.strip().splitlines()}


def test_a_checkpoint_of_recbole_s_own_is_exported_with_the_items_of_training(data: list[tuple[str, str]]) -> None:
    experiment = Experiment("EASE", "uneven", RECBOLE, **split())
    experiment.fit()
    export(experiment.trainer.saved_model_file, "model.onnx", dataset_path=".")
    recommended, _ = InferenceSession("model.onnx").run(
        None, {"history": np.array([[data[0][1]]], dtype=object), "k": [1000]}
    )
    training, _ = reference(data, SEED)
    catalogue = {item for user, item in data if user in training}
    assert set(recommended[0]) - {""} == catalogue - {data[0][1]} != {item for _, item in data}


@pytest.mark.parametrize("keys", [{}, {"eval_args": {"split": {"LS": "valid_and_test"}}}, {"eval_args": {"order": "RO"}}])
def test_recbole_s_own_splits_stay_as_they_are(data: Any, keys: dict[str, Any]) -> None:
    def parts(build: Callable[[Any], Any]) -> list[list[tuple[str, str]]]:
        config = Config("BPR", "uneven", config_dict={**RECBOLE, **keys})
        dataset = create_dataset(config)
        assert type(dataset) is Dataset
        torch.manual_seed(0)
        return [pairs_of(part) for part in build(dataset)]

    assert parts(Dataset.build) == parts(recbole_s(Dataset.build))


def test_a_run_stops_early_on_the_metric_of_held_out_users(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    keys = {**OURS, **split(), "state": "INFO", "epochs": 300, "stopping_step": 3, "learning_rate": 0.01}
    with caplog.at_level(logging.INFO):
        result = run("MultVAE", "uneven", config_dict=keys)
    scores = [float(score) for score in re.findall(r"valid_score.*?: ([\d.]+)", caplog.text)]
    assert len(scores) < 300 and max(scores) == pytest.approx(result["best_valid_score"], abs=1e-6)
    assert result["best_valid_score"] == result["best_valid_result"]["ndcg@10"]
