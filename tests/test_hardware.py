from __future__ import annotations

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
