from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.sampler import Sampler
from recbole.trainer import Trainer
from recbole.utils.case_study import full_sort_topk

from recbole_multvae.evaluation.ranking import CHUNK, CHUNKS_PER_POSITION, top_k
from recbole_multvae.models import ClickAutoEncoder
from recbole_multvae.training.trainer import FamilyTrainer
from tests.conftest import QUICK, Experiment, recbole_s

ML_1M = Path(__file__).parents[3] / "shared" / "data"
#: Everything that RecBole computes from top-k lists.
TOP_K_METRICS = ["Recall", "MRR", "NDCG", "Hit", "MAP", "Precision", "ItemCoverage", "AveragePopularity", "ShannonEntropy",
                 "GiniIndex", "TailPercentage"]  # fmt: skip
KEYS = {**QUICK, "epochs": 1, "topk": [1, 5, 10], "metric_decimal_place": 17, "train_batch_size": 500}


def recbole_s_own(experiment: Experiment) -> Any:
    """The test loader that RecBole makes by itself, with the same number of users in a batch."""
    loader = experiment.test_data
    sampler = Sampler(["train", "valid", "test"], loader._sampler.datasets)
    sampler.used_ids = recbole_s(Sampler.get_used_ids)(sampler)
    experiment.config["eval_batch_size"] = loader.step * experiment.dataset.item_num
    return FullSortEvalDataLoader(experiment.config, loader._dataset, sampler.set_phase("test"))


def given_scores(monkeypatch: pytest.MonkeyPatch, table: torch.Tensor) -> None:
    """Let RecBole's evaluation and ours read the same scores, [n_users, n_items]."""

    def score_into(model: ClickAutoEncoder, users: torch.Tensor, scores: torch.Tensor) -> None:
        scores.copy_(table[users, 1:])

    monkeypatch.setattr(ClickAutoEncoder, "histories", lambda model, users: users["user_id"])
    monkeypatch.setattr(ClickAutoEncoder, "full_sort_predict", lambda model, users: table[users["user_id"]].clone().view(-1))
    monkeypatch.setattr(ClickAutoEncoder, "score_into", score_into)


@pytest.mark.parametrize("decimals", [None, 1], ids=["scores", "scores with many ties"])
@pytest.mark.parametrize(
    ("dataset", "metrics"),
    [
        pytest.param("ml-100k", TOP_K_METRICS, id="ml-100k, top-k"),
        pytest.param("ml-100k", ["Recall", "GAUC"], id="ml-100k, gauc"),
        pytest.param("ml-1m", TOP_K_METRICS, id="ml-1m, top-k"),
        pytest.param("ml-1m", ["Recall", "GAUC"], id="ml-1m, gauc", marks=pytest.mark.slow),
    ],
)
def test_metrics_are_recbole_s(
    dataset: str, metrics: list[str], decimals: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"metrics": metrics, "valid_metric": "Recall@10"}
    if dataset == "ml-1m":
        if not (ML_1M / "ml-1m" / "ml-1m.inter").is_file():
            pytest.skip(f"no ml-1m in {ML_1M}")
        keys |= {"data_path": str(ML_1M), "load_col": {"inter": ["user_id", "item_id"]}, "eval_memory": 16}
    else:
        keys |= {"data_path": None, "eval_memory": 4}
    experiment = Experiment("MultVAE", dataset, KEYS, **{name: key for name, key in keys.items() if key is not None})
    experiment.fit()
    network, trainer = experiment.model.eval(), experiment.trainer
    with torch.no_grad():
        users = experiment.test_data.user_df.interaction["user_id"].new_tensor(range(network.n_users))
        table = network.full_sort_predict({"user_id": users}).view(-1, network.n_items)
    given_scores(monkeypatch, table if decimals is None else table.round(decimals=decimals))
    assert len(experiment.test_data) > 1
    ours = trainer.evaluate(experiment.test_data, load_best_model=False)
    theirs = Trainer.evaluate(trainer, recbole_s_own(experiment), load_best_model=False)
    assert len(ours) >= len(metrics)
    assert ours == theirs


def test_loader_is_recbole_s(blocks: str) -> None:
    experiment = Experiment("MultVAE", eval_memory=1, metrics=["GAUC"], valid_metric="GAUC")
    ours, theirs = experiment.test_data, recbole_s_own(experiment)
    assert len(ours) == len(theirs)
    for batch, expected in zip(ours, theirs, strict=True):
        assert torch.equal(batch[0]["user_id"], expected[0]["user_id"])
        pairs = [(*batch[1],), batch[2:]], [(*expected[1],), expected[2:]]
        for (rows, items), (expected_rows, expected_items) in zip(*pairs, strict=True):
            assert sorted(zip(rows.tolist(), items.tolist(), strict=True)) == sorted(
                zip(expected_rows.tolist(), expected_items.tolist(), strict=True)
            )
    assert (ours.uid2items_num == theirs.uid2items_num).all()


def test_recbole_s_case_study_reads_the_loader(blocks: str) -> None:
    experiment = Experiment("MultVAE")
    users = experiment.test_data.uid_list[:5].numpy()
    _, items = full_sort_topk(users, experiment.model, experiment.test_data, 3)
    _, expected = full_sort_topk(users, experiment.model, recbole_s_own(experiment), 3)
    assert torch.equal(items, expected)


def test_scores_are_those_of_full_sort_predict(blocks: str) -> None:
    network = Experiment("MultDAE").model.eval()
    users = {"user_id": torch.arange(network.n_users)}
    scores = torch.full((network.n_users, network.n_items), -1.0)
    network.score_into(network.histories(users), scores[:, 1:])
    assert (scores[:, 0] == -1).all()
    torch.testing.assert_close(scores[:, 1:], network.full_sort_predict(users).view_as(scores)[:, 1:].detach())


@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("extra", [0, 1, CHUNK - 1])
def test_top_k_is_torch_s(k: int, extra: int) -> None:
    n_items = CHUNK * CHUNKS_PER_POSITION * k + extra
    generator = torch.Generator().manual_seed(k)
    distinct = torch.stack([torch.randperm(n_items, generator=generator).float() for _ in range(20)])
    few_values = torch.randint(0, 50, (20, n_items), generator=generator).float()
    one_value = torch.zeros(3, n_items)
    mostly_masked = distinct.where(torch.rand(distinct.shape, generator=generator) < 0.002, -torch.inf)
    not_a_number = distinct.where(torch.rand(distinct.shape, generator=generator) < 0.9, torch.nan)
    rows = torch.cat((distinct, few_values, one_value, mostly_masked, not_a_number))
    strided = torch.empty(len(rows), n_items + 7)[:, 3 : n_items + 3].copy_(rows)
    assert torch.equal(top_k(strided, k), rows.topk(k, dim=1).indices)
    assert torch.equal(top_k(distinct[:, : n_items // 2], k), distinct[:, : n_items // 2].topk(k, dim=1).indices)


@pytest.mark.parametrize(
    "keys",
    [
        {"eval_args": {"mode": "uni5"}},
        {"eval_args": {"mode": "pop5"}},
        {"eval_args": {"mode": {"valid": "uni5", "test": "full"}}},
        {"eval_args": {"split": {"LS": "valid_and_test"}}},
        {"repeatable": True},
        {"eval_args": {"group_by": "none"}},
    ],
    ids=str,
)
def test_other_evaluation_settings(blocks: str, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Experiment("MultVAE", **keys)
    ours.fit()
    result = ours.trainer.evaluate(ours.test_data)
    assert 0 < result["recall@10"] <= 1
    monkeypatch.setattr(Sampler, "get_used_ids", recbole_s(Sampler.get_used_ids))
    monkeypatch.setattr(FamilyTrainer, "evaluate", Trainer.evaluate)
    theirs = Experiment("MultVAE", **keys)
    theirs.fit()
    assert theirs.trainer.evaluate(theirs.test_data) == result


def test_labeled_evaluation(blocks: str) -> None:
    keys = {"eval_args": {"mode": "labeled"}, "metrics": ["AUC"], "valid_metric": "AUC", "threshold": {"rating": 4}}
    experiment = Experiment("MultVAE", "ml-100k", {**KEYS, **keys, "data_path": "dataset/"})
    experiment.fit()
    assert 0.4 < experiment.trainer.evaluate(experiment.test_data)["auc"] < 1
