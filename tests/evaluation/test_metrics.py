"""The paper's metrics against numbers worked out by hand."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from recbole.config import Config
from recbole.evaluator import metrics_dict

from recbole_multvae.evaluation.metrics import CappedRecall
from tests.conftest import QUICK

KEYS = {"topk": [3], "metric_decimal_place": 9}
#: Rankings of three items, 1 for a relevant one, and the number of relevant items.
HITS = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]], dtype=bool)
TO_FIND = np.array([2, 1, 4, 5])
#: At 1, 2 and 3: hits / min(R, |I_u|).
CAPPED_RECALL = [[1, 1 / 2, 1], [0, 1, 1], [0, 0, 0], [1, 1, 1]]
#: At 1, 2 and 3: hits / |I_u|.
RECALL = [[1 / 2, 1 / 2, 1], [0, 1, 1], [0, 0, 0], [1 / 5, 2 / 5, 3 / 5]]
#: At 1, 2 and 3: sum over hits of 1 / log2(place + 1), over the same with all of the first min(R, |I_u|) places hit.
SECOND, THIRD = 1 / log2(3), 1 / log2(4)
NDCG = [
    [1, 1 / (1 + SECOND), (1 + THIRD) / (1 + SECOND)],
    [0, SECOND, SECOND],
    [0, 0, 0],
    [1, 1, 1],
]


@pytest.mark.parametrize(("metric", "expected"), [("cappedrecall", CAPPED_RECALL), ("recall", RECALL), ("ndcg", NDCG)])
def test_metric_by_hand(metric: str, expected: list[list[float]]) -> None:
    np.testing.assert_allclose(metrics_dict[metric](KEYS).metric_info(HITS, TO_FIND), expected, rtol=1e-12)


def test_the_result_is_the_mean_over_users() -> None:
    metric = CappedRecall({"topk": [1, 3], "metric_decimal_place": 4})
    result = metric.topk_result("cappedrecall", metric.metric_info(HITS, TO_FIND))
    assert result == {"cappedrecall@1": 0.5, "cappedrecall@3": 0.75}


@pytest.mark.parametrize("model", ["MultVAE", "BPR"])
def test_recbole_finds_the_metric_by_name(model: str) -> None:
    keys = {**QUICK, "latent_dimension": 4, "metrics": ["CappedRecall"], "topk": [20], "valid_metric": "CappedRecall@20"}
    config = Config(model, "blocks", config_dict=keys)
    assert config["valid_metric_bigger"] is True
