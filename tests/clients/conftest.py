"""Says at the end of the run which clients ran."""

from __future__ import annotations

from collections.abc import Callable

import pytest

CLIENTS = ("python", "node", "web")


@pytest.fixture
def outcome(record_property: Callable[[str, object], None]) -> Callable[[str, str], None]:
    """Note what became of a client. It goes with the test's report, as the test may run in a process of its own."""
    return record_property


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    outcomes = dict(pair for report in reports for pair in getattr(report, "user_properties", ()) if pair[0] in CLIENTS)
    if outcomes:
        terminalreporter.section("clients")
        for client in CLIENTS:
            terminalreporter.write_line(f"{client}: {outcomes.get(client, 'not run: not selected')}")
