"""Untrusted files: nothing in them is executed, each kind has its own sentence, and nothing is written."""

from __future__ import annotations

import os
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from multvae_export.checkpoint.contents import load
from multvae_export.checkpoint.records import read
from multvae_export.errors import (
    DamagedCheckpointError,
    ExportError,
    FormatVersionError,
    NotACheckpointError,
    SpecError,
    TokensError,
    UnsafeCheckpointError,
    UnsupportedModelError,
    WeightsError,
)
from multvae_export.exporter import export
from multvae_export.trained_model import Model, model_of

from tests import hostile
from tests.archive import Calls, changed, pack, parts_of, with_pickle, without_description


@pytest.mark.parametrize("name", [*hostile.PROGRAMS, *hostile.PICKLES])
def test_nothing_runs_and_nothing_is_written(name: str) -> None:
    hostile.write((hostile.PROGRAMS | hostile.PICKLES)[name], Path("hostile.pth"))
    refusals = (UnsafeCheckpointError, DamagedCheckpointError)
    with hostile.small_and_quick(), pytest.raises(refusals, match=r"^hostile.pth is refused: .*[^.]\.$") as caught:
        export("hostile.pth", "model.onnx")
    assert len(str(caught.value)) < 1000
    assert {entry.name for entry in Path().iterdir()} == {"hostile.pth"}


@pytest.mark.parametrize("name", hostile.NESTS)
def test_deeply_nested_values_are_read_and_freed(name: str) -> None:
    hostile.write(hostile.NESTS[name], Path("deep.pth"))
    with hostile.small_and_quick(), pytest.raises(NotACheckpointError, match="the file has no config"):
        export("deep.pth", "model.onnx")


def test_refusal_names_what_was_refused() -> None:
    torch.save(Calls(os.system, "true"), "hostile.pth", pickle_protocol=4)
    with pytest.raises(UnsafeCheckpointError, match=r"hostile.pth is refused: it refers to posix.system, which RecBole"):
        read("hostile.pth")


def bad(name: str, source: Path) -> Path:
    """A file that is wrong in the way that its name says."""
    path = Path(f"{name}.pth")
    data = source.read_bytes()
    parts = parts_of(source)
    if name in ("empty", "text", "truncated"):
        path.write_bytes({"empty": b"", "text": b"hello, world", "truncated": data[: len(data) // 2]}[name])
    elif name == "missing":
        path.unlink(missing_ok=True)
    elif name == "zip bomb":
        pack(parts | {"archive/data/bomb": bytes(10**7)}, path, zipfile.ZIP_DEFLATED)
    elif name == "plain zip":
        pack({"hello.txt": b"hello"}, path)
    elif name == "plain tensors":
        torch.save({"weight": torch.ones(3)}, path)
    elif name == "flipped weight":
        where = data.index(max(parts.values(), key=len))
        path.write_bytes(data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :])
    elif name == "torchscript":
        pack(parts | {f"{next(iter(parts)).split('/')[0]}/constants.pkl": b""}, path)
    else:
        changed(source, path, CHANGES[name])
    return path


def _set(contents: dict[str, Any], part: str, value: Any) -> None:
    contents["state_dict"][part] = value


CHANGES: dict[str, Any] = {
    "wrong shape": lambda c: _set(c, "decoder.2.weight", torch.zeros(20, 7)),
    "missing layer": lambda c: c["state_dict"].pop("decoder.0.weight"),
    "NaN weight": lambda c: c["state_dict"]["decoder.2.weight"].fill_(torch.nan),
    "a weight that is text": lambda c: _set(c, "encoder.first.weight", "text"),
    "future format": lambda c: c["other_parameter"].update(format_version=99),
    "a format that is text": lambda c: c["other_parameter"].update(format_version="2"),
    "no description": without_description,
    "missing tokens": lambda c: c["other_parameter"].pop("item_tokens"),
    "too few tokens": lambda c: c["other_parameter"]["item_tokens"].pop(),
    "equal tokens": lambda c: c["other_parameter"]["item_tokens"].__setitem__(2, "i1"),
    "no text": lambda c: c["other_parameter"]["item_tokens"].__setitem__(2, "\ud800"),
    "numbered weights": lambda c: c["state_dict"].__setitem__(7, torch.zeros(1)),
    "another model": lambda c: without_description(c) or c["config"].final_config_dict.update(model="SASRec"),
    "no config": lambda c: c.pop("config"),
    "a huge stride": lambda c: _set(c, "decoder.2.bias", torch.zeros(1).expand(10**12)),
}


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("missing", NotACheckpointError, "there is no file missing.pth"),
        ("empty", NotACheckpointError, "empty.pth is refused: it is empty"),
        ("text", NotACheckpointError, "it begins with b'hell' instead of"),
        ("plain zip", NotACheckpointError, "is a zip archive, but not one of torch.save: it has 0 data.pkl"),
        ("plain tensors", NotACheckpointError, "the file has no config and state_dict"),
        ("no config", NotACheckpointError, "the file has no config and state_dict"),
        ("truncated", DamagedCheckpointError, "is truncated or damaged"),
        ("flipped weight", DamagedCheckpointError, "Bad CRC-32"),
        ("a huge stride", DamagedCheckpointError, "does not fit its storage"),
        ("zip bomb", UnsafeCheckpointError, "may be a zip bomb"),
        ("torchscript", UnsafeCheckpointError, "is a TorchScript program"),
        ("wrong shape", WeightsError, "layer 4 of 4 gives 20 units with 20 biases|takes 7|gives 6"),
        ("missing layer", SpecError, "layer 3 names the weights 'decoder.0.weight', which the checkpoint does not have"),
        ("NaN weight", WeightsError, "the weights decoder.2.weight hold numbers that are not finite"),
        (
            "a weight that is text",
            WeightsError,
            "the weights encoder.first.weight are a str, expected a tensor of 2 dimensions",
        ),
        ("future format", FormatVersionError, "is of format 99, this exporter knows up to 2: update"),
        ("a format that is text", FormatVersionError, "format_version is '2', expected a whole number"),
        ("no description", SpecError, "the checkpoint of MultVAE has no description of its model: train it again"),
        ("missing tokens", TokensError, "has no item tokens: name the folder"),
        ("too few tokens", TokensError, "there are 20 item tokens with padding, and the model has 21 items"),
        ("equal tokens", TokensError, "two items have the token 'i1': rename one of them"),
        ("no text", TokensError, "an item token is not Unicode text"),
        ("numbered weights", NotACheckpointError, "the file has no config and state_dict"),
        (
            "another model",
            UnsupportedModelError,
            "SASRec cannot be exported: expected one of .*MultDAE, MultVAE, MultiDAE, MultiVAE",
        ),
    ],
)
def test_each_way_to_be_wrong_has_its_own_error(name: str, error: type[ExportError], message: str, checkpoint: Path) -> None:
    path = bad(name, checkpoint)
    Path("model.onnx").write_text("what stood here before")
    with pytest.raises(error, match=message) as caught:
        export(path, "model.onnx")
    assert "\n" not in str(caught.value)
    assert Path("model.onnx").read_text() == "what stood here before"


def same(checkpoint: Path, original: Model) -> bool:
    """Whether a file still holds the original's model."""
    model = model_of(load(checkpoint))
    pairs = zip(model.architecture.layers, original.architecture.layers, strict=True)
    equal = all(torch.equal(a, b) for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True))
    return equal and model.tokens == original.tokens


def test_flipped_bytes_of_the_file_are_noticed_or_harmless(checkpoint: Path) -> None:
    rng = random.Random(0)
    original = model_of(load(checkpoint))
    data = checkpoint.read_bytes()
    path = Path("flipped.pth")
    refused = 0
    for _ in range(1000):
        flipped = bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 4, 16))):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        try:
            assert same(path, original), "a flip went unnoticed and changed the model"
        except ExportError:
            refused += 1
    assert refused > 500


def test_flipped_bytes_of_the_pickle_never_crash(checkpoint: Path) -> None:
    # The check sums are right: the attacker chooses the pickle and the tokens.
    rng = random.Random(0)
    parts = parts_of(checkpoint)
    pickled = next(value for name, value in parts.items() if name.endswith("/data.pkl"))
    refused = written = 0
    for _ in range(1000):
        flipped = bytearray(pickled)
        for _ in range(rng.choice((1, 1, 1, 4, 16))):
            flipped[rng.randrange(len(pickled))] ^= 1 << rng.randrange(8)
        path = with_pickle(checkpoint, bytes(flipped), Path("flipped.pth"))
        try:
            export(path, "model.onnx", check=written < 50)
            written += 1
        except ExportError:
            refused += 1
    assert refused > 100
    assert written > 100
    assert not Path(hostile.MARK).exists()
