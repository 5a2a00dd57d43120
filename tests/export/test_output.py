"""A killed export leaves a folder behind, and the next export removes it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
from multvae_export.errors import OptionError
from multvae_export.exporter import export
from multvae_export.graph import onnx_file
from multvae_export.publish import working_folder

KILLED = """
import os, signal, sys
from multvae_export import exporter
from multvae_export.graph import onnx_file
from multvae_export.publish import working_folder
def kill(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
onnx_file.EXTERNAL_BYTES = onnx_file.INLINE_BYTES = {size}
{where}
exporter.export({checkpoint!r}, "model.onnx", io="ids")
"""


def killed(checkpoint: Path, where: str, size: int = 2**31) -> None:
    """Run an export that kills itself."""
    code = KILLED.format(checkpoint=str(checkpoint), where=where, size=size)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def folders() -> list[Path]:
    return list(Path().glob(f"{working_folder.PREFIX}*"))


def test_the_next_export_removes_what_a_killed_one_left(checkpoint: Path) -> None:
    killed(checkpoint, "exporter.verify = kill")
    assert len(folders()) == 1
    assert not Path("model.onnx").exists()
    export(checkpoint, "other.onnx")
    assert not folders()
    assert Path("other.onnx").exists()


def test_the_folder_of_a_running_export_stays(checkpoint: Path) -> None:
    with working_folder.working_folder(Path("first.onnx")) as folder:
        (folder / "first.onnx").write_text("half written")
        export(checkpoint, "second.onnx")
        assert (folder / "first.onnx").read_text() == "half written"
    assert not folders()


def test_a_crash_between_the_renames_leaves_the_old_export_whole(
    checkpoint: Path, trained: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "EXTERNAL_BYTES", 100)
    monkeypatch.setattr(onnx_file, "INLINE_BYTES", 100)
    export(checkpoint, "model.onnx", io="ids")
    before = {path.name: path.read_bytes() for path in Path().glob("model.onnx*")}
    crash = """
rename = os.replace
def once(*paths):
    rename(*paths)
    kill()
working_folder.os.replace = once"""
    killed(trained["MultDAE"], crash, size=100)
    after = {path.name: path.read_bytes() for path in Path().glob("model.onnx*")}
    assert len(after) == 3
    assert before.items() <= after.items()
    onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    export(trained["MultDAE"], "model.onnx", io="ids")
    names = {path.name for path in Path().glob("model.onnx*")}
    assert len(names) == 2
    assert not names & set(before) - {"model.onnx"}
    onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])


def test_weights_of_an_export_that_now_fits_one_file_are_removed(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("model.onnx.data", f"model.onnx.{'0' * 16}.data", "model.onnx.notes.data", "model.data"):
        Path(name).touch()
    export(checkpoint, "model.onnx")
    assert {path.name for path in Path().iterdir()} == {"model.onnx", "model.onnx.notes.data", "model.data"}


def test_a_file_system_without_locks_loses_nothing(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working_folder, "fcntl", None)
    Path(f"{working_folder.PREFIX}abc").mkdir()
    export(checkpoint, "model.onnx")
    assert len(folders()) == 1


def test_a_folder_of_checkpoints_and_a_target_like_one_are_refused(checkpoint: Path) -> None:
    Path("saved").mkdir()
    with pytest.raises(OptionError, match="saved is a folder: name a checkpoint in it"):
        export("saved", "model.onnx")
    Path("b.pth").write_text("the other checkpoint")
    with pytest.raises(OptionError, match=r"b.pth has the name of a checkpoint: name the ONNX file last"):
        export(checkpoint, "b.pth")
    assert Path("b.pth").read_text() == "the other checkpoint"
