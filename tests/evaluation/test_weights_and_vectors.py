"""Propensities and items' vectors from columns, against the transcription; that of popularity is in the other files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recbole_multvae.errors import ConfigurationError, MultVAEError
from recbole_multvae.evaluation.list_metrics import IntraListDiversity
from recbole_multvae.evaluation.weighted_metrics import WEIGHTED_METRICS
from recbole_multvae.experiment.run import run
from recbole_multvae.sums.trainer import check_choice_of_weights
from tests.conftest import QUICK
from tests.evaluation import made, reference
from tests.evaluation.made import Data, arrays, odd_data, prepared, tokens

WEIGHTED = [metric.__name__ for metric in WEIGHTED_METRICS]
COLUMNS = {"inter": ["user_id", "item_id", "shown"], "item": ["item_id", "seen", "kinds", "place"]}
TOPK = [1, 3, 10]


@pytest.mark.parametrize("clip", [0.0, 0.3])
@pytest.mark.parametrize("column", ["shown", "seen", "popularity"])
@pytest.mark.parametrize("model", ["MultVAE", "BPR", "NeuMF"])
def test_weights(model: str, column: str, clip: float) -> None:
    data = odd_data(5, spare=1)
    keys = {"propensity": column, "propensity_clip": clip, "propensity_exponent": 0.7, "load_col": COLUMNS}
    experiment = prepared(model, data, WEIGHTED, TOPK, valid_metric=f"{WEIGHTED[0]}@1", **keys)
    of_data, (users, items) = arrays(data, experiment), tokens(experiment)
    propensities = {
        "shown": np.array([[made.shown(user, item) for item in items] for user in users]),
        "seen": np.array([[made.seen(item) for item in items]] * len(users)),
        "popularity": np.tile(reference.by_popularity(of_data.counts, 0.7), (len(users), 1)),
    }[column]
    clipped = np.maximum(propensities, clip)
    expected = {
        f"{name.lower()}@{k}": reference.reference(name, *of_data, k, propensities=clipped)
        for name in WEIGHTED
        for k in TOPK
    }
    assert experiment.test(saved=False) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("feature", ["kinds", "place"])
def test_diversity_of_features(feature: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recbole_multvae.evaluation.list_metrics.BLOCK", 40)  # A few items at a time.
    data = odd_data(6, spare=1)
    keys = {"diversity_of": feature, "load_col": COLUMNS, "valid_metric": "IntraListDiversity@1"}
    experiment = prepared("MultVAE", data, ["IntraListDiversity"], TOPK, **keys)
    of_data, (_, items) = arrays(data, experiment), tokens(experiment)
    vectors = {
        "kinds": np.array([[str(value) in made.kinds(item) for item in items] for value in range(5)]),
        "place": np.array([made.place(item) for item in items]).T,
    }[feature]
    of_data = of_data._replace(trained=vectors)  # The same formula with other vectors.
    expected = {f"intralistdiversity@{k}": reference.reference("IntraListDiversity", *of_data, k) for k in TOPK}
    assert experiment.test(saved=False) == pytest.approx(expected)


def test_diversity_by_hand() -> None:
    """Items 1 and 2 are the same, 3 has nothing in common with them, and 4 has no clicks."""
    vectors = csr_matrix([[0, 0], [1, 0], [1, 0], [0, 1], [0, 0]], dtype=float)
    metric = IntraListDiversity({"topk": [3], "metric_decimal_place": 4})
    values = metric.metric_info(np.array([[1, 2, 3], [3, 1, 0], [4, 4, 0], [1, 0, 0]]), vectors)
    np.testing.assert_allclose(values, [[0, 0, 2 / 3], [0, 1, 1], [0, 1, 1], [0, 0, 0]])


def exposed(seed: int) -> tuple[Data, np.ndarray]:
    """Users who like two thirds of the items and click those of them that they see, and a ranking that prefers what is seen.

    Returns:
        The data, with the clicks as the test, and what users like, bool [U, I], in the order of the data's items. The last
        item is that of training, which nobody likes.
    """
    random, letters = np.random.default_rng(seed), [chr(ord("a") + item) for item in range(21)]
    propensities = np.array([made.seen(letter) for letter in letters])
    likes = random.random((300, 21)) < 2 / 3
    likes[:, -1] = False
    clicks = likes & (random.random(likes.shape) < propensities)
    test = [(f"u{user}", letters[item]) for user, item in np.argwhere(clicks)]
    scores = 0.4 * likes + propensities + random.normal(size=likes.shape) / 2
    return Data(([(f"u{user}", letters[-1]) for user in range(300)], [("u0", letters[-1])], test), scores), likes


@pytest.mark.parametrize("seed", range(3))
def test_weighted_values_are_nearer_to_the_truth(seed: int) -> None:
    data, likes = exposed(seed)
    metrics = {"SNIPSRecall": "Recall", "IPSPrecision": "Precision"}
    keys = {"valid_metric": "Recall@5", "propensity": "seen", "load_col": COLUMNS}
    experiment = prepared("BPR", data, [*metrics, *metrics.values()], [5], **keys)
    result, (users, items) = experiment.test(saved=False), tokens(experiment)
    liked = likes[np.ix_([int(user[1:]) for user in users], [ord(item) - ord("a") for item in items])]
    of_data = arrays(data, experiment)
    of_test = of_data.positives.any(axis=1, keepdims=True)  # Who clicked nothing is not of the test.
    true_data = of_data._replace(positives=liked & of_test)
    for weighted, plain in metrics.items():
        truth = reference.reference(plain, *true_data, 5)
        error, plain_error = (abs(result[f"{name.lower()}@5"] - truth) for name in (weighted, plain))
        assert error < plain_error / 2


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"propensity": "sean"}, "propensity='sean' is not allowed: expected popularity, or a column of numbers"),
        (
            {"propensity": "seen", "load_col": {"inter": ["user_id", "item_id"]}},
            "propensity='seen' is not allowed: expected",
        ),
        (
            {"propensity": "seen", "normalize_all": True},
            "propensity reads the numbers of the column seen as they are in the",
        ),
        ({"diversity_of": "place", "normalize_field": ["place"]}, "diversity_of reads the numbers of the column place as"),
        ({"propensity": "kinds"}, "propensity='kinds' is not allowed: expected popularity"),
        ({"propensity": "high"}, "The column high of the data set made has 2, and propensity reads probabilities above 0"),
        (
            {"propensity": "seen", "propensity_clip": 1.5},
            "propensity_clip=1.5 is not allowed: expected a number from 0 to 1",
        ),
        (
            {"propensity": "shown", "eval_args": {"mode": "uni2"}},
            "propensity='shown' is a column of the interactions, which",
        ),
        ({"diversity_of": "seen"}, "diversity_of='seen' is not allowed: expected clicks, or a column of the items of type"),
        ({"diversity_of": "item_id"}, "diversity_of='item_id' is not allowed"),
    ],
)
def test_mistakes(keys: dict[str, Any], message: str) -> None:
    made.write(odd_data(7, spare=1))
    items = Path("made", "made.item")
    head, *rows = items.read_text().splitlines()
    items.write_text("\n".join([f"{head}\thigh:float", *(f"{row}\t2" for row in rows)]) + "\n")
    keys = {"load_col": COLUMNS | {"item": [*COLUMNS["item"], "high"]}, "benchmark_filename": list(made.PARTS), **keys}
    keys |= {"metrics": ["SNIPSRecall", "IntraListDiversity"], "topk": [2], "valid_metric": "SNIPSRecall@2"}
    with pytest.raises(MultVAEError) as error:
        run("MultVAE", "made", config_dict={**QUICK, **keys}, command_line={})
    assert str(error.value).startswith(message)


def test_weights_of_a_sum_are_not_chosen_by_weighted_metrics() -> None:
    config = {"metrics": ["SNIPSRecall"], "topk": [2], "valid_metric": "SNIPSRecall@2", "benchmark_filename": None}
    config |= {"eval_args": {"mode": "full", "split": {"RS": [8, 1, 1]}}}
    with pytest.raises(ConfigurationError, match=r"^The weights of a sum are chosen on validation, and metrics="):
        check_choice_of_weights(config)
