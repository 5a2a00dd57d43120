from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recbole_multvae import checkpoint, hardware
from tests.conftest import QUICK, Experiment

DEFAULT = {key: value for key, value in QUICK.items() if key != "precision"}


@pytest.fixture(params=[True, False])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the device is said to have instructions for bf16."""
    monkeypatch.setattr(hardware, "has_bf16", lambda device: request.param)
    return request.param


def test_default_is_bf16_where_it_is_fast(blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for fast in (True, False):
        monkeypatch.setattr(hardware, "bf16_is_fast", lambda device, fast=fast: fast)
        model = Experiment("MultVAE", defaults=DEFAULT).model
        assert model.dtype == (torch.bfloat16 if fast else torch.float32)


@pytest.mark.parametrize(
    ("capabilities", "vendor", "fast"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "GenuineIntel", True),
        ({"avx512_bf16": True}, "AuthenticAMD", True),
        ({"avx512_bf16": True}, "GenuineIntel", False),
        ({"avx512_bf16": False}, "AuthenticAMD", False),
        ({}, "", False),
    ],
)
def test_where_bf16_is_fast(capabilities: Any, vendor: str, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(hardware, "_vendor", lambda: vendor)
    assert hardware.bf16_is_fast(torch.device("cpu")) == fast


def test_bf16_elsewhere_is_a_warning(native: bool, blocks: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING")
    assert Experiment("MultVAE", precision="bf16").model.dtype == torch.bfloat16
    assert ("precision=bf16, but this cpu has no instructions for it" in caplog.text) == (not native)


@pytest.mark.parametrize("model", ["MultVAE", "MultDAE"])
def test_bf16_learns_the_blocks_with_float32_weights(model: str, blocks: str) -> None:
    keys = {"reg_weight": 0.0} if model == "MultDAE" else {}
    experiment = Experiment(model, precision="bf16", epochs=40, learning_rate=0.01, **keys)
    experiment.fit()
    assert experiment.trainer.evaluate(experiment.test_data, show_progress=False)["recall@10"] > 0.9
    saved = checkpoint.load(experiment.trainer.saved_model_file)
    moments = [value for state in saved["optimizer"]["state"].values() for value in state.values()]
    assert {value.dtype for value in (*saved["state_dict"].values(), *moments)} == {torch.float32}


@pytest.mark.parametrize(("switch", "calls"), [("0", 0), ("1", 2)])
def test_freed_memory_is_left_to_glibc_if_asked(switch: str, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Libc:
        def mallopt(self, *arguments: int) -> None:
            made.append(arguments)

    monkeypatch.setenv("RECBOLE_MULTVAE_MALLOPT", switch)
    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: Libc())
    monkeypatch.setattr(hardware.platform, "libc_ver", lambda: ("glibc", "2.41"))
    hardware.keep_freed_memory()
    assert len(made) == calls


def control_groups(folder: Path, version: int, **files: str) -> tuple[Path, Path]:
    """Linux's description of a process in the group ``jobs/this``, whose files are given, and of the groups."""
    proc, mounted = folder / "proc", folder / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(
        "0::/jobs/this\n" if version == 2 else "4:cpu,memory:/jobs/this\n3:cpuset:/\n0::/\n"
    )
    group = mounted / ("" if version == 2 else "memory") / "jobs" / "this"
    group.mkdir(parents=True)
    for name, content in files.items():
        (group / name.replace("_", ".", 1)).write_text(content)
    return proc, mounted


@pytest.mark.parametrize(
    ("version", "files"),
    [
        (2, {"memory_max": "5000\n", "memory_current": "4000\n", "memory_stat": "active_file 100\ninactive_file 20\n"}),
        (1, {"memory_limit_in_bytes": "5000\n", "memory_usage_in_bytes": "4000\n",
             "memory_stat": "active_file 7\ntotal_active_file 100\ntotal_inactive_file 20\n"}),
    ],
)  # fmt: skip
def test_available_memory_is_that_of_the_control_group(version: int, files: dict[str, str], tmp_path: Path) -> None:
    proc, mounted = control_groups(tmp_path, version, **files)
    assert hardware.available_memory(proc, mounted) == 1000 + 120
    above = mounted / ("" if version == 2 else "memory") / "jobs"
    for file in (above / "this").iterdir():
        (above / file.name).write_text(file.read_text().replace("5000", "4300"))
    assert hardware.available_memory(proc, mounted) == 300 + 120


def test_available_memory_is_that_of_the_system_without_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware.psutil, "virtual_memory", lambda: SimpleNamespace(available=7000))
    assert hardware.available_memory(tmp_path, tmp_path) == 7000
    assert hardware.available_memory(*control_groups(tmp_path, 2, memory_max="max\n")) == 7000
