"""A model repository of Triton, read with Triton's schema, and Triton's conditions for a file that it batches."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from multvae_export import exporter, golden
from multvae_export.cli import main
from multvae_export.errors import VerificationError
from multvae_export.exporter import export
from multvae_export.graph import onnx_file
from multvae_export.publish import triton
from multvae_export.target import NONE, Options, Target
from multvae_export.trained_model import Model
from tritonclient.grpc import model_config_pb2 as schema

from tests.export.test_users import synthetic

TYPES = {"tensor(string)": "TYPE_STRING", "tensor(int64)": "TYPE_INT64", "tensor(float)": "TYPE_FP32"}
VALUES: dict[str, Any] = {"TYPE_STRING": object, "TYPE_INT64": np.int64, "TYPE_FP32": np.float32}
ALL = Options(filters=True, reasons=True, posterior=True)


def parsed(path: Path) -> Any:
    return text_format.Parse(path.read_text("utf-8"), schema.ModelConfig())


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
@pytest.mark.parametrize(("io", "options"), [("tokens", NONE), ("tokens", ALL), ("ids", ALL), ("dense", NONE)])
def test_the_configuration_is_of_the_file(io: str, options: Options, precision: str) -> None:
    check(golden.model(), io, options, precision)


def check(model: Model, io: str, options: Options = NONE, precision: str = "fp32") -> None:
    """Triton's checks of a configuration against the model, and a batch of two with the inputs that it names."""
    path, target = Path("model.onnx"), Target(io, precision, options)
    onnx_file.write(onnx_file.to_onnx(model, target), path)
    if target.ranks:
        onnx_file.set_default_k(path, triton.K)
    config = text_format.Parse(triton.config_text("small", path, precision), schema.ModelConfig())
    assert (config.name, config.backend) == ("small", "onnxruntime") and config.max_batch_size > 1
    assert config.HasField("dynamic_batching")
    kind = "KIND_CPU" if precision in ("int8", "int4") else "KIND_AUTO"
    groups = [(schema.ModelInstanceGroup.Kind.Name(group.kind), group.count) for group in config.instance_group]
    assert groups == [(kind, 1)]
    assert config.parameters["intra_op_thread_count"].string_value == "1"
    assert config.version_policy.latest.num_versions == 2
    session = onnxruntime.InferenceSession(path)
    for configured, values in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [value.name for value in configured] == [value.name for value in values]
        for one, value in zip(configured, values, strict=True):
            assert schema.DataType.Name(one.data_type) == TYPES[value.type]
            dims = [size if isinstance(size, int) else -1 for size in value.shape]
            assert dims == [-1, *(one.reshape.shape if one.HasField("reshape") else one.dims)]
            assert len(one.dims) > 0  # Triton refuses a tensor without any.
    feed = {}
    for one in config.input:
        shape = [2, *(max(size, 3) if size < 0 else size for size in one.dims)]
        shape = shape[:1] if one.HasField("reshape") else shape
        feed[one.name] = np.zeros(shape, VALUES[schema.DataType.Name(one.data_type)])
        if feed[one.name].dtype == object:
            feed[one.name][:] = golden.TOKENS[1]
    for one, array in zip(config.output, session.run(None, feed), strict=True):
        assert array.shape[0] == 2 and array.ndim == 1 + len(one.dims)
    for batch in config.model_warmup:
        rows = warm_up(config, batch)
        assert all(array.shape[0] == batch.batch_size for array in session.run(None, rows))
        if target.io in ("tokens", "ids"):  # Items are ranked, not filtered away.
            assert np.isfinite(session.run(["scores"], rows)[0]).any(axis=1).all()


def warm_up(config: Any, batch: Any) -> dict[str, np.ndarray]:
    """What Triton makes of a batch of its warm-up: zeros, which are empty texts."""
    feed = {}
    for one in config.input:
        given = batch.inputs[one.name]
        assert given.zero_data and given.data_type == one.data_type and len(given.dims) == len(one.dims)
        assert all(
            size in (wanted, *([size] if wanted < 0 else [])) for size, wanted in zip(given.dims, one.dims, strict=True)
        )
        shape = [batch.batch_size, *(() if one.HasField("reshape") else given.dims)]
        text = one.data_type == schema.TYPE_STRING
        feed[one.name] = np.full(shape, "", object) if text else np.zeros(shape, VALUES[schema.DataType.Name(one.data_type)])
    return feed


def test_users_have_no_dimension_but_the_batch() -> None:
    check(synthetic(), "users")


def test_each_export_is_a_version(checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(checkpoint), "--triton", "models"]) == 0
    said, folder = capfd.readouterr(), Path("models/MultVAE-blocks")
    assert f"Wrote {folder}/config.pbtxt\nWrote {folder}/1/model.onnx: " in said.out
    assert "default of k: 10, largest score difference" in said.out and said.err == ""  # onnxruntime warns of nothing.
    config = folder / "config.pbtxt"
    assert parsed(config).name == folder.name
    config.write_text(config.read_text().replace("KIND_AUTO", "KIND_CPU"))
    kept = config.read_text()
    assert main([str(checkpoint), "--triton", "models", "--k-default", "3"]) == 0
    assert "config" not in capfd.readouterr().out and config.read_text() == kept
    for version, k in ((1, triton.K), (2, 3)):
        session = onnxruntime.InferenceSession(folder / str(version) / "model.onnx")
        assert session.run(["items"], {"history": np.array([[""]], object)})[0].shape[1] == min(k, 16)
    shutil.rmtree(folder / "2")
    export(checkpoint, "models", repository=True)
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1", "3", "config.pbtxt"]


def test_a_polling_server_loads_nothing_while_a_version_is_written(checkpoint: Path, monkeypatch: Any) -> None:
    export(checkpoint, "models", repository=True)
    (folder,) = Path("models").iterdir()

    def times() -> dict[str, int]:
        # Triton loads a served version again when there is a newer time of something whose name is neither the
        # configuration's nor a number. A file, or a number that begins with 0, is no version to it.
        return {path.name: path.stat().st_ctime_ns for path in folder.iterdir() if not path.name.startswith("0")}

    during: list[dict[str, int]] = []
    monkeypatch.setattr(exporter, "_verify", lambda *_: during.append(times()) or [])
    before = times()
    export(checkpoint, "models", repository=True)
    assert during == [before] and times() == before | {"2": (folder / "2").stat().st_ctime_ns}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--triton", "models", "--filters"],
            "/model.onnx has other inputs or outputs: export to",
        ),
        (["--triton", "models", "--k-default", "0"], "--k-default=0 does not fit: expected 1 or more"),
        (["--triton", "worn"], "/0 holds 'seven': expected the number of the last version; write it there."),
        (["--triton", "a file"], "--triton=a file is a file: expected the folder of Triton's model repository."),
        (["model.onnx", "--triton", "models"], "--triton=models names the file itself: leave out model.onnx."),
        ([], "alone is not enough: name the checkpoint, then the ONNX file to write, or --triton or --vectors."),
    ],
)
def test_what_does_not_fit_is_refused(
    arguments: list[str], message: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a file").write_text("")
    export(checkpoint, "models", repository=True)
    (other := Path("worn/MultVAE-blocks")).mkdir(parents=True)
    (other / triton.LAST).write_text("seven")
    before = sorted(Path("models").rglob("*"))
    assert main([str(checkpoint), *arguments]) == 1
    assert message in capsys.readouterr().err
    assert sorted(Path("models").rglob("*")) == before


def test_what_fails_leaves_no_model(checkpoint: Path) -> None:
    with pytest.raises(VerificationError):
        export(checkpoint, "models", repository=True, atol=1e-30)
    assert not list(Path("models").iterdir())


def test_a_killed_export_leaves_no_version(checkpoint: Path) -> None:
    code = f"""
import os, signal
from multvae_export import exporter
from multvae_export.publish import triton
triton.Path.rename = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
exporter.export({str(checkpoint)!r}, "models", repository=True)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -signal.SIGKILL
    folder = Path("models/MultVAE-blocks")
    assert not list(folder.glob("[1-9]*"))
    export(checkpoint, "models", repository=True)
    assert sorted(path.name for path in folder.iterdir()) == ["0", "2", "config.pbtxt"]
