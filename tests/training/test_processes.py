"""Two gloo processes train on this machine through the command line."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import pytest
import torch
from multvae_export.exporter import export
from recbole.config import Config
from recbole.evaluator.collector import DataStruct
from recbole.quick_start import load_data_and_model

from recbole_multvae import checkpoint
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.evaluation.collector import ROWS_OF_RECORDS
from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.experiment.processes import run_processes
from recbole_multvae.training.processes import AllRanksEvaluator, SeveralProcesses
from tests.conftest import QUICK, Experiment, block_pairs, write_inter
from tests.data.made import clicks, write

ROOT = Path(__file__).parents[2]
#: The command line, called once for each folder, as Python takes seconds to import all. A rank also writes the weights it
#: ends with, and can be told to die, or to send Ctrl-C after the first epoch, as a terminal does: to all processes.
RANKS = """
import json, multiprocessing, os, signal, sys, time, torch, recbole_multvae
from recbole.trainer import Trainer
from recbole_multvae.commands.train import main

fit, train = Trainer.fit, Trainer._train_epoch

def fit_and_write(trainer, *args, **kwargs):
    rank = trainer.config["local_rank"]
    if f"--note=die{rank}" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    result = fit(trainer, *args, **kwargs)
    torch.save((trainer.model.state_dict(), trainer.model.update, torch.get_num_threads()), f"rank{rank}.pth")
    return result

def interrupted(trainer, data, epoch, *args, **kwargs):
    if "--note=interrupt" in sys.argv and epoch == 1:
        if trainer.config["local_rank"] == 0:
            os.killpg(os.getpgid(0), signal.SIGINT)
        time.sleep(60)
    return train(trainer, data, epoch, *args, **kwargs)

Trainer.fit, Trainer._train_epoch = fit_and_write, interrupted
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    start, commands = os.getcwd(), json.loads(sys.argv[1])
    for folder, flags in commands.items():
        os.mkdir(folder)
        os.chdir(folder)
        sys.argv = ["run_recbole.py", *flags]
        code = main(flags)
        with open("code", "w") as file:
            json.dump([code, len(multiprocessing.active_children())], file)
        os.chdir(start)
        for stream in (sys.stdout, sys.stderr):
            print("end of a command", file=stream, flush=True)
"""
FLAGS = ("--data_path=..", "--show_progress=False", "--use_gpu=False", "--nproc=2")
KEYS: dict[str, Any] = {"topk": [1, 5], "valid_metric": "MRR@5", "metrics": ["Recall", "MRR", "NDCG", "Hit", "GAUC"]}
ONE_BATCH: dict[str, Any] = {"epochs": 4, "train_batch_size": 40, "dropout_prob": 0, "eval_step": 0, "precision": "fp32",
                             "learner": "sgd", "learning_rate": 0.5}  # fmt: skip
#: The flags of each command, by folder. Of the 41 users of "odd" the processes have shares that are padded.
COMMANDS = {
    "trained": ["--model=MultVAE", "--dataset=odd", *(f"--{key}={value}" for key, value in KEYS.items()), "--epochs=3",
                "--train_batch_size=16", "--latent_dimension=4", "--mlp_hidden_size=[6]", "--decoder_hidden_size=[6]"],
    "union": ["--model=MultDAE", "--dataset=blocks", "--state=ERROR", "--latent_dimension=4",
              *(f"--{key}={value}" for key, value in ONE_BATCH.items())],
    "mistake": ["--model=MultVAE", "--dataset=blocks", "--anneal_capp=0.1"],
    "dead": ["--model=MultVAE", "--dataset=blocks", "--state=ERROR", "--note=die1"],
    "interrupted": ["--model=MultVAE", "--dataset=blocks", "--state=ERROR", "--epochs=3", "--note=interrupt"],
}  # fmt: skip


class Done(NamedTuple):
    """A command that has ended: its exit code, the processes that were left, and its output and errors."""

    code: int
    left: int
    out: str
    error: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the data sets, in which each command has a folder."""
    folder = tmp_path_factory.mktemp("processes")
    write_inter(folder, "odd", block_pairs(users=41))
    write_inter(folder, "blocks", block_pairs())
    return folder


@pytest.fixture(scope="module")
def done(folder: Path) -> dict[str, Done]:
    """All commands, by folder."""
    (folder / "ranks.py").write_text(RANKS)
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    commands = json.dumps({name: [*FLAGS, *flags] for name, flags in COMMANDS.items()})
    ended = subprocess.run(
        [sys.executable, "ranks.py", commands], cwd=folder, capture_output=True, text=True, timeout=240,
        env={**environment, "PYTHONPATH": path}, start_new_session=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    said = zip(*(text.split("end of a command\n") for text in (ended.stdout, ended.stderr)), strict=True)
    return {
        name: Done(*json.loads((folder / name / "code").read_text()), *texts)
        for name, texts in zip(COMMANDS, said, strict=False)
    }


def rank_file(rank: int) -> tuple[dict[str, torch.Tensor], int, int]:
    return torch.load(f"rank{rank}.pth")


def logged(name: str, output: str) -> str:
    (metrics,) = re.findall(rf"{name}.*(OrderedDict\(.*\))", output)
    return metrics


def test_two_processes_train_test_and_save_one_model(
    done: dict[str, Done], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "trained")
    code, _, out, log = done["trained"]
    assert code == 0, log
    assert not re.search("warning|error", out + log, re.IGNORECASE)
    (first, update, threads), (second, other_update, other_threads) = rank_file(0), rank_file(1)
    assert all(value.equal(second[name]) for name, value in first.items())
    assert update == other_update == 3 * 3
    assert threads == other_threads == max(1, torch.get_num_threads() // 2)

    (file,) = Path("saved").iterdir()
    alone = Experiment("MultVAE", "odd", data_path="..", **KEYS)
    *_, valid_data, test_data = load_data_and_model(file)
    alone.trainer.eval_collector.data_collect(alone.train_data)
    assert str(alone.trainer.evaluate(valid_data, model_file=file)) == logged("best valid", log)
    assert str(alone.trainer.evaluate(test_data, model_file=file)) == logged("test result", log)
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


def test_update_is_that_of_one_process_on_the_union_of_the_batches(
    done: dict[str, Done], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    alone = Experiment("MultDAE", mlp_hidden_size=[], checkpoint_dir="alone", **ONE_BATCH)
    start = {name: value.clone() for name, value in alone.model.state_dict().items()}
    alone.fit()
    assert done["union"].code == 0
    (file,) = Path("union/saved").iterdir()
    for name, value in checkpoint.load(file)["state_dict"].items():
        assert (value - start[name]).abs().max() > 0.01, name
        torch.testing.assert_close(value, alone.model.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_dead_process_is_one_sentence_and_takes_the_other_with_it(done: dict[str, Done], folder: Path) -> None:
    assert done["dead"].code == 1
    warning, error = done["dead"].error.splitlines()
    assert warning == "The configuration key note='die1' has no effect on this model."
    assert error == "error: Process 1 ended with SIGKILL, and the others were stopped: was there enough memory?"
    assert not (folder / "dead/rank0.pth").exists()


def test_mistake_is_said_once(done: dict[str, Done]) -> None:
    code, left, _, text = done["mistake"]
    (error,) = text.splitlines()
    assert error.startswith("error: anneal_capp=0.1 is not a configuration key: did you mean anneal_cap? ")
    assert (code, left) == (1, 0)


def test_an_interruption_names_the_checkpoint_in_one_sentence(done: dict[str, Done], folder: Path) -> None:
    code, _, _, text = done["interrupted"]
    (file,) = (folder / "interrupted/saved").iterdir()
    _, error = text.splitlines()  # The first one is about note.
    assert (code, error) == (130, f"Interrupted: the best state so far is in saved/{file.name}.")


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
