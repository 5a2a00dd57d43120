"""A sum of models through the clients: every golden case, with the file and the answers of a sum in place of MultVAE's."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from multvae_export import golden
from multvae_export.architectures.linear import Linear
from multvae_export.trained_model import Model

from tests.clients.languages import CLIENTS, FOLDER
from tests.clients.test_clients import CASES, install, require, run
from tests.export.test_kinds import linear, summed

#: The test of each client's golden cases alone: the others know the answers of MultVAE's file.
ONLY_GOLDEN = {"python": ("-k", "test_golden"), "node": ("--test-name-pattern=golden: ",)}


def golden_sum() -> Model:
    """A linear model, in which the last two items are equal too, and the golden model, whose scores count half."""
    member = linear(len(golden.TOKENS) - 1)
    assert isinstance(member, Linear)
    ((weight, bias),) = member.layers
    weight[:, -1], bias[-1] = weight[:, -2], bias[-2]
    return replace(golden.model(), name="EDLAE+MultVAE", architecture=summed(member, golden.model().architecture))


@pytest.mark.parametrize("client", ONLY_GOLDEN)
def test_every_golden_case_of_a_sum(client: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require(client)
    install(FOLDER / client)
    shutil.copytree(FOLDER / client, tmp_path / client, symlinks=True)
    small = golden_sum()
    monkeypatch.setattr(golden, "model", lambda: small)
    golden.main(str(tmp_path))
    report, (command,) = tmp_path / "report", CLIENTS[client].commands
    parts = (*command[:-1], *ONLY_GOLDEN[client], command[-1])
    said = run(tuple(part.format(report=report, python=sys.executable) for part in parts), tmp_path / client)
    assert CLIENTS[client].passed(report.read_text("utf-8")) == len(CASES), said
