from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_multvae.commands.train import main
from recbole_multvae.data.csr import distinct_clicks
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.evaluation.activity import ActivityEvaluator, Group, draw, groups_of, table
from recbole_multvae.experiment.run import run
from tests.conftest import QUICK, QUIET, Experiment

KEYS = {**QUICK, "topk": [2, 5], "valid_metric": "NDCG@5", "metric_decimal_place": 9}
SG = {"eval_args": {"split": {"SG": {"valid_users": 10, "test_users": 14}}}}
GROUPS = [Group(5, 9, 20, {"recall@10": 0.25, "ndcg@10": 0.1}), Group(12, 12, 19, {"recall@10": 0.5, "ndcg@10": 0.0})]


def evaluated(experiment: Experiment, quantiles: int) -> tuple[ActivityEvaluator, dict[str, float]]:
    evaluator = ActivityEvaluator(experiment.trainer.evaluator, quantiles, experiment.train_data, experiment.test_data)
    experiment.trainer.evaluator = evaluator
    return evaluator, experiment.trainer.evaluate(experiment.test_data, load_best_model=False)


@pytest.mark.parametrize(("model", "keys"), [("MultVAE", KEYS), ("EASE", {**QUIET, "data_path": ".", "topk": [2, 5]})])
@pytest.mark.parametrize("split", [{}, SG], ids=["RS", "SG"])
def test_groups_are_of_users_with_like_numbers_of_clicks(uneven: str, model: str, keys: Any, split: Any) -> None:
    experiment = Experiment(model, uneven, keys, **split, metrics=["Recall", "NDCG", "MRR"])
    evaluator, result = evaluated(experiment, 3)
    clicks = experiment.test_data.dataset.fold_in if split else distinct_clicks(experiment.train_data.dataset)
    lengths = clicks.sum(axis=1).A1[distinct_clicks(experiment.test_data.dataset).sum(axis=1).A1 > 0]
    ranges = [(group.shortest, group.longest) for group in evaluator.groups]
    sizes = [np.count_nonzero((lengths >= shortest) & (lengths <= longest)) for shortest, longest in ranges]
    assert [group.users for group in evaluator.groups] == sizes and sum(sizes) == len(lengths) and len(sizes) == 3
    assert ranges == sorted(ranges)
    for name, value in result.items():  # A mean over users is the mean of its parts.
        weighted = sum(group.users * group.metrics[name] for group in evaluator.groups) / len(lengths)
        assert weighted == pytest.approx(value, abs=2e-4 if model == "EASE" else 1e-8)


def test_a_group_s_metrics_are_those_of_its_users_alone(uneven: str) -> None:
    experiment = Experiment("MultVAE", uneven, KEYS)
    evaluator, _ = evaluated(experiment, 2)
    first = evaluator.groups[0]
    users = np.asarray(experiment.test_data.uid_list)[evaluator.lengths <= first.longest]
    data = experiment.test_data.dataset
    alone = data.copy(data.inter_feat[np.flatnonzero(np.isin(data.inter_feat["user_id"].numpy(), users))])
    loader = type(experiment.test_data)(experiment.config, alone, experiment.test_data._sampler)
    experiment.trainer.evaluator = evaluator.evaluator
    assert first.metrics == experiment.trainer.evaluate(loader, load_best_model=False)


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [
        ([40] * 400, [400]),
        ([40] * 399 + [41], [400]),
        ([39] + [40] * 398 + [41], [400]),
        ([1] * 200 + [2] * 100 + [3] * 100, [200, 100, 100]),
        ([*[1] * 60, *range(2, 42)], [60, 15, 25]),
        ([*[1] * 70, *range(2, 32)], [70, 30]),  # The third quantile would leave a group of 5.
        (range(10), [2, 3, 2, 3]),
        ([5], [1]),
    ],
)
def test_groups_are_as_equal_as_ties_allow(lengths: Any, sizes: list[int]) -> None:
    assert np.bincount(groups_of(np.array(lengths), 4)).tolist() == sizes


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(1, 6))
def test_no_group_is_small_beside_the_others(lengths: list[int], quantiles: int) -> None:
    groups = groups_of(np.array(lengths), quantiles)
    sizes = np.bincount(groups)
    assert sizes.min() >= len(lengths) / quantiles / 2 and len(sizes) <= quantiles
    assert [group for _, group in sorted(zip(lengths, groups, strict=True))] == sorted(groups)
    assert len(set(zip(lengths, groups, strict=True))) == len(set(lengths))
    alone = groups_of(np.arange(len(lengths)), quantiles)  # Without ties.
    assert len(lengths) < quantiles or np.ptp(np.bincount(alone)) <= 1


def test_one_length_is_one_group(write_dataset: Any) -> None:
    write_dataset("alike", [(f"u{user}", f"i{(user + item) % 30}") for user in range(30) for item in range(10)])
    evaluator, result = evaluated(Experiment("MultVAE", "alike", **KEYS), 4)
    assert [(group.clicks, group.users, group.metrics) for group in evaluator.groups] == [("8", 30, result)]


def test_table() -> None:
    assert table(GROUPS).splitlines() == [
        "  clicks    users    recall@10    ndcg@10",
        "     5-9       20       0.2500     0.1000",
        "      12       19       0.5000     0.0000",
    ]


def test_drawing_has_a_bar_for_each_number_and_is_beside_the_checkpoint(tmp_path: Path) -> None:
    file = draw(GROUPS, str(tmp_path / "MultVAE-Nov-21.1.pth"))
    assert file == tmp_path / "MultVAE-Nov-21.1-activity.png"
    assert list(tmp_path.iterdir()) == [file]
    pixels = matplotlib.image.imread(file)[..., :3]
    blue = np.isclose(pixels, matplotlib.colors.to_rgb("C0"), atol=0.01).all(axis=2)
    starts = np.diff(blue.any(axis=0).astype(int)) > 0
    assert starts.sum() == 3  # Of four bars one has no height.
    heights = [blue[:, column + 5].sum() for column in np.flatnonzero(starts)]
    assert heights[1] == pytest.approx(2 * heights[0], abs=4)


@pytest.mark.parametrize(("quantiles", "drawn"), [(2, True), (0, False)])
def test_the_command_shows_it_on_request(uneven: str, caplog: pytest.LogCaptureFixture, quantiles: int, drawn: bool) -> None:
    with caplog.at_level(logging.INFO):
        result = run("MultVAE", uneven, config_dict={**KEYS, "state": "INFO", "activity_quantiles": quantiles})
    assert bool(list(Path("saved").glob("MultVAE-*-activity.png"))) is drawn
    assert bool(re.search(r"by activity of the users.*\n *clicks +users +recall@2", caplog.text)) is drawn
    assert result == run("MultVAE", uneven, config_dict=KEYS)


def test_mistakes(blocks: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigurationError, match="activity_quantiles=-1 is not allowed: expected an integer, 0 or more"):
        run("EASE", blocks, config_dict={**QUIET, "data_path": ".", "activity_quantiles": -1})
    with pytest.raises(ConfigurationError, match="activity_quantiles=4 needs a test that ranks all items for each user"):
        run("MultVAE", blocks, config_dict={**KEYS, "activity_quantiles": 4, "eval_args": {"mode": "uni5"}})
    assert main([f"--dataset={blocks}", "--data_path=.", "--activity_quantile=4"]) == 1
    assert "did you mean activity_quantiles?" in capsys.readouterr().err
