from __future__ import annotations

import pytest

from recbole_multvae.errors import ConfigurationError
from recbole_multvae.leaderboard.entries import Entry, read_entries


def test_rows_of_models_with_files_of_their_own() -> None:
    assert read_entries("MultVAE, EASE,MultVAE:conf/wide.yaml", ["shared.yaml", "conf/EASE.yaml", "ml-1m-strong"]) == [
        Entry("MultVAE", "MultVAE", ("shared.yaml", "ml-1m-strong")),
        Entry("EASE", "EASE", ("shared.yaml", "conf/EASE.yaml", "ml-1m-strong")),
        Entry("MultVAE:wide", "MultVAE", ("shared.yaml", "ml-1m-strong", "conf/wide.yaml")),
    ]
    assert Entry("MultVAE:wide", "MultVAE", ()).file_name == "MultVAE-wide"


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("MultVAE,,EASE", "--model=MultVAE,,EASE has an empty name: write models with commas between, such as MultVAE,EASE"),
        ("MultVAE:", "--model=MultVAE: has an empty name"),
        ("EASE,BPR,EASE", "--model=EASE,BPR,EASE names EASE twice: leave one of them out."),
    ],
)
def test_rows_that_are_none(models: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace(".", r"\.")):
        read_entries(models, [])
