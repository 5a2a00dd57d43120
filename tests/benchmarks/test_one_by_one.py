"""benchmarks/one_by_one.py: both ways of ranking are compared, and differences are counted."""

from __future__ import annotations

import one_by_one
import pytest

from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.experiment.preparation import prepare
from tests.conftest import QUIET


@pytest.mark.parametrize("model", ["EASE", "MultVAE", "NeuMF"])
def test_one_user_at_a_time_gives_the_same_lists(uneven: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {**QUIET, "data_path": ".", "topk": [1, 5, 10], "embedding_size": 8}
    experiment = prepare(make_config(model, "uneven", keys=keys, command_line={}))
    result = one_by_one.compare(experiment.trainer, experiment.test_data)
    if model == "NeuMF":
        assert result is None  # RecBole's own loader has one user at a time.
        return
    seconds, hits = one_by_one.run_together(experiment.trainer, experiment.test_data)
    assert result is not None and min(seconds, result["together"], result["one_by_one"]) > 0
    assert (result["users"], result["different"]) == (len(hits), 0)
    hits[0, 0] ^= 1
    monkeypatch.setattr(one_by_one, "run_together", lambda *_: (seconds, hits))
    assert one_by_one.compare(experiment.trainer, experiment.test_data)["different"] == 1
