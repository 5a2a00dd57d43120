"""multvae-benchmark: the table, the floor, and one sentence for each way to be wrong."""

from __future__ import annotations

import subprocess
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from multvae_export.benchmark import command as benchmark
from multvae_export.benchmark import floor, measure, session
from multvae_export.checkpoint.contents import load
from multvae_export.exporter import export
from multvae_export.ranking import best
from multvae_export.target import Options
from multvae_export.trained_model import architecture_of

CPU, CUDA = benchmark.CPU, benchmark.CUDA
QUICK = ("--requests", "20", "--provider", CPU, "--batch-size")


@pytest.fixture(autouse=True)
def _few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "LEAST", 20)
    monkeypatch.setattr(measure, "WARM_SECONDS", 0.001)


def rows(out: str) -> list[list[str]]:
    header, _, *lines = out.splitlines()
    assert header == f"| {' | '.join(benchmark.HEADER)} |"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("io", ("tokens", "ids", "dense"))
def test_table_of_every_form(checkpoint: Path, io: str, capsys: pytest.CaptureFixture[str]) -> None:
    export(checkpoint, "model.onnx", io=io)
    assert benchmark.main(["model.onnx", *QUICK, "1", "3"]) == 0
    table = rows(capsys.readouterr().out)
    assert [row[:4] for row in table] == [["model.onnx", f"{io} fp32", "CPU", batch] for batch in ("1", "3")]
    for row in table:
        p50, p95, p99, users = map(float, row[4:8])
        assert 0 <= p50 <= p95 <= p99
        assert users > 0


def test_the_package_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "multvae_export.benchmark", "none.onnx"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "error: there is no file none.onnx.\n")


def test_files_and_torch_side_by_side(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(checkpoint, "a.onnx", io="ids")
    export(checkpoint, "b.onnx", io="ids", precision="int8", min_overlap=0)
    assert benchmark.main(["a.onnx", "b.onnx", "--checkpoint", str(checkpoint), *QUICK, "2"]) == 0
    table = rows(capsys.readouterr().out)
    assert [row[:2] for row in table] == [["a.onnx", "ids fp32"], ["b.onnx", "ids int8"], ["torch eager", "fp32"]]
    assert table[2][9:] == ["", ""] and table[0][8] == "1.00"


def test_options_beside_the_plain_file(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(checkpoint, "plain.onnx")
    export(checkpoint, "options.onnx", options=Options(filters=True, reasons=True, posterior=True), check=False)
    assert benchmark.main(["plain.onnx", "options.onnx", *QUICK, "2"]) == 0
    table = rows(capsys.readouterr().out)
    every = "tokens fp32 filters reasons posterior"
    assert [row[1] for row in table] == ["tokens fp32", every, f"{every} among 20"]
    assert all(float(row[8]) > 0 for row in table) and [row[9] == "" for row in table] == [False, False, True]


@pytest.mark.parametrize("model", ["MultVAE", "MultDAE", "MultiVAE"])
def test_eager_torch_is_the_same_model(trained: dict[str, Path], model: str) -> None:
    loaded = architecture_of(load(trained[model]))
    for history in session.histories(21, 4)[:3]:
        items, scores = measure.Eager(loaded, "cpu")(history)
        want_items, want_scores = best(loaded.answer(torch.from_numpy(history)), session.TOP)
        torch.testing.assert_close(scores, want_scores, atol=1e-5, rtol=0)
        finite = ~want_scores.isneginf()
        assert torch.equal(items[finite], want_items[finite])


def test_checkpoint_of_recbole_s_own_model_needs_no_data_set(trained: dict[str, Path]) -> None:
    path = trained["MultiVAE"]
    export(path, "model.onnx", dataset_path=str(path.parent))
    assert benchmark.main(["model.onnx", "--checkpoint", str(path), *QUICK, "1"]) == 0


def test_floor_reads_the_rows_of_the_history_and_every_other_weight(checkpoint: Path) -> None:
    bytes_of = {}
    for io in ("ids", "tokens", "dense"):
        export(checkpoint, "model.onnx", io=io)
        bytes_of[io] = session.ServedFile("model.onnx", CPU).bytes_read(items=3)
    network = architecture_of(load(checkpoint))
    weights = sum(weight.numel() for weight, _ in network.layers)
    unread = (network.n_items - 3) * 6
    assert bytes_of["ids"] == bytes_of["tokens"]
    assert bytes_of["ids"] == pytest.approx(4 * (weights - unread), rel=0.5)
    assert bytes_of["dense"] > bytes_of["ids"] + 4 * (unread - 6)


def test_floor_is_the_fastest_read_or_last_layer(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(checkpoint, "a.onnx", io="ids")
    export(checkpoint, "b.onnx", io="ids", precision="int8", min_overlap=0)
    known = {"a.onnx": [9, 8, 7], "b.onnx": [5, 5, 5], "read a.onnx": [9, 2, 8], "read b.onnx": [7, 1, 9]}
    known |= {"last layer fp32": [640, 64, 100], "last layer int8": [70, 64, 100]}
    monkeypatch.setattr(measure, "read", lambda count, provider: (None, 1))
    monkeypatch.setattr(
        measure, "take_turns", lambda calls, n: {name: np.array(known[name.removesuffix(" None")]) for name in calls}
    )
    files = [session.ServedFile(name, CPU) for name in ("a.onnx", "b.onnx")]
    floors = [[row[9:] for row in measure.measure(files, None, batch, 1)] for batch in (2, 8)]
    assert floors == [[["2.00", "4.00"], ["1.00", "5.00"]], [["4.00", "2.00"], ["4.00", "1.25"]]]  # 64 ms for 128 rows.


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
def test_large_parts_of_the_floor_are_done_in_part(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floor, "ITEMS", 48)
    monkeypatch.setattr(floor, "BYTES", 100 * 4 * floor.UNITS)
    for items in (40, 480):
        call, one_row = floor.last_layer(33, items, precision, CPU)
        (scores,) = call(0)
        assert scores.size * one_row == items
        call, factor = floor.read(items * 4 * floor.UNITS, CPU)
        (scores,) = call(0)
        assert scores.size * factor == items and scores.size <= 100


def test_turns_alternate_and_their_warm_up_does_not_count() -> None:
    order: list[str] = []
    calls = {"a": lambda n: order.append("a"), "b": lambda n: order.append("b")}
    times = measure.take_turns(calls, 35)
    assert {name: len(values) for name, values in times.items()} == {"a": 40, "b": 40}
    assert "".join(name for name, _ in groupby(order)) == "ab" * measure.TURNS
    assert len(order) > 80


def test_histories_are_seeded_and_of_about_fifty_items() -> None:
    made, again = session.histories(20_000, 20), session.histories(20_000, 20)
    assert all(np.array_equal(*pair) for pair in zip(made, again, strict=True))
    lengths = np.concatenate([(batch > 0).sum(axis=1) for batch in made])
    assert 40 < lengths.mean() < 60
    assert all(len(set(row[row > 0])) == (row > 0).sum() for batch in made for row in batch)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["missing.onnx"], "there is no file missing.onnx"),
        (["."], ". is a folder: name a file of multvae-export."),
        (["text.onnx"], "onnxruntime cannot open text.onnx: "),
        (["foreign.onnx"], "foreign.onnx has no contract_version in its metadata: multvae-export did not write it"),
        (["model.onnx", "--batch-size", "0"], "--batch-size=0 is not allowed: expected 1 or more"),
        (["model.onnx", "--requests", "-1"], "--requests=-1 is not allowed: expected 1 or more"),
        (["model.onnx", "--provider", "GPU"], "--provider=GPU is not in this onnxruntime: it has "),
        (["model.onnx", "--checkpoint", "missing.pth"], "there is no file missing.pth"),
        (["model.onnx", "other.onnx"], "other.onnx and model.onnx have different items: compare files of one model"),
    ],
)
def test_errors_are_one_sentence(
    checkpoint: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    export(checkpoint, "model.onnx", io="ids")
    Path("text.onnx").write_text("no model")
    proto = onnx.load("model.onnx")
    for entry in proto.metadata_props:
        entry.value = "0" * 64 if entry.key == "item_tokens_sha256" else entry.value
    onnx.save(proto, "other.onnx")
    del proto.metadata_props[:]
    onnx.save(proto, "foreign.onnx")
    assert benchmark.main(flags) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.skipif(CUDA not in onnxruntime.get_available_providers(), reason="this onnxruntime has no CUDA provider")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused(checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export(checkpoint, "model.onnx", io="ids")
    assert benchmark.main(["model.onnx", "--provider", CUDA]) == 1
    assert f"--provider={CUDA} cannot be used on this machine" in capfd.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.skipif(CUDA not in onnxruntime.get_available_providers(), reason="this onnxruntime has no CUDA provider")
@pytest.mark.parametrize("io", ("tokens", "ids", "dense"))
def test_cuda_beside_torch(checkpoint: Path, io: str, capsys: pytest.CaptureFixture[str]) -> None:
    export(checkpoint, "model.onnx", io=io)
    flags = ("--provider", CUDA, "--requests", "20", "--batch-size", "1", "8")
    assert benchmark.main(["model.onnx", "--checkpoint", str(checkpoint), *flags]) == 0
    assert {row[2] for row in rows(capsys.readouterr().out)} == {"CUDA"}
