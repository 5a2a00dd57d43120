from __future__ import annotations

import logging
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_multvae import checkpoint
from recbole_multvae.commands.recommend import _item_ids, main
from recbole_multvae.data.titles import read_titles
from recbole_multvae.errors import DataError
from recbole_multvae.evaluation.recommendations import reasons, recommend
from recbole_multvae.rebuild.model import load_model
from tests.conftest import Experiment, block_pairs


@pytest.fixture
def trained(blocks: str) -> Experiment:
    titles = "".join(f"i{i}\t{'Left' if i < 10 else 'Right'} {i}\n" for i in range(20))
    Path("blocks/blocks.item").write_text("item_id:token\ttitle:token_seq\n" + titles)
    experiment = Experiment("MultVAE", epochs=60, learning_rate=0.02, anneal_cap=0.1, total_anneal_steps=100)
    experiment.fit()
    return experiment


def test_prints_titles_of_the_user_s_block(trained: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([trained.trainer.saved_model_file, "--user=u3", "-k", "2"]) == 0
    liked, recommended = capsys.readouterr().out.split("MultVAE recommends")
    assert "User u3 of blocks liked" in liked
    assert len(recommended.strip().splitlines()) == 2
    assert "Left" not in liked + recommended


def test_recommendations_are_the_best_unseen_items(trained: Experiment) -> None:
    model, parts = load_model(trained.trainer.saved_model_file)
    history = [1, 5, 7]
    everything = recommend(model, history, 1000)
    assert sorted(item for item, _ in everything) == sorted(set(range(1, 21)) - set(history))
    scores = [score for _, score in everything]
    assert scores == sorted(scores, reverse=True)
    assert recommend(model, history, 3) == everything[:3]
    assert parts[0].dataset_name == "blocks"


def test_lists_and_reasons(trained: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    model, _ = load_model(trained.trainer.saved_model_file)
    history = [1, 5, 7]
    best = recommend(model, history, 20)
    items = [item for item, _ in best]
    assert recommend(model, history, 20, exclude=items[:2]) == best[2:]
    assert recommend(model, history, 20, among=[items[3], 5, items[1]]) == [best[1], best[3]]
    assert recommend(model, history, 20, among=[]) == []
    raised = reasons(model, history, items)
    without = dict(recommend(model, [1, 7], 20))
    expected = torch.tensor([score - without[item] for item, score in best])
    torch.testing.assert_close(raised[:, 1], expected, atol=1e-5, rtol=0)
    assert reasons(model, [], items).shape == (len(items), 0)

    Path("some.txt").write_text("i12\n\ni13\ni2\n")
    flags = [trained.trainer.saved_model_file, "--user=u3", "--among=some.txt", "--exclude=i13"]
    assert main(flags) == 0
    lines = capsys.readouterr().out.split("MultVAE recommends")[1].strip().splitlines()
    assert len(lines) <= 2 and not any("Right 13" in line for line in lines)
    assert any("because of Right" in line for line in lines)
    assert main([*flags[:2], "--among=i12,nothing"]) == 1
    assert capsys.readouterr().err.startswith("error: --among names 'nothing', which is no file and no item of blocks")


ODD = ["a,b", " led", "trailed ", "two\u2028lines", "a", "c,d", "c", "d", "\ufeffmarked", "it", "x y"]


@pytest.fixture
def odd(write_dataset: Any) -> Any:
    """A model of items with odd tokens."""
    write_dataset("odd", [(f"u{user}", item) for user in range(20) for item in ODD if (user + len(item)) % 4])
    return Experiment("MultVAE", "odd").model


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_has_one_token_a_line_exactly(odd: Any, end: str) -> None:
    Path("list").write_bytes(end.join(["", *ODD, ""]).encode())
    items = _item_ids("list", "--among", odd, "odd")
    assert [odd.item_tokens[item] for item in items or []] == ODD
    Path("list").write_bytes(b"\xef\xbb\xbf" + end.join(ODD).encode())  # With a byte order mark.
    assert _item_ids("list", "--among", odd, "odd") == items
    Path("list").write_bytes("\ufeffmarked\na".encode())
    assert [odd.item_tokens[item] for item in _item_ids("list", "--among", odd, "odd") or []] == ["\ufeffmarked", "a"]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("a,b", ["a,b"]),
        ("a, it ,x y", ["a", "it", "x y"]),
        (" led,trailed ,a,", [" led", "trailed ", "a"]),
        ("two\u2028lines", ["two\u2028lines"]),
        ("", []),
    ],
)
def test_tokens_on_the_command_line(odd: Any, text: str, items: list[str]) -> None:
    assert [odd.item_tokens[item] for item in _item_ids(text, "--among", odd, "odd") or []] == items


def test_lists_that_are_not_understood(odd: Any) -> None:
    file = "a file with one token a line, which may have commas and spaces at its ends"
    Path("list").write_text("a\nled\n")
    Path("binary").write_bytes(b"a\xff\n")
    Path("it").write_text("a\n")
    for text, message in (
        (
            "a,b,c",
            f"--among names 'b', which is no file and no item of odd: expected item tokens with commas between, or {file}",
        ),
        ("c,d", f"--among=c,d is an item, and so are its parts between commas: name item tokens with commas .*{file}"),
        ("list", "--among names 'led', which is no item of odd"),
        ("binary", "--among=binary is not in UTF-8: .* write it in UTF-8"),
        ("it", "--among=it is a file and an item: name the file /.*/it, or the item it,"),
        ("no/file" * 900, "which is no file and no item of odd"),
        ("a\0b", "which is no file and no item of odd"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            _item_ids(text, "--among", odd, "odd")
        assert "\n" not in str(caught.value)
    assert _item_ids("./it", "--among", odd, "odd") == _item_ids("a", "--among", odd, "odd")
    assert _item_ids("it,", "--among", odd, "odd") == [odd.item_tokens.index("it")]


def test_a_list_without_items(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "error: --among= names no item: leave it out, or name item tokens" in mistake(
        capsys, file, "--user=u3", "--among="
    )
    assert main([file, "--user=u3", "--exclude="]) == 0


def test_an_older_checkpoint_says_that_users_are_not_compared(
    file: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = checkpoint.load(file)["other_parameter"]
    older = {name: value for name, value in extra.items() if not name.startswith(("user_tokens", "training_"))}
    change(file, "other_parameter", older)
    with caplog.at_level(logging.WARNING):
        assert main([file, "--user=u3"]) == 0
    assert "does not say which users and clicks it was trained on" in caplog.text
    assert main([file, "--user=u3"]) == 0
    change(file, "other_parameter", {**older, "item_tokens": older["item_tokens"][::-1]})
    assert "its item number 0 is '[PAD]' and not" in mistake(capsys, file, "--user=u3")


def test_without_an_item_file_tokens_are_shown(trained: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    Path("blocks/blocks.item").unlink()
    assert read_titles(trained.dataset) == {}
    assert main([trained.trainer.saved_model_file, "--user=u3"]) == 0
    assert "i1" in capsys.readouterr().out


@pytest.fixture
def file(blocks: str) -> str:
    """A checkpoint that was hardly trained."""
    experiment = Experiment("MultVAE", epochs=1)
    experiment.fit()
    return experiment.trainer.saved_model_file


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments]) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    return error


@pytest.mark.parametrize("user", ["nobody", "[PAD]", ""])
def test_unknown_user(file: str, capsys: pytest.CaptureFixture[str], user: str) -> None:
    error = mistake(capsys, file, f"--user={user}")
    assert error == f"error: User {user!r} is not in blocks: expected a user token such as 'u0'.\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"rubbish", "is damaged or is not one of RecBole's"),
        (
            {"state_dict": {}},
            "is not a checkpoint of this family: "
            "expected one of AutoRec, EDLAE, ItemAutoRec, MultDAE, MultVAE, SparseEDLAE.",
        ),
    ],
)
def test_not_a_checkpoint(file: str, capsys: pytest.CaptureFixture[str], content: object, message: str) -> None:
    if isinstance(content, bytes):
        Path(file).write_bytes(content)
    else:
        torch.save(content, file)
    assert message in mistake(capsys, file, "--user=u3")


def change(file: str, part: str, value: object) -> None:
    saved = checkpoint.load(file)
    saved[part] = value
    torch.save(saved, file)


def test_part_is_missing_or_does_not_fit(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    change(file, "state_dict", {"decoder.0.weight": torch.zeros(2, 2)})
    assert f"The weights in {file} do not fit its model and its data set: Error(s) in loading" in mistake(
        capsys, file, "--user=u3"
    )
    torch.save({"config": checkpoint.load(file)["config"]}, file)
    assert "is not a checkpoint of this family" in mistake(capsys, file, "--user=u3")


def test_few_items_asked_for(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert mistake(capsys, file, "--user=u3", "-k", "0") == "error: -k 0 is not allowed: expected 1 or more.\n"


class TestDataSetElsewhere:
    @pytest.fixture
    def moved(self, file: str) -> str:
        Path("elsewhere").mkdir()
        Path("blocks").rename("elsewhere/blocks")
        return file

    @pytest.mark.parametrize("folder", ["elsewhere", "elsewhere/", "elsewhere/blocks"])
    def test_is_named(self, moved: str, capsys: pytest.CaptureFixture[str], folder: str) -> None:
        assert main([moved, "--user=u3", f"--dataset-path={folder}"]) == 0
        assert "User u3 of blocks liked" in capsys.readouterr().out

    def test_is_missing(self, moved: str, capsys: pytest.CaptureFixture[str]) -> None:
        error = mistake(capsys, moved, "--user=u3")
        assert error.startswith(
            "error: The data set blocks is not in blocks, where it was at training: name its folder with"
        )

    @pytest.mark.parametrize("folder", ["nowhere", "saved"])
    def test_is_not_there_either(self, moved: str, capsys: pytest.CaptureFixture[str], folder: str) -> None:
        error = mistake(capsys, moved, "--user=u3", f"--dataset-path={folder}")
        assert error == f"error: The data set blocks is not in {folder}: name its folder with --dataset-path.\n"

    def test_is_another_one(self, moved: str, write_dataset: Any, capsys: pytest.CaptureFixture[str]) -> None:
        write_dataset("blocks", block_pairs(items=30))
        assert "as it has 30 items and not 20; take the data of that training" in mistake(capsys, moved, "--user=u3")

    def test_has_changed(self, file: str, write_dataset: Any, capsys: pytest.CaptureFixture[str]) -> None:
        pairs = block_pairs()
        for changed, difference in (
            (pairs[1:], "its item number 1 is 'i2' and not 'i1'"),
            (pairs[:-1], "it has the same users and items, and other clicks in its training part"),
            ([("new" if user == "u3" else user, item) for user, item in pairs], "is 'new' and not 'u3'"),
            ([*pairs, ("new", "i1")], "it has 41 users and not 40"),
        ):
            write_dataset("blocks", changed)
            error = mistake(capsys, file, "--user=u5")
            assert error.startswith("error: The data set blocks is not the one that the checkpoint was trained on, as ")
            assert difference in error

    def test_cannot_be_read(self, moved: str, capsys: pytest.CaptureFixture[str]) -> None:
        Path("elsewhere/blocks/blocks.inter").write_text("")
        assert "blocks.inter is empty" in mistake(capsys, moved, "--user=u3", "--dataset-path=elsewhere")


def test_of_several_files_the_newest_is_used(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name, time in (("a.pth", 1000), ("b.pth", 3000), ("c.pth", 2000)):
        shutil.copy(file, name)
        os.utime(name, (time, time))
    assert main(["a.pth", "none.pth", "b.pth", "c.pth", "--user=u3"]) == 0
    assert capsys.readouterr().out.startswith("Of 4 checkpoints the newest is used: b.pth\n")
    assert main(["a.pth", "--user=u3"]) == 0
    assert "newest" not in capsys.readouterr().out


def test_folder_instead_of_a_file(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "saved is a folder: name a checkpoint in it, or all of them as saved/*.pth." in mistake(
        capsys, "saved", "--user=u3"
    )


class Executed:
    """A pickle of it makes a folder when it is loaded."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("named", [True, False])
def test_pickles_that_the_checkpoint_names_are_not_loaded(
    file: str, capsys: pytest.CaptureFixture[str], named: bool
) -> None:
    names = ["evil", "worse"] if named else ["saved/blocks-FamilyDataset.pth", "saved/blocks-for-MultVAE-dataloader.pth"]
    for name in names:
        Path(name).write_bytes(pickle.dumps(Executed()))
    if named:
        config = checkpoint.load(file)["config"]
        config["dataset_save_path"], config["dataloaders_save_path"] = names
        config["save_dataset"] = config["save_dataloaders"] = True
        change(file, "config", config)
    before = set(Path().rglob("*"))
    assert main([file, "--user=u3"]) == 0
    assert set(Path().rglob("*")) == before
    pickle.loads(Path(names[0]).read_bytes())  # The test's own pickles do something.
    assert Path("executed").is_dir()


def test_titles_are_read_as_the_data_were(write_dataset: Any, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset("films", block_pairs())
    rows = "".join(f"{user}\t{item}\n" for user, item in block_pairs())
    Path("films/films.inter").write_text("uid:token\tiid:token\n" + rows)
    items = "".join(f'i{i}\t"Caf\u00e9, Le" {i}\n' for i in range(20))
    Path("films/films.item").write_text("iid:token\ttitle:token_seq\n" + items, "latin-1")
    columns = {"USER_ID_FIELD": "uid", "ITEM_ID_FIELD": "iid", "load_col": {"inter": "*"}}
    experiment = Experiment("MultVAE", "films", epochs=1, encoding="ISO-8859-1", **columns)
    experiment.fit()
    assert main([experiment.trainer.saved_model_file, "--user=u3"]) == 0
    out, error = capsys.readouterr()
    assert '"Caf\u00e9, Le" 12' in out
    assert error == ""


@pytest.mark.parametrize(
    ("model", "keys", "message"),
    [
        ("ItemAutoRec", {}, "ItemAutoRec scores the users of its training data only, and a history alone does not say"),
        ("AutoRec", {"targets": "ratings"}, "AutoRec with targets=ratings reads ratings, and a history of items has none"),
    ],
)
def test_a_model_that_a_history_is_not_enough_for(
    model: str, keys: dict[str, object], message: str, blocks: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"{user}\t{item}\t5\n" for user, item in block_pairs())
    Path("blocks/blocks.inter").write_text("user_id:token\titem_id:token\trating:float\n" + rows)
    experiment = Experiment(model, load_col={"inter": ["user_id", "item_id", "rating"]}, **keys)
    experiment.fit()
    assert mistake(capsys, experiment.trainer.saved_model_file, "--user=u3").startswith(f"error: {message}")
