from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from multvae_export import golden
from multvae_export.checkpoint.contents import load
from multvae_export.cli import main
from multvae_export.errors import OptionError, VerificationError
from multvae_export.exporter import export
from multvae_export.graph import onnx_file
from multvae_export.ranking import multi_hot
from multvae_export.trained_model import architecture_of
from multvae_export.verification import checks as verification
from recbole.utils.case_study import full_sort_topk

from recbole_multvae.rebuild.model import load_model
from tests.conftest import QUIET, Experiment
from tests.export.conftest import MODELS, change_nodes

ROOT = Path(__file__).parent.parent.parent
SHARED = ROOT.parent / "shared" / "data"


def session(path: str | Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("io", ("tokens", "ids", "dense"))
@pytest.mark.parametrize("model", MODELS)
def test_every_model_in_every_form_is_verified(trained: dict[str, Path], model: str, io: str) -> None:
    tokens = None if model in ("MultVAE", "MultDAE") else str(trained[model].parent)
    exported = export(trained[model], "model.onnx", io=io, dataset_path=tokens)
    assert [name for name, _ in exported.checks] == ["well formed", "equals torch", "CUDA kernels"]
    assert [path.name for path in Path().iterdir() if path.suffix == ".onnx"] == ["model.onnx"]


@pytest.mark.parametrize("opset", onnx_file.OPSETS)
def test_opsets(checkpoint: Path, opset: int) -> None:
    export(checkpoint, "model.onnx", opset=opset)
    assert next(entry.version for entry in onnx.load("model.onnx").opset_import if not entry.domain) == opset


def test_scores_are_the_model_s(checkpoint: Path, trained: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkpoint.parent)
    model, _ = load_model(str(checkpoint))
    network = architecture_of(load(checkpoint))
    histories = [[], [3], [1, 5, 9], list(range(1, 21))]
    rows = torch.tensor([history + [0] * (20 - len(history)) for history in histories])
    torch.testing.assert_close(network.logits(multi_hot(rows, 21))[:, 1:], model.score_histories(histories)[:, 1:])


def test_contract_is_in_the_file(checkpoint: Path) -> None:
    export(checkpoint, "model.onnx")
    inputs = {i.name: (i.type, i.shape) for i in session("model.onnx").get_inputs()}
    outputs = {o.name: (o.type, o.shape) for o in session("model.onnx").get_outputs()}
    assert inputs == {"history": ("tensor(string)", ["batch", "length"]), "k": ("tensor(int64)", [1])}
    assert outputs == {"items": ("tensor(string)", ["batch", "k"]), "scores": ("tensor(float)", ["batch", "k"])}
    proto = onnx.load("model.onnx")
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert metadata["contract_version"] == "1"
    assert metadata["dataset"] == "blocks"
    assert json.loads(metadata["model_spec"])["sizes"] == [20, 6, 4, 6, 20]
    assert json.loads(metadata["metrics"]).keys() == {"mrr@10"}
    assert {"torch", "onnx", "python"} == json.loads(metadata["tools"]).keys()
    assert all(value.doc_string for value in (*proto.graph.input, *proto.graph.output))


def test_k_has_a_default_if_asked_for(checkpoint: Path) -> None:
    export(checkpoint, "model.onnx", k_default=4)
    model = session("model.onnx")
    history = np.array([["i1", "i2"]], dtype=object)
    assert model.run(None, {"history": history})[0].shape == (1, 4)
    assert model.run(None, {"history": history, "k": np.array([2])})[0].shape == (1, 2)


def test_large_weights_go_into_a_second_file(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "EXTERNAL_BYTES", 100)
    monkeypatch.setattr(onnx_file, "INLINE_BYTES", 100)
    exported = export(checkpoint, "model.onnx")
    data, graph = exported.files
    assert graph.name == "model.onnx"
    assert data.name == f"model.onnx.{hashlib.sha256(data.read_bytes()).hexdigest()[:16]}.data"
    assert data.stat().st_size > 1000
    assert session("model.onnx").run(None, {"history": np.array([["i1"]], dtype=object), "k": np.array([1])})


@pytest.mark.parametrize("broken", ["weight", "mask", "order"])
def test_wrong_file_is_not_written(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    change = {
        "weight": ("Gemm(active0, weight1, bias1)", "Gemm(active0, weight1)"),
        "mask": ("Where(seen, minus_infinity, logits)", "Where(seen, logits, logits)"),
        "order": ("largest: int = 1", "largest: int = 0"),
    }[broken]
    change_nodes(monkeypatch, *change)
    with pytest.raises(VerificationError, match=r"expected|where torch has"):
        export(checkpoint, "model.onnx")
    assert not list(Path().glob("*.onnx"))
    assert not list(Path().glob(".multvae*"))


def test_a_step_is_announced_before_it_begins(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_nodes(monkeypatch, "Tanh(hidden0)", "Unknown(hidden0)")
    steps: list[str] = []
    with pytest.raises(VerificationError, match="onnxruntime cannot open the file"):
        export(checkpoint, "model.onnx", progress=steps.append)
    assert steps == [f"Reading {checkpoint}", "Writing the graph", "Verifying against torch and onnxruntime"]


def test_operator_without_cuda_kernel_is_noticed(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_nodes(monkeypatch, "Tanh(hidden0)", "Softsign(hidden0)")
    checks = [check for check in verification.CHECKS if check[1] is verification.check_cuda]
    monkeypatch.setattr(verification, "CHECKS", checks)
    with pytest.raises(VerificationError, match=r"Softsign.* have no CUDA kernel"):
        export(checkpoint, "model.onnx")


def test_further_metadata(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(checkpoint), "model.onnx", "--metadata", "team=films", "--metadata", "note=a=b"]) == 0
    entries = {entry.key: entry.value for entry in onnx.load("model.onnx").metadata_props}
    assert (entries["team"], entries["note"], entries["contract_version"]) == ("films", "a=b", "1")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("io=x", "--metadata=io=... is not allowed: the contract has this entry, take another name."),
        ("team", "--metadata=team is not understood: expected NAME=TEXT."),
    ],
)
def test_further_metadata_that_cannot_be(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], entry: str, message: str
) -> None:
    assert main([str(checkpoint), "other.onnx", "--metadata", entry]) == 1
    assert message in capsys.readouterr().err and not Path("other.onnx").exists()


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--list-models"])
    assert {"MultVAE", "EASE", "LightGCN"} <= set(capsys.readouterr().out.split("\n"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"io": "text"}, "--io=text is not known: expected tokens, ids, dense"),
        ({"opset": 9}, "--opset=9 is not supported: expected 16 to 18"),
        ({"k_default": 0}, "--k-default=0 does not fit"),
        ({"k_default": 5, "io": "dense"}, "--k-default=5 does not fit"),
        ({"atol": 0}, "--atol=0 is not allowed"),
        ({"atol": float("nan")}, "--atol=nan is not allowed"),
        ({"atol": float("inf")}, "--atol=inf is not allowed"),
    ],
)
def test_options_out_of_range(checkpoint: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        export(checkpoint, "model.onnx", **options)
    assert not Path("model.onnx").exists()


def test_checkpoint_is_not_overwritten(checkpoint: Path) -> None:
    before = checkpoint.read_bytes()
    with pytest.raises(OptionError, match="is the checkpoint itself"):
        export(checkpoint, checkpoint)
    assert checkpoint.read_bytes() == before


def test_command_prints_what_it_read_wrote_and_proved(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(checkpoint), "model.onnx", "--io", "ids"]) == 0
    out = capsys.readouterr().out
    assert "MultVAE 20-6-4-6-20, trained on blocks, mrr@10 " in out
    assert out.count("\N{CHECK MARK}") == 3
    assert "largest score difference" in out
    assert "Wrote model.onnx: " in out


def test_command_fails_with_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["none.pth", "model.onnx"]) == 1
    assert capsys.readouterr().err == "error: there is no file none.pth\n"
    assert main(["none.pth", "nowhere/model.onnx"]) == 1
    assert "there is no folder" in capsys.readouterr().err
    assert main(["none.pth", "."]) == 1
    assert capsys.readouterr().err == "error: . is a folder: name a file in it.\n"


def test_export_needs_neither_recbole_nor_the_plugin(checkpoint: Path) -> None:
    code = f"""
import sys
for name in ("recbole", "recbole_multvae", "pandas", "ray"):
    sys.modules[name] = None  # Importing it fails.
from multvae_export.cli import main
sys.exit(main([{str(checkpoint)!r}, "model.onnx"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path("model.onnx").exists()


def test_golden_file_is_what_the_exporter_writes() -> None:
    golden.main(".")
    clients = ROOT / "export" / "clients"
    ours, committed = (json.loads((folder / "golden.json").read_text("utf-8")) for folder in (Path(), clients))
    for ours_part, committed_part in ((ours, committed), *((ours[part], committed[part]) for part in ("options", "ids"))):
        for case, expected in zip(ours_part["cases"], committed_part["cases"], strict=True):
            for name in ("scores", "reasons"):
                numbers, committed_numbers = (np.array(part.pop(name, []), float) for part in (case, expected))
                np.testing.assert_allclose(numbers, committed_numbers, atol=1e-5)
    assert ours == committed
    for name in ("golden.onnx", "golden.options.onnx", "golden.ids.onnx", "golden.damaged.onnx"):
        assert onnx.load(name).graph == onnx.load(clients / name).graph


@pytest.mark.parametrize(
    "dataset",
    [
        "ml-100k",
        pytest.param("ml-1m", marks=pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not there")),
    ],
)
def test_ranking_is_recbole_s_for_every_user(dataset: str) -> None:
    experiment = Experiment("MultVAE", dataset, QUIET, epochs=1, data_path=str(SHARED), learning_rate=0.01)
    experiment.fit()
    experiment.model.eval()
    export(experiment.trainer.saved_model_file, "model.onnx")
    model = session("model.onnx")
    tokens = experiment.dataset.field2id_token["item_id"]
    # In validation RecBole masks what was seen in training, which is the history that the model reads.
    users = experiment.valid_data.uid_list.numpy()
    assert len(users) > 900
    for chunk in np.array_split(users, len(users) // 500 + 1):
        scores, items = full_sort_topk(chunk, experiment.model, experiment.valid_data, 10)
        rows = [tokens[seen.numpy()] for seen in experiment.valid_data.uid2history_item[list(chunk)]]
        history = np.full((len(chunk), max(map(len, rows))), "", dtype=object)
        for n, row in enumerate(rows):
            history[n, : len(row)] = row
        top_items, values = model.run(None, {"history": history, "k": np.array([10])})
        np.testing.assert_allclose(values, scores.detach().numpy(), atol=1e-4)
        # Where the rankings differ, the scores beside them tie.
        differ = top_items != tokens[items.numpy()]
        gaps = np.minimum(np.diff(values, prepend=np.inf, append=-np.inf)[:, :-1] ** 2, np.diff(values, append=-np.inf) ** 2)
        assert (gaps[differ] < 1e-8).all()
