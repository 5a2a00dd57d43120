"""The search of hyper-parameters: its spaces, its trials, and a search that starts again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from recbole_multvae.config.shipped import PROPERTIES
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.leaderboard.rows import Row
from recbole_multvae.leaderboard.search import best_of, expected_trials, plan_searches, run_trials
from recbole_multvae.leaderboard.space import Params, Space, read_space
from tests.leaderboard.test_command import FLAGS, command, report_of

__all__ = ["command"]  # A fixture.
SHIPPED = sorted((PROPERTIES / "hyper").glob("*.hyper"))


def test_a_space_has_the_kinds_of_recbole(tmp_path: Path) -> None:
    (tmp_path / "all.hyper").write_text(
        "# a comment\n\nlearning_rate loguniform -8, 0\nhidden choice [[64,32], 'none', 0.5, None]\n"
        "dropout uniform 0.1,0.5\nsize quniform 32,128,32\n"
    )
    space = read_space(tmp_path / "all.hyper")
    assert space["learning_rate"] == FloatDistribution(math.exp(-8), 1, log=True)
    assert space["hidden"] == CategoricalDistribution(["[64, 32]", "none", 0.5, None])
    assert space["dropout"] == FloatDistribution(0.1, 0.5)
    assert space["size"] == FloatDistribution(32, 128, step=32)


@pytest.mark.parametrize(
    "line",
    [
        "learning_rate", "learning_rate choise [1]", "learning_rate choice 0.1", "learning_rate choice []",
        "learning_rate choice __import__('os').system('touch executed')", "learning_rate uniform 1", "x loguniform 0,9999",
        "x uniform 0.5,0.1", "x choice [1]\nx choice [2]",
    ],
)  # fmt: skip
def test_a_line_that_is_not_understood_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "bad.hyper").write_text(line)
    with pytest.raises(ConfigurationError, match=r"^Line \d of .*bad.hyper is not understood: .*; expected a name, one of"):
        read_space(tmp_path / "bad.hyper")
    assert not Path("executed").exists()


def test_the_nearest_file_is_a_row_s(tmp_path: Path) -> None:
    files = [str(tmp_path / f"{name}.hyper") for name in ("BPR-wide", "BPR", "all")]
    for file in files:
        Path(file).write_text("embedding_size choice [8]\n")
    rows = {
        name: Row(name, model, (), "ml-100k", {})
        for name, model in (("BPR:wide", "BPR"), ("BPR:deep", "BPR"), ("BPR", "BPR"), ("LightGCN", "LightGCN"))
    }
    searches = plan_searches(rows, files, 3)
    assert [search.file.stem for search in searches.values()] == ["BPR-wide", "BPR", "BPR", "all"]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_space_is_of_keys_and_values_that_its_model_takes(file: Path) -> None:
    space = read_space(file)
    longest = max(len(values.choices) for values in space.values() if isinstance(values, CategoricalDistribution))
    for place in range(longest):
        params = {key: values.choices[min(place, len(values.choices) - 1)] for key, values in space.items()}  # type: ignore[union-attr]
        config = make_config(file.stem, "ml-100k", keys=params, command_line={})
        assert all(key == "train_neg_sample_args" or str(config[key]) == str(value) for key, value in params.items())


#: The score of an invented model: best with rate .01 and 2 layers; with 9 layers it cannot be trained.
def score_of(params: Params) -> dict[str, Any]:
    rate, layers = params.get("rate", 0.001), params.get("layers", 1)
    return {} if layers == 9 else {"valid_score": 1 - abs(math.log10(rate) + 2) - 0.1 * abs(layers - 2)}


LARGE: Space = {"rate": FloatDistribution(1e-5, 1, log=True), "layers": CategoricalDistribution([1, 2, 3, 9])}
SMALL: Space = {"rate": CategoricalDistribution([0.1, 0.01, 0.001]), "layers": CategoricalDistribution([1, 2])}
CONFIGURED = {"rate": 0.001, "layers": 1}


def search_with(space: Space, trials: int, bigger: bool = True, asked: list[list[Params]] | None = None) -> list[Any]:
    def measure(points: list[Params]) -> list[dict[str, Any]]:
        (asked if asked is not None else []).append(points)
        return list(map(score_of, points))

    return run_trials(space, CONFIGURED, trials, 2020, bigger, measure)


def test_a_longer_search_asks_for_the_same_first() -> None:
    short, long = ([trial.params for trial in search_with(LARGE, trials)] for trials in (12, 25))
    assert long[:12] == short and len(long) == 25 and long[0] == {}
    assert len({str(params) for params in long}) == 25


def test_proposals_are_those_of_one_trial_after_the_other() -> None:
    """Optuna's own loop: ask, tell, ask, tell. The configured row and the random points come together."""
    study = optuna.create_study(direction="maximize", sampler=TPESampler(seed=2020))
    alone: list[Params] = []
    while len(alone) < 24:
        trial = study.ask({**LARGE})
        alone += [trial.params] if trial.params not in alone else []
        score = score_of(trial.params).get("valid_score")
        study.tell(trial, score, TrialState.FAIL if score is None else None)
    asked: list[list[Params]] = []
    assert [trial.params for trial in search_with(LARGE, 25, asked=asked)] == [{}, *alone]
    assert len(asked[0]) == 11 and {len(points) for points in asked[1:]} == {1}
    asked.clear()
    search_with(SMALL, 20, asked=asked)
    assert [len(points) for points in asked] == [6]  # All points of a small space.


def test_a_search_improves_on_the_configuration_and_survives_failures() -> None:
    trials = search_with(LARGE, 30)
    assert any(trial.params.get("layers") == 9 for trial in trials)
    assert best_of(trials, True).run["valid_score"] > 0.5 > score_of({})["valid_score"]
    assert best_of(search_with(LARGE, 30, bigger=False), False).run["valid_score"] < -1


def test_all_points_of_a_small_space_are_tried_once() -> None:
    trials = search_with(SMALL, 20)
    assert expected_trials(SMALL, CONFIGURED, 20) == len(trials) == 6  # One of the points is what is configured.
    assert best_of(trials, True).params == {"rate": 0.01, "layers": 2}
    assert expected_trials(SMALL, CONFIGURED, 4) == len(search_with(SMALL, 4)) == 4
    alone: Space = {"rate": CategoricalDistribution([0.001]), "layers": CategoricalDistribution([1])}
    assert expected_trials(alone, CONFIGURED, 4) == len(search_with(alone, 4)) == 1
    assert best_of(run_trials(SMALL, CONFIGURED, 6, 0, True, lambda points: [{}] * len(points)), True).params == {}


def test_rows_are_searched_and_run_with_their_best_trial(command: Callable[..., Any]) -> None:
    Path("BPR.hyper").write_text("learning_rate choice [0.1]\nembedding_size choice [8, 16]\n")
    Path("ItemKNN.hyper").write_text("k choice [1]\n")
    files = "--params_file=BPR.hyper ItemKNN.hyper"
    flags = ("--model=BPR,EASE,Pop", "--seeds=2", files, *FLAGS, "--embedding_size=16")
    code, out, error, folder = command(*flags, "--tune=2")
    assert code == 0 and not error
    assert "ItemKNN.hyper is for the model ItemKNN, which is not in --model: the file is not read." in out
    report = report_of(folder)
    rows = {row["name"]: row for row in report["rows"]}
    assert rows["Pop"]["search"] is None
    assert "[2 of 10] BPR, trial 2 of 2, learning_rate=0.1: running" in out  # The command line has embedding_size.
    assert rows["BPR"]["search"]["best"] == {"learning_rate": 0.1}
    assert rows["BPR"]["settings"]["learning_rate"] == 0.1 and rows["BPR"]["settings"]["embedding_size"] == 16
    search = rows["BPR"]["search"]
    assert [trial["params"] for trial in search["trials"]] == [{}, {"learning_rate": 0.1}]
    assert search["valid_score"] == search["trials"][1]["valid_score"] > search["valid_score_as_configured"]
    assert search["valid_score"] == rows["BPR"]["validation"]["ndcg@10"]["values"][0]
    assert "Search on validation" in (folder / "report.html").read_text()

    code, out, *_ = command(*flags, "--tune=3")
    assert code == 0 and out.count("finished before") >= 4 + 4  # Trials of both, and runs of BPR and Pop.
    assert "EASE, trial 3 of 3" in out and len(report_of(folder)["rows"]) == 3

    (next(folder.glob("trials/BPR-*.json"))).write_text(json.dumps({"status": "failed", "error": "", "seconds_in_all": 1}))
    code, out, *_ = command(*flags, "--tune=3")
    assert code == 0 and out.count(": running") == 1 and "BPR, trial" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tune=1"], "--tune=1 is not allowed: expected a number of trials for each model, such as 20."),
        (["--tune=some"], "--tune=some is not allowed"),
        (["--tune=5", "--params_file=none.hyper"], "--params_file: cannot read none.hyper"),
        (["--tune=5", "--params_file=empty.hyper"], "empty.hyper names no hyper-parameter"),
        (
            ["--tune=5", "--params_file=typo.hyper"],
            "typo.hyper names learning_rat, which is not a configuration key of BPR: did you mean learning_rate?",
        ),
        (["--params_file=typo.hyper"], "--params_file=typo.hyper is for a search: add --tune=20."),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_runs(command: Callable[..., Any], flags: list[str], message: str) -> None:
    Path("typo.hyper").write_text("learning_rat choice [0.1]")
    Path("empty.hyper").write_text("# nothing\n")
    code, out, error, _ = command("--model=BPR", *FLAGS, *flags)
    assert code == 1 and error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert "running" not in out


def test_a_choice_of_beta_has_no_trials(command: Callable[..., Any]) -> None:
    code, out, error, _ = command("--model=MultVAE", *FLAGS, "--tune=5", "--choose_beta=True")
    assert code == 1 and error.startswith("error: ") and error.count("\n") == 1
    assert "--tune=5 keeps no checkpoints of its trials, and choose_beta" in error and "running" not in out
