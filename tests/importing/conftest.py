from __future__ import annotations

import pytest

from tests.importing.command import Import


@pytest.fixture
def imports(capsys: pytest.CaptureFixture[str]) -> Import:
    return Import(capsys)
