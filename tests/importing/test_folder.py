"""A data set is whole or not there, whatever was there before, and whenever the process is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from recbole_multvae.commands.import_data import main
from recbole_multvae.importing import folder
from tests.importing.command import Import, write, written

FILES = ("mine.inter", "mine.item")


@pytest.fixture(autouse=True)
def _tables() -> None:
    write("r.csv", ["user,item", "1,a"])
    write("m.csv", ["item,title", "a,A"])


def old_data_set() -> Path:
    place = Path("dataset/mine")
    (place / "more").mkdir(parents=True)
    for name in (*FILES, "mine.user", "more/notes"):
        (place / name).write_text(f"old {name}")
    return place


def contents(place: Path) -> dict[str, str]:
    return {path.relative_to(place).as_posix(): path.read_text() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", FILES)
def test_what_is_there_is_refused(name: str, imports: Import) -> None:
    Path("dataset/mine").mkdir(parents=True)
    Path(f"dataset/mine/{name}").write_text("old")
    message = imports.refusal("r.csv", "mine", "--items=m.csv")
    assert message == f"dataset/mine/{name} exists already: add --overwrite, or choose another name."


@pytest.mark.parametrize("exchange", [True, False])
def test_overwrite_replaces_both_and_keeps_the_rest(
    exchange: bool, imports: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = old_data_set()
    if not exchange:
        monkeypatch.setattr(folder, "_exchange", lambda one, other: False)
    imports("r.csv", "mine", "--items=m.csv", "--overwrite")
    assert written()[1] == [("1", "a")] and written("dataset/mine/mine.item")[1] == [("a", "A")]
    assert {name: text for name, text in contents(place).items() if name not in FILES} == {
        "mine.user": "old mine.user",
        "more/notes": "old more/notes",
    }
    assert os.listdir("dataset") == ["mine"]


def test_items_of_an_older_import_are_not_mixed_with_new_rows(imports: Import) -> None:
    old_data_set()
    message = imports.refusal("r.csv", "mine", "--overwrite")
    assert message == "dataset/mine/mine.item is of an older import: add --items to replace it too, or remove it."


def test_failure_leaves_the_old_data_set(imports: Import) -> None:
    before = contents(old_data_set())
    write("m.csv", ["item,title", "a,A", ",B"])
    assert imports.refusal("r.csv", "mine", "--items=m.csv", "--overwrite").startswith("Line 3 of m.csv")
    assert contents(Path("dataset/mine")) == before


def test_a_link_to_a_folder_stays_one(imports: Import) -> None:
    Path("elsewhere").mkdir()
    Path("dataset").mkdir()
    Path("dataset/mine").symlink_to("../elsewhere")
    imports("r.csv", "mine")
    assert Path("dataset/mine").is_symlink() and sorted(os.listdir("elsewhere")) == ["mine.inter"]


def kill_at(step: int) -> None:
    """Replace a data set's files in a process that kills itself at a step: of writing, or before or after the exchange."""

    def killed(when: int) -> None:
        if when == step:
            os.kill(os.getpid(), signal.SIGKILL)

    exchange: Callable[[Path, Path], bool] = folder._exchange

    def watched(one: Path, other: Path) -> bool:
        killed(2)
        done = exchange(one, other)
        killed(3)
        return done

    folder._exchange = watched  # type: ignore[assignment]
    with folder.new_files(Path("dataset"), "mine", FILES, overwrite=True) as new:
        for when, name in enumerate(FILES):
            (new / name).write_text(f"new {name}")
            killed(when)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("step", range(4))
def test_killed_at_any_step(step: int, imports: Import) -> None:
    old_data_set()
    process = os.fork()
    if not process:
        try:
            kill_at(step)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    files = contents(Path("dataset/mine"))
    assert {files[name] for name in FILES} == {f"{'new' if step == 3 else 'old'} {name}" for name in FILES}
    assert files["mine.user"] == "old mine.user"
    imports("r.csv", "mine", "--items=m.csv", "--overwrite")
    assert os.listdir("dataset") == ["mine"], "what the killed process left is removed"


def test_old_data_set_is_put_back_where_folders_are_not_exchanged(imports: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    old_data_set()
    rename = os.rename

    def fails(source: Path, place: Path) -> None:
        if Path(place).name == "mine" and Path(source).name == "mine":
            raise OSError(28, "No space left on device")
        rename(source, place)

    monkeypatch.setattr(folder, "_exchange", lambda one, other: False)
    monkeypatch.setattr(os, "rename", fails)
    message = imports.refusal("r.csv", "mine", "--items=m.csv", "--overwrite")
    assert message == "Cannot write dataset/mine (No space left on device): look at its folder."
    monkeypatch.setattr(os, "rename", rename)
    Path("dataset/.mine.import-x").mkdir()
    os.rename("dataset/mine", "dataset/.mine.import-x/.old")
    assert main(["r.csv", "mine"]) == 1, "the old data set is there again"
    assert contents(Path("dataset/mine"))["mine.inter"] == "old mine.inter" and os.listdir("dataset") == ["mine"]


def test_folder_of_a_process_at_work_is_left_alone() -> None:
    with folder.new_files(Path("dataset"), "mine", FILES, False) as first:
        (first / "mine.inter").write_text("first")
        with folder.new_files(Path("dataset"), "mine", ["mine.inter"], False) as second:
            (second / "mine.inter").write_text("second")
        assert (first / "mine.inter").read_text() == "first"
        with (
            pytest.raises(folder.DataError, match="exists already"),
            folder.new_files(Path("dataset"), "mine", FILES, False),
        ):
            pass
        os.rename("dataset/mine", "dataset/other")
