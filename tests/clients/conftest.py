"""Says at the end of the run which clients ran."""

from __future__ import annotations

import pytest

CLIENTS = ("python", "node", "web")
RAN = pytest.StashKey[dict[str, str]]()


@pytest.fixture
def outcomes(pytestconfig: pytest.Config) -> dict[str, str]:
    """What became of each client, for the summary."""
    return pytestconfig.stash.setdefault(RAN, {})


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    outcomes = config.stash.get(RAN, {})
    if outcomes:
        terminalreporter.section("clients")
        for client in CLIENTS:
            terminalreporter.write_line(f"{client}: {outcomes.get(client, 'not run: not selected')}")
