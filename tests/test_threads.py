"""How long threads wait for each other, as GNU OpenMP itself says when torch is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from recbole_multvae.threads import SPINS, wait_briefly

NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


@pytest.mark.skipif(sys.platform != "linux", reason="torch has GNU OpenMP on Linux only")
def test_the_import_comes_before_torch_reads_it() -> None:
    environment = {key: value for key, value in os.environ.items() if key not in NAMES} | {"OMP_DISPLAY_ENV": "VERBOSE"}
    code = [sys.executable, "-W", "ignore", "-c", "import recbole_multvae, torch"]
    done = subprocess.run(code, env=environment, capture_output=True, check=True)
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in done.stderr.decode()


@pytest.mark.parametrize("own", [{"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "active"}])
def test_what_the_user_set_stays(own: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(own))
    wait_briefly()
    assert dict(os.environ) == own
