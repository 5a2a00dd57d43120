"""save_dataset and save_dataloaders: a second run is the first one, and nothing old is taken for new."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import pytest

from recbole_multvae.data.saved import save_loaders
from recbole_multvae.errors import ConfigurationError, DataError
from recbole_multvae.experiment.configuration import make_config
from tests.conftest import QUIET
from tests.data.made import BY_TIME, clicks, prepared, rows_of, write


def result(experiment: Any) -> Any:
    return experiment.fit(saved=False), experiment.test(saved=False)


@pytest.fixture(autouse=True)
def _data() -> None:
    write("base", clicks())


@pytest.mark.parametrize("key", ["save_dataset", "save_dataloaders"])
@pytest.mark.parametrize("model", ["MultVAE", "EASE", "BPR"])
def test_a_second_run_is_the_first(model: str, key: str, caplog: pytest.LogCaptureFixture) -> None:
    plain = result(prepared(model, "base"))
    with caplog.at_level(logging.INFO):
        first = result(prepared(model, "base", **{key: True}))
        assert "configuration are the same" not in caplog.text and "Saved for the next run: saved/base" in caplog.text
        second = result(prepared(model, "base", **{key: True}))
    assert ": files and configuration are the same." in caplog.text
    assert plain == first == second


CHANGES: dict[str, dict[str, Any]] = {
    "another split": {"eval_args": BY_TIME},
    "a filter": {"val_interval": {"rating": "[3,inf)"}},
    "another seed": {"seed": 5},
    "another folder": {"data_path": "b"},
}


@pytest.mark.parametrize("change", [*CHANGES, "another file", "a file of the same size"])
@pytest.mark.parametrize("key", ["save_dataset", "save_dataloaders"])
@pytest.mark.parametrize("model", ["MultVAE", "EASE"])
def test_what_is_made_of_something_else_is_made_again(model: str, key: str, change: str, caplog: Any) -> None:
    write("b/base", clicks(users=15, seed=3))
    prepared(model, "base", **{key: True})
    if change == "another file":
        write("base", clicks(seed=7))
    if change == "a file of the same size":
        size = Path("base/base.inter").stat().st_size
        write("base", clicks()[::-1])
        assert Path("base/base.inter").stat().st_size == size
    keys = CHANGES.get(change, {})
    expected = prepared(model, "base", checkpoint_dir="elsewhere", **keys)
    with caplog.at_level(logging.WARNING):
        experiment = prepared(model, "base", **keys)
    assert " is of other files or another configuration." in caplog.text
    assert result(experiment) == result(expected)
    for part in ("valid_data", "test_data"):
        assert rows_of(getattr(experiment, part)) == rows_of(getattr(expected, part))


@pytest.mark.parametrize("name", ["base-MultVAEDataset.pth", "base-FamilyDataset.pth", "base-for-MultVAE-dataloader.pth"])
def test_a_file_that_is_not_ours_is_not_unpickled(name: str) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return exec, ("open('executed', 'w').close()",)

    Path("saved").mkdir()
    Path("saved", name).write_bytes(pickle.dumps(Bomb()))
    prepared("MultVAE", "base")
    assert not Path("executed").exists()


def test_a_name_with_a_pattern_in_it() -> None:
    write("a[1]", clicks())
    prepared("EASE", "a[1]", save_dataset=True)
    write("a[1]", clicks(seed=7))
    experiment = prepared("EASE", "a[1]")
    assert rows_of(experiment.test_data) == rows_of(prepared("EASE", "a[1]", checkpoint_dir="elsewhere").test_data)


def test_times_that_did_not_matter_may_not_decide() -> None:
    write("base", [*clicks(), ("u0", "i99", 1, "")])
    keys = {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
    prepared("EASE", "base", save_dataset=True, **keys)
    with pytest.raises(DataError, match="base lacks the timestamp of 1 interaction, and the order of time decides"):
        prepared("EASE", "base", eval_args=BY_TIME, **keys)


def test_loaders_that_cannot_be_saved_are_refused() -> None:
    loader = type("KnowledgeBasedDataLoader", (), {})()
    with pytest.raises(ConfigurationError, match="save_dataloaders=True does not go with KGAT: take save_dataset=True"):
        save_loaders(None, {"model": "KGAT"}, [loader])


def test_models_that_share_a_data_set_share_what_is_saved(caplog: pytest.LogCaptureFixture) -> None:
    prepared("MultVAE", "base", save_dataset=True)
    expected = result(prepared("MultDAE", "base", checkpoint_dir="elsewhere"))
    with caplog.at_level(logging.INFO):
        assert result(prepared("MultDAE", "base")) == expected
    assert "configuration are the same" in caplog.text


def test_what_is_saved_is_whole_or_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared("EASE", "base", save_dataset=True)
    before = Path("saved/base-Dataset.pth").read_bytes()

    def killed(value: Any, stream: Any) -> None:
        stream.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("recbole_multvae.data.saved.pickle.dump", killed)
    with pytest.raises(KeyboardInterrupt):
        prepared("EASE", "base", save_dataset=True, seed=3)
    assert Path("saved/base-Dataset.pth").read_bytes() == before
    assert [file.name for file in Path("saved").iterdir()] == ["base-Dataset.pth"]


def test_recbole_s_own_ml_100k_gives_way_to_the_user_s() -> None:
    write("mine/ml-100k", clicks())
    assert make_config("EASE", "ml-100k", None, {**QUIET, "data_path": "mine"}, {})["data_path"] == "mine/ml-100k"
    assert "dataset_example" in make_config("EASE", "ml-100k", None, {**QUIET, "data_path": "nothing"}, {})["data_path"]
