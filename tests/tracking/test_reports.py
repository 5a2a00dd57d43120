"""What trackers are told of a report that was finished before: MLflow on a SQLite store, and W&B offline."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from recbole_multvae.commands.train import main
from recbole_multvae.errors import TrainingInterrupted
from recbole_multvae.experiment.run import run
from recbole_multvae.leaderboard.jobs import Jobs
from recbole_multvae.leaderboard.measuring import measure
from recbole_multvae.leaderboard.run_inputs import RunInputs
from recbole_multvae.training.trainer import FamilyTrainer
from tests.conftest import QUICK
from tests.tracking.conftest import REPORT, OfflineRuns, curve


def mlflow_client() -> Any:
    return pytest.importorskip("mlflow", reason="MLflow is not installed: see [mlflow]").MlflowClient()


def mlflow_runs() -> dict[str, Any]:
    client = mlflow_client()
    experiment = client.get_experiment_by_name("blocks").experiment_id
    return {told.info.run_name: told for told in client.search_runs([experiment])}


def mlflow_curve(run: Any) -> list[tuple[int, float]]:
    history = mlflow_client().get_metric_history(run.info.run_id, "valid/ndcg_at_10")
    return [(metric.step, metric.value) for metric in history]


def contents(told: dict[str, Any]) -> dict[str, Any]:
    return {name: (each.info.run_id, each.data.to_dictionary(), mlflow_curve(each)) for name, each in told.items()}


def test_reports_in_mlflow(finished: dict[str, Any], blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow_client()
    assert main((*REPORT, "--track=mlflow", "--export=best.onnx")) == 0
    told = mlflow_runs()
    assert told.keys() == {"MultVAE, seed 2020", "MultVAE, seed 2021", "MultVAE, 2 seeds"}
    row, one = told["MultVAE, 2 seeds"], told["MultVAE, seed 2020"]
    expected = finished["rows"][0]
    assert row.data.metrics["test/ndcg_at_10"] == expected["metrics"]["ndcg@10"]["mean"]
    assert row.data.metrics["test/ndcg_at_10_sd"] == expected["metrics"]["ndcg@10"]["sd"]
    assert [told[f"MultVAE, seed {seed}"].data.tags["mlflow.parentRunId"] for seed in (2020, 2021)] == [row.info.run_id] * 2
    assert one.data.metrics["test/ndcg_at_10"] == expected["metrics"]["ndcg@10"]["values"][0]
    assert one.data.metrics["seconds/in_all"] == expected["seconds"]["in_all"]["values"][0]
    assert one.data.metrics["memory"] > 100 and one.data.tags["split"] == finished["splits"]["2020"]
    assert one.data.params["epochs"] == "4" and one.data.params["train_batch_size"].isdecimal()
    assert [step for step, _ in mlflow_curve(one)] == [1, 3]
    assert max(value for _, value in mlflow_curve(one)) == one.data.metrics["best_valid/ndcg_at_10"]
    _check_files(told, expected["best_checkpoint"])

    assert main((*REPORT, "--track=mlflow", "--export=best.onnx")) == 0  # The same again tells nothing again.
    assert contents(mlflow_runs()) == contents(told)
    _an_interrupted_run_is_kept(blocks, monkeypatch)


def _check_files(told: dict[str, Any], best: str) -> None:
    from mlflow.onnx import load_model

    client = mlflow_client()
    for each in told.values():
        files = [Path(file.path).name for file in client.list_artifacts(each.info.run_id, "checkpoint")]
        models = each.outputs.model_outputs if each.outputs else []
        if Path(best).name in files:
            (model,) = models
            loaded = load_model(f"models:/{model.model_id}")
            assert loaded.SerializeToString() == onnx.load("best.onnx").SerializeToString()
        else:
            assert not models and len(files) == ("seeds" not in each.info.run_name)


def _an_interrupted_run_is_kept(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    validate = FamilyTrainer._valid_epoch

    def interrupt_the_second(trainer: FamilyTrainer, *args: Any, **kwargs: Any) -> Any:
        if trainer.evaluations:
            raise KeyboardInterrupt
        return validate(trainer, *args, **kwargs)

    monkeypatch.setattr(FamilyTrainer, "_valid_epoch", interrupt_the_second)
    with pytest.raises(TrainingInterrupted):
        run("MultVAE", dataset, config_dict={**QUICK, "seed": 5}, track="mlflow")
    told = mlflow_runs()["MultVAE, seed 5"]
    assert told.info.status == "KILLED" and [step for step, _ in mlflow_curve(told)] == [0]
    assert mlflow_client().list_artifacts(told.info.run_id, "checkpoint")


def test_reports_in_wandb(finished: dict[str, Any], offline_runs: OfflineRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "of-the-user")
    assert main((*REPORT, "--track=wandb", "--export=best.onnx")) == 0
    told = {run["name"] + run["job"]: run for run in offline_runs()}
    row, *ones = (told[name] for name in ("MultVAE, 2 seedsrow", "MultVAE, seed 2020train", "MultVAE, seed 2021train"))
    assert {run["project"] for run in told.values()} == {"of-the-user"}
    assert len({run["group"] for run in told.values()}) == 1 and row["group"].endswith("/MultVAE")
    expected = finished["rows"][0]["metrics"]["ndcg@10"]
    assert (row["summary"]["test/ndcg@10"], row["summary"]["test/ndcg@10_sd"]) == (expected["mean"], expected["sd"])
    assert [one["summary"]["test/ndcg@10"] for one in ones] == expected["values"]
    assert [curve(one, "epoch") for one in ones] == [[1, 3]] * 2
    assert [one["artifacts"] for one in ones] == [[Path(file).name] for file in finished["rows"][0]["checkpoints"]]
    assert ones[0]["configuration"]["epochs"] == 4 and ones[0]["configuration"]["split"] == finished["splits"]["2020"]
    assert [run["artifacts"] for run in told.values() if run["job"] == "export"] == [["best.onnx"]] and len(told) == 4

    assert main((*REPORT, "--track=wandb", "--export=best.onnx")) == 0  # The same again tells nothing again.
    assert len(offline_runs()) == 4


def test_a_report_is_complete_all_the_same(
    finished: dict[str, Any], broken: None, capfd: pytest.CaptureFixture[str]
) -> None:
    (report,) = Path("leaderboard").glob("*/report.json")
    report.unlink()
    assert not list(Path().glob("mlruns")) and not list(Path().glob("wandb"))  # Nobody was told before.
    assert main((*REPORT, "--track=broken")) == 1 and report.is_file()
    assert Path("told").read_text().count("begin") == 1  # After an error nothing more is told.
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.endswith("line): the report is complete, and the same command tells what is missing.")


def test_recbole_s_own_logger_loses_nothing(finished: dict[str, Any], offline_runs: OfflineRuns) -> None:
    # A run of a report is in a process of multiprocessing, which does not end as Python does otherwise. It was prepared with
    # the environment of an earlier test.
    Path("wandb").mkdir()
    Path("wandb/settings").write_text("[default]\nmode = offline\n")
    (file,) = Path("leaderboard").glob("*/runs/MultVAE-2020-*.json")
    known = json.loads(file.read_text())
    inputs = RunInputs(**{field.name: known[field.name] for field in fields(RunInputs)})
    assert Jobs().run(replace(inputs, keys={**inputs.keys, "log_wandb": "True"}), measure)["status"] == "finished"
    (told,) = offline_runs()
    assert told["project"] == "recbole" and curve(told, "valid_step") == [1, 3]
    assert [line["train_step"] for line in told["history"] if "train_step" in line] == [0, 1, 2, 3]
