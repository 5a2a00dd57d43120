"""Weak generalization by records: the split, the catalogue, and what may be recommended."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recbole_multvae.data.csr import distinct_clicks
from recbole_multvae.errors import ConfigurationError, DataError
from recbole_multvae.experiment.configuration import make_config
from tests.conftest import QUICK, QUIET, Experiment, uneven_pairs

RECBOLE = {**QUIET, "data_path": ".", "epochs": 1, "topk": [5], "valid_metric": "NDCG@5", "metric_decimal_place": 9}
OURS = {**QUICK, **RECBOLE}
SEED = 3


def split(**arguments: Any) -> dict[str, Any]:
    return {"eval_args": {"split": {"WG": {"seed": SEED, **arguments}}}}


def parts(pairs: list[tuple[str, str]], seed: int = SEED) -> list[list[tuple[str, str]]]:
    """60/20/20 of the shuffled pairs; those of items that are not in training left out."""
    places = np.random.RandomState(seed).permutation(len(pairs))
    cuts = round(0.6 * len(pairs)), round(0.8 * len(pairs))
    shuffled = [[pairs[place] for place in sorted(part)] for part in np.split(places, cuts)]
    catalogue = {item for _, item in shuffled[0]}
    return [[pair for pair in part if pair[1] in catalogue] for part in shuffled]


def pairs_of(dataset: Any) -> list[tuple[str, str]]:
    columns = [dataset.id2token(field, dataset.inter_feat[field].numpy()) for field in ("user_id", "item_id")]
    return sorted(zip(*map(list, columns), strict=True))


@pytest.mark.parametrize("model", ["MultVAE", "EASE", "BPR"])
def test_records_are_cut_and_the_catalogue_is_that_of_training(uneven: str, model: str) -> None:
    experiment = Experiment(model, uneven, OURS if model == "MultVAE" else RECBOLE, **split())
    expected = parts(uneven_pairs())
    assert sum(map(len, expected)) < len(uneven_pairs())  # Some items have no record in training.
    loaders = experiment.train_data, experiment.valid_data, experiment.test_data
    assert [pairs_of(loader.dataset) for loader in loaders] == [sorted(part) for part in expected]
    assert set(experiment.dataset.field2id_token["item_id"]) == {"[PAD]"} | {item for _, item in expected[0]}
    assert experiment.model.n_items == len({item for _, item in expected[0]}) + 1


@pytest.mark.parametrize("model", ["MultVAE", "ItemAutoRec", "EASE", "BPR"])
def test_the_items_of_training_are_masked_and_those_of_validation_are_not(uneven: str, model: str) -> None:
    experiment = Experiment(model, uneven, OURS if model == "MultVAE" else RECBOLE, **split())
    training = distinct_clicks(experiment.train_data.dataset)
    for loader in (experiment.valid_data, experiment.test_data):
        positives = distinct_clicks(loader.dataset)
        masked = np.zeros(positives.shape, dtype=bool)
        for users, (rows, items), *_ in loader:
            masked[users["user_id"].numpy()[rows], items] = True
        to_rank = positives.getnnz(axis=1) > 0
        assert (masked[to_rank] == (training > positives).toarray()[to_rank]).all()
    experiment.fit()
    assert 0 < experiment.trainer.evaluate(experiment.test_data, load_best_model=False)["ndcg@5"] <= 1


def test_metrics_are_those_of_a_ranking_in_numpy(uneven: str) -> None:
    experiment = Experiment("MultVAE", uneven, OURS, **split())
    experiment.fit()
    seen = distinct_clicks(experiment.train_data.dataset).toarray()[:, 1:]
    relevant = distinct_clicks(experiment.test_data.dataset).toarray()[:, 1:]
    users = relevant.any(axis=1)
    scores = experiment.model.score_histories([(np.flatnonzero(row) + 1).tolist() for row in seen[users]])[:, 1:].numpy()
    best = np.argsort(-np.where(seen[users] > 0, -np.inf, scores), axis=1)[:, :5]
    hits = np.take_along_axis(relevant[users], best, axis=1)
    result = experiment.trainer.evaluate(experiment.test_data)
    assert result["precision@5"] == pytest.approx((hits.sum(axis=1) / 5).mean())
    assert result["recall@5"] == pytest.approx((hits.sum(axis=1) / relevant[users].sum(axis=1)).mean())


def test_recbole_s_seed_decides_unless_the_split_has_its_own(uneven: str) -> None:
    def training(recbole_s: int, **arguments: Any) -> list[tuple[str, str]]:
        return pairs_of(Experiment("MultVAE", uneven, OURS, **split(**arguments), seed=recbole_s).train_data.dataset)

    assert training(1) == training(2) == sorted(parts(uneven_pairs())[0])
    assert training(1, seed=None) == sorted(parts(uneven_pairs(), seed=1)[0])


def test_ratios_need_not_add_up_to_one(uneven: str) -> None:
    whole, shares = (Experiment("MultVAE", uneven, OURS, **split(ratios=r)) for r in ([3, 1, 1], [0.6, 0.2, 0.2]))
    assert pairs_of(whole.test_data.dataset) == pairs_of(shares.test_data.dataset)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (split(ratios=[0.8, 0.2]), r"ratios=\[0.8, 0.2\] is not allowed: expected three positive numbers"),
        (split(ratios=[1, 0, 0]), "expected three positive numbers"),
        (split(ratio=[6, 2, 2]), "split WG has no argument 'ratio': did you mean ratios?"),
        ({"eval_args": {**split()["eval_args"], "mode": "uni5"}}, "mode='uni5' does not go with split WG"),
    ],
)
def test_mistakes(uneven: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Experiment("MultVAE", uneven, OURS, **keys)


def test_a_part_without_records(uneven: str) -> None:
    with pytest.raises(DataError, match=r"leave \d+, 0, 0 records for training, validation and test"):
        Experiment("MultVAE", uneven, OURS, **split(ratios=[1, 1e-9, 1e-9]))


def test_ml_1m_weak_is_this_split() -> None:
    config = make_config("BPR", "ml-1m", ["ml-1m-weak"], QUIET, {})
    assert config["eval_args"]["split"] == {"WG": {"ratios": [0.6, 0.2, 0.2]}}
