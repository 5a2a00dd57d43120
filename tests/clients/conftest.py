"""Notes which clients ran. tests/conftest.py says it at the end: only that file is read by the process that ends the run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

CLIENTS = ("python", "node", "web")


@pytest.fixture
def outcome(record_property: Callable[[str, object], None]) -> Callable[[str, str], None]:
    """Note what became of a client. It goes with the test's report, as the test may run in a process of its own."""
    return record_property
