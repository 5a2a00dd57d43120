"""Which training a file comes from, and how a client notices that its weights are damaged."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import onnx
import pytest
from multvae_export import __version__
from multvae_export.checkpoint.contents import Checkpoint
from multvae_export.checkpoint.records import Record
from multvae_export.cli import main
from multvae_export.exporter import export
from multvae_export.graph import onnx_file
from multvae_export.reading import Name

from tests.conftest import unlike_new_ones

CLIENT = Path(__file__).parents[2] / "export/clients/python/recommend.py"


def client() -> Any:
    """The Python client."""
    spec = importlib.util.spec_from_file_location("recommend", CLIENT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entries(path: str) -> dict[str, str]:
    return onnx_file.metadata_of(onnx.load(path, load_external_data=False))


def test_a_file_says_where_it_comes_from(checkpoint: Path) -> None:
    export(checkpoint, "model.onnx")
    proto, metadata = onnx.load("model.onnx"), entries("model.onnx")
    assert metadata["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert metadata["exporter_version"] == proto.producer_version == __version__
    assert metadata["seed"] == "2020"
    assert metadata["weights_sha256"] == hashlib.sha256(proto.graph.SerializeToString()).hexdigest()
    export(checkpoint, "again.onnx", metadata={"team": "films"})
    assert entries("again.onnx")["weights_sha256"] == metadata["weights_sha256"]
    export(checkpoint, "again.onnx")
    assert Path("again.onnx").read_bytes() == Path("model.onnx").read_bytes()


def of(**parts: Any) -> Checkpoint:
    """A checkpoint without weights."""
    config = Record(Name("recbole.config.configurator", "Config"), {"final_config_dict": {"model": "EASE", "seed": 7}})
    return Checkpoint.of({"config": config, "state_dict": {}, **parts})


def test_what_a_checkpoint_says_is_in_the_metadata_and_nothing_else() -> None:
    said = of(saved_at=1_780_000_000, test_result={"ndcg@10": 0.25, "mrr@10": float("nan")}).identity
    assert said.entries() == {"trained_at": "2026-05-28T20:26:40+00:00", "seed": "7", "test_metrics": '{"ndcg@10": 0.25}'}
    assert said.version == 1_780_000_000
    for silent in (of(), of(saved_at="yesterday", test_result="good"), of(saved_at=True, test_result=[1])):
        assert (silent.identity.entries(), silent.identity.version) == ({"seed": "7"}, 1)


@pytest.mark.parametrize("name", ["weights_sha256", "seed", "checkpoint_sha256"])
def test_the_identity_cannot_be_given(checkpoint: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(checkpoint), "model.onnx", "--metadata", f"{name}=x"]) == 1
    assert f"--metadata={name}=... is not allowed" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["graph", "second file"])
def test_a_client_notices_a_flipped_bit(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    if part == "second file":
        monkeypatch.setattr(onnx_file, "EXTERNAL_BYTES", 100)
        monkeypatch.setattr(onnx_file, "INLINE_BYTES", 100)
    first = export(checkpoint, "model.onnx").files[0]
    load_model = client().load_model
    load_model("model.onnx")
    metadata, content = entries("model.onnx"), bytearray(first.read_bytes())
    assert metadata.get("weights_file") == (first.name if part == "second file" else None)
    content[len(content) // 2] ^= 1  # The middle of the file is in the weights of its largest layer.
    first.write_bytes(content)
    message = rf"model.onnx is damaged: the SHA-256 of its weights is \w+, not {metadata['weights_sha256']}; copy the file"
    with pytest.raises(ValueError, match=message):
        load_model("model.onnx")
    load_model("model.onnx", check=False)


def test_whoever_may_read_the_folder_may_read_the_files(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "EXTERNAL_BYTES", 100)
    monkeypatch.setattr(onnx_file, "INLINE_BYTES", 100)
    mask = os.umask(0o027)
    try:
        export(checkpoint, "model.onnx")
        export(checkpoint, "models", repository=True)
        assert len(list(Path().rglob("*.data"))) == 2
        assert not unlike_new_ones(Path())
    finally:
        os.umask(mask)


def test_a_golden_file_is_damaged() -> None:
    golden = json.loads((CLIENT.parents[1] / "golden.json").read_text("utf-8"))
    path = CLIENT.parents[1] / golden["damaged"]["model"]
    assert client().weights_digest(str(path)) == golden["damaged"]["weights_sha256"] != entries(str(path))["weights_sha256"]
