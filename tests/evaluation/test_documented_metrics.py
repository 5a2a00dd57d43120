"""Every metric against a transcription of the formula that RecBole documents, and where RecBole's own value is another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recbole.evaluator.metrics
import torch
from recbole.evaluator import Collector, Evaluator
from recbole.evaluator.register import metrics_dict, smaller_metrics
from recbole.trainer import Trainer

from recbole_multvae.errors import ConfigurationError, DataError
from recbole_multvae.evaluation.collector import RankingCollector
from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.experiment.preparation import Experiment, prepare
from tests.conftest import QUIET
from tests.evaluation import reference as metrics_reference
from tests.evaluation.made import PARTS, Arrays, Data, arrays, odd_data, prepared, write
from tests.evaluation.reference import OF_PAIRS, OF_RANKINGS, ranked, reference, reference_of_pairs

#: Those that RecBole has under the same name, or could compute from the same inputs.
RECBOLE_S = [*(name for name in vars(recbole.evaluator.metrics) if name.lower() in OF_RANKINGS), "CappedRecall"]
LIST_METRICS = [cls.__name__ for name, cls in metrics_dict.items() if name in OF_RANKINGS]
ALL = [*LIST_METRICS, "GAUC"]


def one_user(seed: int) -> Data:
    """A user of the test, whose relevant items all rank first, and a user of training."""
    parts = [("u0", "a"), ("u1", "a"), ("u1", "b"), ("u1", "e")], [("u1", "d")], [("u0", "c"), ("u0", "d")]
    return Data(parts, np.array([[9.0, 1, 8, 7, -1], [1, 2, 3, 4, 5]]))


CASES: dict[str, Callable[[int], Data]] = {
    "odd": partial(odd_data, spare=1),  # RecBole refuses a user who has all items; the package's models do not.
    "all items": odd_data,
    "ties": partial(odd_data, decimals=0, spare=1),
    "one user": one_user,
}


class Kept:
    """RecBole's evaluator, which keeps its input."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator, self.collected = evaluator, None

    def evaluate(self, collected: Any) -> Any:
        self.collected = collected
        return self.evaluator.evaluate(collected)


class RecBoleSCollector(RankingCollector):
    """RecBole's collector. Its ``get_data_struct`` is ours: RecBole's fails where the number of items is collected."""

    eval_batch_collect = Collector.eval_batch_collect


def recbole_s_own(experiment: Experiment) -> dict[str, float]:
    """The test by RecBole's own collector and metrics."""
    trainer, config = experiment.trainer, experiment.config
    trainer.eval_collector, trainer.evaluator = RecBoleSCollector(config), Evaluator(config)
    trainer.eval_collector.data_collect(experiment.train_data)
    for name, metric in trainer.evaluator.metric_class.items():
        recbole_class = getattr(recbole.evaluator.metrics, type(metric).__name__, type(metric))
        trainer.evaluator.metric_class[name] = recbole_class(config)
    return {name: float(value) for name, value in Trainer.evaluate(trainer, experiment.test_data, False).items()}


def documented(made: Arrays, metrics: list[str], topk: list[int], **more: Any) -> dict[str, float]:
    """The test by the transcription: of the model's scores and the interactions."""
    return {
        name.lower() if name == "GAUC" else f"{name.lower()}@{k}": reference(name, *made, k, **more)
        for name in metrics
        for k in topk
    }


def lists_of_users(experiment: Experiment, items: torch.Tensor) -> list[np.ndarray]:
    """The lists that were collected; users who are not in the test have none."""
    lists = [np.array([], dtype=int)] * (experiment.train_data.dataset.user_num - 1)
    for user, row in zip(experiment.test_data.uid_list, items.numpy(), strict=True):
        lists[user - 1] = row[row > 0] - 1
    return lists


def test_the_transcription_has_all_metrics() -> None:
    assert {*OF_RANKINGS, "gauc", *OF_PAIRS} == metrics_dict.keys()


@pytest.mark.parametrize("metrics", [LIST_METRICS, ALL], ids=["lists", "rows"])
@pytest.mark.parametrize(
    ("model", "case"), [("MultVAE", case) for case in CASES] + [("BPR", case) for case in CASES if case != "all items"]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_metrics_of_rankings(seed: int, case: str, model: str, metrics: list[str]) -> None:
    data = CASES[case](seed)
    topk = [1, 3, 5] if case == "one user" else [1, 3, 10, 20]
    experiment = prepared(model, data, metrics, topk, valid_metric=f"Recall@{topk[0]}", tail_ratio=0.3)
    kept = experiment.trainer.evaluator = Kept(experiment.trainer.evaluator)
    result, made = experiment.test(saved=False), arrays(data, experiment)
    lists = lists_of_users(experiment, kept.collected.get("rec.items"))
    best = ranked(made.scores, made.masked, topk[-1])
    for user in np.flatnonzero(made.positives.any(axis=1)):  # Of equal scores the package may take another item.
        assert len(set(lists[user])) == len(lists[user]) and not made.masked[user, lists[user]].any()
        np.testing.assert_array_equal(made.scores[user, lists[user]], made.scores[user, best[user]])
    expected = documented(made, metrics, topk, tail_ratio=0.3, lists=lists if case == "ties" else None)
    assert result == pytest.approx(expected, abs=1e-6 if "GAUC" in metrics else 1e-11)
    assert any(len(items) < topk[-1] for items in lists)


@pytest.mark.parametrize("model", ["MultVAE", "BPR"])
def test_metrics_of_sampled_rankings(model: str) -> None:
    """With two sampled items for each relevant one, a list of ten is never full."""
    data = odd_data(2, spare=1)
    experiment = prepared(
        model, data, ALL, [1, 10], valid_metric="Recall@1", eval_args={"mode": "uni2"}, eval_batch_size=10_000
    )
    rows: list[torch.Tensor] = []
    collect = experiment.trainer.eval_collector.eval_batch_collect
    experiment.trainer.eval_collector.eval_batch_collect = lambda scores, *rest: (
        rows.append(scores),
        collect(scores, *rest),
    )
    result = experiment.test(saved=False)
    made, (scores,) = arrays(data, experiment), rows
    made.masked[:] = True
    made.masked[experiment.test_data.uid_list - 1] = torch.isinf(scores[:, 1:]).numpy()
    assert result == pytest.approx(documented(made, ALL, [1, 10]), abs=1e-6)


#: Two users with two items each: a and b, a and c; u0 was to be given a, u1 c, and d and e are in no list.
TWO_LISTS = Data(
    ([("u0", "e"), ("u1", "e"), ("u1", "d"), *[("u2", item) for item in "abe"]], [("u2", "d")], [("u0", "a"), ("u1", "c")]),
    np.array([[9.0, 8, 1, 2, 0], [9, 1, 8, 0, 0], [0, 0, 0, 0, 0]]),
)  # fmt: skip
#: One user, who has all items but a: the list of two items ends after the first, and RecBole adds one of the others.
SHORT_LIST = Data(
    ([("u1", "a"), *[("u0", "b")] * 3], [("u0", "c"), ("u0", "d")], [("u0", "a")]),
    np.array([[1.0, 2, 3, 4]] * 2),
)  # fmt: skip
#: What RecBole's own class gives, and what its documented formula gives, at k = 2. All other metrics are equal.
DIFFERENT = [
    (TWO_LISTS, "ItemCoverage", 3 / 6, 3 / 5),
    (TWO_LISTS, "GiniIndex", 14 / 24, 10 / 20),  # 0 0 0 1 1 2 with weights -5 ... 5; 0 0 1 1 2 with weights -4 ... 4.
    (TWO_LISTS, "ShannonEntropy", 1.5 * np.log(2) / 3, 1.5 * np.log(2)),
    (SHORT_LIST, "ItemCoverage", 2 / 5, 1 / 4),
    (SHORT_LIST, "GiniIndex", 6 / 10, 3 / 4),
    (SHORT_LIST, "ShannonEntropy", np.log(2) / 2, 0),
    (SHORT_LIST, "AveragePopularity", (1 / 2, 2), 1),  # Which one is added is torch's choice.
    (SHORT_LIST, "TailPercentage", 1 / 2, 1),
]


@pytest.mark.parametrize("data", [TWO_LISTS, SHORT_LIST], ids=["two lists", "short list"])
def test_what_differs_from_recbole(data: Data) -> None:
    metrics = (
        [*RECBOLE_S, "GAUC"] if data is TWO_LISTS else RECBOLE_S
    )  # GAUC has no value where a user is to find all items.
    table = {f"{name.lower()}@2": values for difference, name, *values in DIFFERENT if difference is data}
    experiment = prepared("MultVAE", data, metrics, [2], valid_metric="Recall@2")
    ours, theirs = experiment.test(saved=False), recbole_s_own(experiment)
    assert ours == pytest.approx(documented(arrays(data, experiment), metrics, [2]))
    assert {name for name in ours if ours[name] != pytest.approx(theirs[name])} == table.keys()
    for name, (recbole_s_value, value) in table.items():
        assert ours[name] == pytest.approx(value)
        assert np.isclose(theirs[name], recbole_s_value).any(), name


def test_map_has_the_denominator_of_its_note() -> None:
    """RecBole prints min(|R^(u)|, K), and its note and the page that it names mean min(|R(u)|, K), as it computes."""
    experiment = prepared("MultVAE", TWO_LISTS, ["MAP"], [2], valid_metric="MAP@2")
    result, made = experiment.test(saved=False), arrays(TWO_LISTS, experiment)
    lists, of_test = ranked(made.scores, made.masked, 2), made.positives.any(axis=1)
    assert result == recbole_s_own(experiment) == {"map@2": (1 + 1 / 2) / 2}
    test = metrics_reference.Test(lists[:2], made.positives[of_test], made.counts, 2, 0.1, made.trained, np.ones((2, 5)))
    assert metrics_reference.average_precision_as_printed(test) == (1 / 2 + 1 / 4) / 2


@pytest.mark.parametrize("ratio", [None, 0.5, 1, 1.0, 2, 3])
def test_tail_ratio(ratio: float | None) -> None:
    data = odd_data(3, spare=1)
    experiment = prepared("BPR", data, ["TailPercentage"], [5], valid_metric="TailPercentage@5", tail_ratio=ratio)
    expected = documented(
        arrays(data, experiment), ["TailPercentage"], [5], **({} if ratio is None else {"tail_ratio": ratio})
    )
    assert experiment.test(saved=False) == pytest.approx(expected)


@pytest.mark.parametrize("ratio", [0, -1, 1.5, True, "[2]"])
def test_tail_ratio_that_says_nothing(ratio: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^tail_ratio=.* is not allowed: expected a number above 0 and up to 1"):
        metrics_dict["tailpercentage"]({"tail_ratio": ratio, "topk": [1], "metric_decimal_place": 4})


def test_fewer_is_better_is_known() -> None:
    lower = {"giniindex", "averagepopularity", "rmse", "mae", "logloss"}
    assert set(smaller_metrics) == lower and len(smaller_metrics) == len(lower)
    for name, metric in metrics_dict.items():
        assert metric.smaller is (name in lower)
    write(TWO_LISTS)
    keys = {**QUIET, "data_path": ".", "metrics": ["GiniIndex", "Recall"], "topk": [2]}
    for metric, bigger in (("giniindex@2", False), ("GiniIndex@2", False), ("Recall@2", True)):
        config = make_config("MultVAE", "made", keys={**keys, "valid_metric": metric}, command_line={})
        assert config["valid_metric_bigger"] is bigger


def labeled(model: str, metrics: list[str], rows: Iterable[tuple[str, str, float, float]], **keys: Any) -> Experiment:
    """The experiment of a labeled evaluation: (user, item, label, prediction) are the records of every part."""
    rows = list(rows)
    Path("rated").mkdir(exist_ok=True)
    text = "user_id:token\titem_id:token\tlabel:float\tguess:float\n"
    text += "".join("\t".join(map(str, row)) + "\n" for row in rows)
    for part in PARTS:
        Path("rated", f"rated.{part}.inter").write_text(text)
    keys = {"data_path": ".", "benchmark_filename": list(PARTS), "metrics": metrics, "valid_metric": metrics[0], **keys}
    keys |= {"load_col": {"inter": ["user_id", "item_id", "label", "guess"]}, "eval_args": {"mode": "labeled"}}
    experiment = prepare(make_config(model, "rated", keys={**QUIET, **keys}, command_line={}))
    experiment.trainer.model.predict = lambda records: records["guess"]
    return experiment


def rated(seed: int) -> list[tuple[str, str, float, float]]:
    """Records with many equal predictions; a pair of user and item may be there twice, with either label."""
    random = np.random.default_rng(seed)
    guesses = random.integers(1, 10, 60) / 10
    return [(f"u{random.integers(7)}", f"i{random.integers(9)}", int(random.random() < guess), guess) for guess in guesses]


@pytest.mark.parametrize("model", ["MultVAE", "BPR"])
def test_metrics_of_labeled_evaluations(model: str) -> None:
    rows = rated(0)
    experiment = labeled(model, ["AUC", "MAE", "RMSE", "LogLoss"], rows, metric_decimal_place=12)
    result = experiment.test(saved=False)
    labels, guesses = np.array([row[2:] for row in rows]).T
    assert result == pytest.approx({name: reference_of_pairs(name, guesses, labels) for name in OF_PAIRS}, abs=1e-7)
    assert recbole_s_own(experiment) == pytest.approx(result, abs=1e-6)


def test_one_labeled_record() -> None:
    metric = metrics_dict["mae"]({"metric_decimal_place": 4})
    collected = {"rec.score": torch.tensor([0.25]), "data.label": torch.tensor([1.0])}
    assert metric.calculate_metric(collected) == {"mae": 0.75}


@pytest.mark.parametrize("metrics", [["AUC"], ["LogLoss"]])
def test_labels_that_are_ratings_are_refused(metrics: list[str]) -> None:
    rows = [(user, item, 5 * label, guess) for user, item, label, guess in rated(1)]
    with pytest.raises(ConfigurationError, match=f"^{metrics[0]} reads labels of 0 and 1, and the column label has 5: "):
        labeled("BPR", metrics, rows).test(saved=False)


def test_scores_that_are_no_probabilities_are_refused() -> None:
    rows = [(user, item, label, 3 * guess) for user, item, label, guess in rated(1)]
    with pytest.raises(ConfigurationError, match=r"^LogLoss reads probabilities, and a score of BPR is [12]"):
        labeled("BPR", ["LogLoss"], rows).test(saved=False)


def test_auc_of_one_class_is_refused() -> None:
    rows = [(user, item, 1, guess) for user, item, _, guess in rated(1)]
    with pytest.raises(DataError, match=r"^AUC compares .*, and all 60 that are evaluated have 1: "):
        labeled("BPR", ["AUC"], rows).test(saved=False)


def test_gauc_without_other_items_is_refused() -> None:
    with pytest.raises(DataError, match=r"^GAUC compares .*, and no user has both: "):
        prepared("MultVAE", SHORT_LIST, ["GAUC"], [2], valid_metric="GAUC").test(saved=False)


def test_numbers_have_the_decimals_that_were_asked_for() -> None:
    """RecBole's GAUC and metrics of labels are of float32, whose four decimals are .5131999850273132 in float64."""
    gauc = prepared("BPR", odd_data(4, spare=1), ["GAUC"], [1], valid_metric="GAUC", metric_decimal_place=4).test(
        saved=False
    )
    others = labeled("BPR", ["RMSE", "MAE", "LogLoss"], rated(2)).test(saved=False)
    for value in (*gauc.values(), *others.values()):
        assert type(value) is float and value == round(value, 4)
