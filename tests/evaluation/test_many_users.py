"""RecBole's models, evaluated many users at once by the training command: the metrics are those of one user at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import recbole
from recbole.config import Config
from recbole.data import data_preparation
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator import Collector
from recbole.utils import get_model

from recbole_multvae.data.atomic_files import read_dataset
from recbole_multvae.data.loaders import FullRowsEvalDataLoader
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.evaluation.many_users import scores_users
from recbole_multvae.experiment.configuration import make_config, model_names
from recbole_multvae.experiment.preparation import prepare
from tests.conftest import QUIET

_FILES = (Path(recbole.__file__).parent / "model" / "general_recommender").glob("*.py")
_STEMS = {file.stem for file in _FILES}
#: NCL needs faiss.
GENERAL = sorted(name for name in model_names() if name.lower() in _STEMS and name != "NCL")
PAIRS = {"ConvNCF", "NeuMF", "NNCF"}
#: As on the command line, without rounding.
KEYS = {**QUIET, "data_path": ".", "metric_decimal_place": 17, "topk": [1, 5, 10], "embedding_size": 8, "eval_batch_size": 1}


def config_of(model: str, **keys: Any) -> Config:
    return make_config(model, "uneven", keys={**KEYS, **keys}, command_line={})


def test_models_that_score_a_user_at_once() -> None:
    assert {name for name in GENERAL if not scores_users(get_model(name))} == PAIRS
    assert not scores_users(get_model("SASRec")) and not scores_users(get_model("FM"))


@pytest.mark.parametrize("model", [name for name in GENERAL if name not in PAIRS])
def test_metrics_are_those_of_one_user_at_a_time(uneven: str, model: str) -> None:
    experiment = prepare(config_of(model))
    if model == "Pop":  # It counts in its only epoch. The others score as they are made.
        experiment.fit()
    many = experiment.test_data
    assert type(many) is FullRowsEvalDataLoader and len(many) == 1
    ours = experiment.test(saved=False)
    one = FullSortEvalDataLoader(experiment.config, many.dataset, many._sampler)
    assert len(one) == len(many.uid_list)
    experiment.trainer.eval_collector = Collector(experiment.config)
    assert experiment.trainer.evaluate(one, load_best_model=False) == ours


def test_metrics_of_whole_rows(uneven: str) -> None:
    experiment = prepare(config_of("BPR", metrics=["GAUC", "Recall"], valid_metric="GAUC"))
    ours = experiment.test(saved=False)
    one = FullSortEvalDataLoader(experiment.config, experiment.test_data.dataset, experiment.test_data._sampler)
    assert experiment.trainer.evaluate(one, load_best_model=False) == pytest.approx(ours)


@pytest.mark.parametrize("keys", [{"eval_args": {"mode": "uni5"}}, {"model": "NeuMF"}], ids=["sampled items", "pairs"])
def test_other_evaluations_are_recbole_s(uneven: str, keys: dict[str, Any]) -> None:
    experiment = prepare(config_of(keys.pop("model", "BPR"), **keys))
    assert not isinstance(experiment.test_data, FullRowsEvalDataLoader)
    assert set(experiment.test(saved=False)) >= {"recall@10", "ndcg@1"}


def test_memory_sets_the_users_of_a_batch(uneven: str) -> None:
    assert prepare(config_of("BPR", eval_memory=1)).test_data.step < prepare(config_of("BPR")).test_data.step
    with pytest.raises(ConfigurationError, match="eval_memory=0 is not allowed: expected a positive integer"):
        prepare(config_of("BPR", eval_memory=0))


def test_recbole_s_own_script_is_left_alone(uneven: str) -> None:
    config = Config("BPR", "uneven", config_dict=KEYS)
    assert all(type(loader) is FullSortEvalDataLoader for loader in data_preparation(config, read_dataset(config))[1:])
