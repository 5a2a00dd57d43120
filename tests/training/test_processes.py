"""Two gloo processes train on this machine through the command line."""

from __future__ import annotations

import multiprocessing
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from multvae_export.exporter import export
from recbole.config import Config
from recbole.evaluator.collector import DataStruct
from recbole.quick_start import load_data_and_model

from recbole_multvae import checkpoint
from recbole_multvae.commands.train import main
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.evaluation.collector import ROWS_OF_RECORDS
from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.experiment.processes import run_processes
from recbole_multvae.training.processes import AllRanksEvaluator, SeveralProcesses
from tests.conftest import QUICK, Experiment, block_pairs
from tests.data.made import clicks, write

ROOT = Path(__file__).parents[2]
#: The command line, but every rank also writes the weights it ends with, and can be told to die.
RANKS = """
import os, signal, sys, torch, recbole_multvae
from recbole.trainer import Trainer
from recbole_multvae.commands.train import main

fit = Trainer.fit

def fit_and_write(trainer, *args, **kwargs):
    rank = trainer.config["local_rank"]
    if f"--note=die{rank}" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    result = fit(trainer, *args, **kwargs)
    torch.save((trainer.model.state_dict(), trainer.model.update, torch.get_num_threads()), f"rank{rank}.pth")
    return result

Trainer.fit = fit_and_write
if __name__ == "__main__":
    sys.exit(main())
"""
FLAGS = ("--dataset=blocks", "--data_path=.", "--show_progress=False", "--use_gpu=False", "--latent_dimension=4")


def two_processes(*flags: str) -> subprocess.CompletedProcess[str]:
    Path("ranks.py").write_text(RANKS)
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "ranks.py", *FLAGS, "--nproc=2", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**environment, "PYTHONPATH": path})


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command line with two processes; returns the exit code."""

    def call(*flags: str) -> int:
        flags = (*FLAGS, "--nproc=2", *flags)
        monkeypatch.setattr(sys, "argv", ["run_recbole.py", *flags])
        return main(flags)

    return call


def rank_file(rank: int) -> tuple[dict[str, torch.Tensor], int, int]:
    return torch.load(f"rank{rank}.pth")


def logged(name: str, output: str) -> str:
    (metrics,) = re.findall(rf"{name}.*(OrderedDict\(.*\))", output)
    return metrics


def test_two_processes_train_test_and_save_one_model(write_dataset: Any) -> None:
    write_dataset("blocks", block_pairs(users=41))  # Odd: the shares are padded.
    keys: dict[str, Any] = {"topk": [1, 5], "valid_metric": "MRR@5", "metrics": ["Recall", "MRR", "NDCG", "Hit", "GAUC"]}
    done = two_processes("--model=MultVAE", *(f"--{key}={value}" for key, value in keys.items()), "--epochs=3",
                         "--train_batch_size=16", "--mlp_hidden_size=[6]", "--decoder_hidden_size=[6]")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not re.search("warning|error", done.stdout + done.stderr, re.IGNORECASE)
    (first, update, threads), (second, other_update, other_threads) = rank_file(0), rank_file(1)
    assert all(value.equal(second[name]) for name, value in first.items())
    assert update == other_update == 3 * 3
    assert threads == other_threads == max(1, torch.get_num_threads() // 2)

    (file,) = Path("saved").iterdir()
    alone = Experiment("MultVAE", **keys)
    *_, valid_data, test_data = load_data_and_model(file)
    alone.trainer.eval_collector.data_collect(alone.train_data)
    assert str(alone.trainer.evaluate(valid_data, model_file=file)) == logged("best valid", done.stderr)
    assert str(alone.trainer.evaluate(test_data, model_file=file)) == logged("test result", done.stderr)
    assert [name for name, _ in export(file, "model.onnx").checks][:2] == ["well formed", "equals torch"]


def test_metrics_of_labels_are_those_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """RecBole averages the ranks' AUC, which is no AUC. Two ranks are played by one process."""
    write("blocks", clicks(users=21))  # Odd: the shares are padded.
    keys = {"metrics": ["AUC"], "valid_metric": "AUC", "eval_args": {"mode": "labeled"}, "threshold": {"rating": 4}}
    alone = Experiment("MultVAE", load_col={"inter": ["user_id", "item_id", "rating"]}, **keys)
    evaluator = alone.trainer.evaluator
    with mock.patch.object(evaluator, "evaluate", wraps=evaluator.evaluate) as evaluate:
        result = alone.trainer.evaluate(alone.test_data, load_best_model=False)
    whole = evaluate.call_args[0][0]
    n_rows = len(whole.get("rec.score"))
    shares = [[*range(rank, n_rows, 2), 0][: (n_rows + 1) // 2] for rank in range(2)]
    ranks: list[DataStruct] = []
    for rows in shares:
        ranks.append(DataStruct())
        for name in ROWS_OF_RECORDS:
            ranks[-1].set(name, whole.get(name)[rows])

    def all_gather(gathered: list[torch.Tensor], rows: torch.Tensor) -> None:
        (name,) = [name for name in ROWS_OF_RECORDS if ranks[0].get(name) is rows]
        for place, rank in zip(gathered, ranks, strict=True):
            place.copy_(rank.get(name))

    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_gather", all_gather)
    assert n_rows % 2 and evaluator.evaluate(ranks[0]) != result
    assert AllRanksEvaluator(evaluator, n_rows, torch.device("cpu")).evaluate(ranks[0]) == result


def test_sampled_items_and_labels_take_one_process(blocks: str) -> None:
    keys = {"metrics": ["AUC"], "valid_metric": "AUC", "eval_args": {"mode": "uni10"}}
    trainer = SimpleNamespace(config=Config("MultVAE", "blocks", config_dict={**QUICK, **keys}))
    with pytest.raises(ConfigurationError, match=r"metrics=.'AUC'. with eval_args mode='uni10' need one process: leave out"):
        SeveralProcesses.evaluate(trainer, [1])


def test_update_is_that_of_one_process_on_the_union_of_the_batches(blocks: str, command: Callable[..., int]) -> None:
    keys = {"epochs": 4, "train_batch_size": 40, "dropout_prob": 0, "eval_step": 0, "precision": "fp32"}
    keys |= {"learner": "sgd", "learning_rate": 0.5}
    alone = Experiment("MultDAE", mlp_hidden_size=[], checkpoint_dir="alone", **keys)
    start = {name: value.clone() for name, value in alone.model.state_dict().items()}
    alone.fit()
    assert command("--model=MultDAE", "--state=ERROR", *(f"--{key}={value}" for key, value in keys.items())) == 0
    (file,) = Path("saved").iterdir()
    for name, value in checkpoint.load(file)["state_dict"].items():
        assert (value - start[name]).abs().max() > 0.01, name
        torch.testing.assert_close(value, alone.model.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_dead_process_is_one_sentence_and_takes_the_other_with_it(blocks: str) -> None:
    done = two_processes("--model=MultVAE", "--state=ERROR", "--note=die1")
    assert done.returncode == 1
    warning, error = done.stderr.splitlines()
    assert warning == "The configuration key note='die1' has no effect on this model."
    assert error == "error: Process 1 ended with SIGKILL, and the others were stopped: was there enough memory?"
    assert not Path("rank0.pth").exists()


def test_mistake_is_said_once(blocks: str, command: Callable[..., int], capfd: pytest.CaptureFixture[str]) -> None:
    assert command("--model=MultVAE", "--anneal_capp=0.1") == 1
    (error,) = capfd.readouterr().err.splitlines()
    assert error.startswith("error: anneal_capp=0.1 is not a configuration key: did you mean anneal_cap? ")
    assert not multiprocessing.active_children()


def test_sparse_gradients_are_for_one_process(blocks: str) -> None:
    experiment = Experiment("MultVAE", learner="sparse_adam", sampled_softmax=4)
    experiment.config["single_spec"] = False  # As RecBole's Config has it in each of several processes.
    with pytest.raises(ConfigurationError, match="learner=sparse_adam trains in one process only: leave out --nproc"):
        experiment.trainer._build_optimizer()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"nproc": 0}, "--nproc=0 --group_offset=0 --world_size=0 do not fit"),
        ({"nproc": 2, "world_size": 3, "group_offset": 2}, "do not fit: expected one process or more"),
        ({"nproc": 2, "port": 70000}, "--port=70000 is in use or not allowed on this machine"),
    ],
)
def test_numbers_that_do_not_fit(keys: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        run_processes({"model": "MultVAE", "dataset": "blocks"}, **keys)


def test_busy_port() -> None:
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"--port={port} is in use or not allowed"):
            run_processes({"model": "MultVAE", "dataset": "blocks"}, 2, port=port)


def test_fewer_gpus_than_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(ConfigurationError, match=r"--nproc=2 needs as many GPUs, and the number .* is 1: .*--use_gpu=False"):
        make_config("MultVAE", "ml-100k", keys={"nproc": 2, "local_rank": 0})


def test_rank_draws_noise_of_its_own_after_a_resume(blocks: str) -> None:
    experiment = Experiment("MultVAE")
    experiment.fit()
    saved = experiment.model.other_parameter()
    draws = []
    for rank in range(3):
        experiment.model.rank = rank
        experiment.model.load_other_parameter(saved)
        draws.append(torch.rand(4, generator=experiment.model.generator).tolist())
    experiment.model.generator.set_state(saved["generator"])
    assert draws[0] == torch.rand(4, generator=experiment.model.generator).tolist()
    assert draws[0] != draws[1] != draws[2] != draws[0]
