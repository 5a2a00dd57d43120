"""The command with several models: the report, failed runs, runs that finished before, and killed processes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import pytest

from recbole_multvae.commands.train import main
from recbole_multvae.data.digests import files_of
from tests.conftest import unlike_new_ones

FLAGS = ("--dataset=blocks", "--data_path=.", "--use_gpu=False", "--state=ERROR", "--epochs=2", "--valid_metric=NDCG@10")
#: Models but EASE do not end by themselves.
ENDLESS = (
    *(flag for flag in FLAGS if flag != "--epochs=2"),
    "--epochs=100000",
    "--stopping_step=100000",
    "--report_dir=board",
)
FORMS = {"report.csv", "report.html", "report.json", "report.png", "report.tex"}


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], blocks: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run the command: its exit code, its output and errors, and the folder of the report."""

    def run(*flags: str) -> tuple[int, str, str, Path | None]:
        monkeypatch.setattr(sys, "argv", ["run_recbole.py", *flags])
        code = main(flags)
        out, error = capfd.readouterr()
        return code, out, error, next(iter(Path("leaderboard").glob("*")), None)

    return run


def report_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def test_a_board_is_reported_resumed_and_grows(command: Callable[..., Any]) -> None:
    models = "--model=EASE,MultVAE:gaussian,NCL"
    code, out, error, folder = command(models, "--seeds=2", *FLAGS)
    assert code == 1 and {file.name for file in folder.iterdir() if file.is_file()} == FORMS
    assert error.startswith("error: NCL failed, and the others are in the report: see the logs in leaderboard/blocks-")
    assert "[6 of 6] NCL, seed 2021: FAILED: This needs the package faiss, which is not installed." in out
    report = report_of(folder)
    assert [row["status"] for row in report["rows"]] == ["finished"] * 2 + ["failed"]
    assert report["seeds"] == [2020, 2021] and len(set(report["splits"].values())) == 1
    assert {row["name"] for row in report["rows"]} == {"EASE", "MultVAE:gaussian", "NCL"}
    assert report["command"] == f"python run_recbole.py {models} --seeds=2 {' '.join(FLAGS)}"
    for row in report["rows"][:2]:
        assert len(row["metrics"]["ndcg@10"]["values"]) == 2 and row["metrics"]["ndcg@10"]["sd"] is not None
        assert row["memory"] > 100
        assert all(Path(file).is_file() for file in row["checkpoints"])
    ease = next(row for row in report["rows"] if row["name"] == "EASE")
    assert ease["settings"]["eval_memory"] == 512 and ease["parameters"] is None
    assert next(csv.DictReader((folder / "report.csv").read_text().splitlines()))["rank"] == "1"

    before = {file: file.stat().st_mtime_ns for file in (folder / "runs").glob("*.npz")}
    code, out, _, _ = command("--model=EASE,MultVAE:gaussian,Pop", "--seeds=2021,2020", *FLAGS, "--show_progress=True")
    assert code == 0 and out.count("finished before") == 4 and out.count("Pop, seed 2020: running") == 1
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert {row["name"] for row in report_of(folder)["rows"]} == {"EASE", "MultVAE:gaussian", "Pop"}

    command("--model=Pop", "--seeds=1", *FLAGS, "--topk=[10,5]")
    assert len(list(Path("leaderboard").iterdir())) == 2  # Another protocol is another report.
    assert not unlike_new_ones(Path())


def test_data_are_known_by_their_contents(blocks: str) -> None:
    data, before = Path("blocks/blocks.inter"), files_of(blocks, ".")
    os.utime(data, (1, 1))  # As a copy.
    assert before.keys() == {"blocks.inter"} and files_of(blocks, ".") == before
    data.write_text(data.read_text() + "1\t1\n")
    assert files_of(blocks, ".") != before


def test_a_row_has_the_metrics_of_a_run_of_its_model_alone(command: Callable[..., Any]) -> None:
    *_, folder = command("--model=MultVAE,BPR", "--seeds=7,8", *FLAGS)
    from recbole_multvae.experiment.run import run

    for row in report_of(folder)["rows"]:
        keys = dict(flag.removeprefix("--").split("=") for flag in FLAGS[1:])
        alone = run(
            row["model"], "blocks", command_line={**keys, "seed": "8", "split_seed": "2020", "show_progress": "False"}
        )
        assert {name: spread["values"][1] for name, spread in row["metrics"].items()} == alone["test_result"]


def test_models_that_need_more_than_clicks_are_not_applicable(command: Callable[..., Any]) -> None:
    split = "--eval_args={'split': {'SG': {'valid_users': 8, 'test_users': 8}}, 'mode': 'full'}"
    code, out, error, folder = command("--model=EASE,BPR,MultVAE", *FLAGS, split)
    assert code == 0 and not error
    last = report_of(folder)["rows"][-1]
    assert (last["name"], last["status"]) == ("BPR", "not applicable")
    assert "BPR: NOT APPLICABLE: eval_args split SG evaluates users who are not in training, and BPR needs more" in out


def test_the_best_is_exported_with_its_figures(command: Callable[..., Any]) -> None:
    code, out, error, folder = command("--model=NeuMF,EASE,BPR", *FLAGS, "--export=best.onnx")
    assert code == 0 and not error and "Wrote best.onnx" in out
    rows = {row["name"]: row for row in report_of(folder)["rows"]}
    assert "export_command" not in rows["NeuMF"]
    assert rows["BPR"]["weights_bytes"] == 4 * rows["BPR"]["parameters"]
    assert rows["BPR"]["export_command"] == f"multvae-export {rows['BPR']['best_checkpoint']} model.onnx --dataset-path ."
    entries = {entry.key: entry.value for entry in onnx.load("best.onnx").metadata_props}
    figures = json.loads(entries["leaderboard"])
    best = next(row for row in report_of(folder)["rows"] if row["name"] in ("EASE", "BPR"))
    assert entries["model"] == figures["name"] == best["name"] and figures["metrics"] == best["metrics"]
    assert best["exported"] == {"file": "best.onnx", "bytes": Path("best.onnx").stat().st_size}
    assert json.loads(entries["test_metrics"]) == {name: of["values"][0] for name, of in best["metrics"].items()}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model=EASE,BRP"], "--model=BRP is neither one of RecBole's models nor one of ours: did you mean BPR?"),
        (["--model=EASE,FM"], "--model=FM is one of RecBole's context models, which learn from other data"),
        (["--model=SASRec,GRU4Rec"], "SASRec is one of RecBole's sequential models, which RecBole tests on each click"),
        (["--model=EASE,EASE"], "--model=EASE,EASE names EASE twice: leave one of them out."),
        (["--model=EASE,MultVAE:none"], "--config_files names 'none', but there is no such file"),
        (["--model=EASE", "--seeds=0"], "--seeds=0 is not allowed: expected a number of seeds such as 3"),
        (["--model=EASE", "--seeds=2021"], "--seeds=2021 would be 2,021 seeds, counted from seed on"),
        (["--model=EASE", "--seeds=some"], "--seeds=some is not allowed"),
        (
            ["--model=EASE,MultVAE", "--anneal_capp=1"],
            "anneal_capp=1 is not a configuration key: did you mean anneal_cap?",
        ),
        (["--model=EASE,BPR", "--nproc=2"], "--nproc=2 does not go with several models or seeds"),
        (["--model=EASE", "--report_dir=there"], "--report_dir=there is for the report on several models or seeds"),
        (["--model=EASE,BPR", "--report_dir=file"], "cannot write the results into file"),
        (
            ["--model=EASE", "--export=none/best.onnx"],
            "--export=none/best.onnx cannot be written: expected a file in an existing folder.",
        ),
        (["--model=BPR,LightGCN", "--eval_args={'split': {'SG': {}}, 'mode': 'full'}"], "No model of --model=BPR,LightGCN"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_runs(command: Callable[..., Any], flags: list[str], message: str) -> None:
    Path("file").write_text("")
    code, out, error, folder = command(*FLAGS, *flags)
    assert code == 1 and error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert "running" not in out and folder is None


@contextmanager
def once_trained(models: int, then: Callable[[list[int]], None]) -> Iterator[list[int]]:
    """Beside a leaderboard in this process, do something once so many models have a checkpoint; gives their processes."""
    found: list[int] = []
    over = threading.Event()

    def wait() -> None:
        while len(checkpoints_of_endless()) < models:
            if over.wait(0.1):
                return
        found.extend(grandchildren(os.getpid()))
        then(found)

    others, handler = threading.enumerate(), signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=wait).start()
    try:
        yield found
    finally:
        over.set()
        for thread in set(threading.enumerate()) - {*others}:  # Python ends only after its threads.
            thread.join(30)
            assert not thread.is_alive()
        signal.signal(signal.SIGINT, handler)


def interrupt(_: list[int]) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def checkpoints_of_endless() -> list[Path]:
    return list(Path("board/checkpoints").glob("[!E]*.pth"))  # EASE ends.


def finished_of_endless() -> list[str]:
    runs = [json.loads(file.read_text()) for file in Path("board/runs").glob("*.json")]
    return [run["row"] for run in runs if run["status"] == "finished"]


def are_gone(processes: list[int]) -> bool:
    until = time.time() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in processes) and time.time() < until:
        time.sleep(0.1)
    return not any(Path(f"/proc/{pid}").exists() for pid in processes)


def test_a_killed_model_is_in_the_report(command: Callable[..., Any]) -> None:
    with once_trained(1, lambda models: os.kill(models[0], signal.SIGKILL)) as models:
        code, out, error, _ = command("--model=EASE,BPR", *ENDLESS)
    assert len(models) == 1 and finished_of_endless() == ["EASE"]
    assert code == 1 and "BPR failed, and the others are in the report" in error
    assert "BPR, seed 2020: FAILED: its process ended with SIGKILL: was there enough memory?" in out
    assert Path("board/report.html").is_file()


def test_a_report_without_any_result_is_written(command: Callable[..., Any]) -> None:
    code, _, error, folder = command("--model=EASE,Pop", "--dataset=nowhere", *FLAGS[1:])
    assert code == 1 and error.startswith("error: EASE, Pop failed, and the report has no results: see the logs in ")
    assert {file.name for file in folder.iterdir() if file.is_file()} == FORMS


def test_an_interruption_ends_the_model(command: Callable[..., Any]) -> None:
    with once_trained(1, interrupt) as models:
        code, _, error, _ = command("--model=EASE,BPR", *ENDLESS)
    said = "Interrupted: 1 of 2 runs are over; the same command goes on from there.\n"
    assert (code, error, finished_of_endless()) == (130, said, ["EASE"])
    assert len(models) == 1 and are_gone(models) and not Path("board/report.json").exists()


def test_models_end_with_a_leaderboard_that_is_killed(blocks: str) -> None:
    start = [sys.executable, "-W", "ignore", "-m", "recbole_multvae", "--model=EASE,BPR", *ENDLESS]
    with subprocess.Popen(start, stdout=subprocess.DEVNULL) as board:
        try:
            while not checkpoints_of_endless():
                assert board.poll() is None
                time.sleep(0.1)
            (model,) = grandchildren(board.pid)
        finally:
            board.kill()
    assert are_gone([model]) and finished_of_endless() == ["EASE"] and not Path("board/report.json").exists()


def grandchildren(pid: int) -> list[int]:
    """Between the leaderboard and its models there is the server that forks them."""
    return [grandchild for child in children(pid) for grandchild in children(child)]


def children(pid: int) -> list[int]:
    return [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]
