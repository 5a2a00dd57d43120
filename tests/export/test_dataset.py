"""The data set of a checkpoint: read by a plugin for the item tokens, and without executing any file."""

from __future__ import annotations

import gc
import pickle
import shutil
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
from multvae_export.checkpoint import dataset
from multvae_export.errors import TokensError
from multvae_export.exporter import export

from tests.archive import Calls, changed

MARK = "executed"


@pytest.fixture
def bomb() -> Path:
    """A pickle that makes a file when it is loaded."""
    path = Path("bomb.pth").absolute()
    path.write_bytes(pickle.dumps(Calls(exec, f"open({MARK!r}, 'w').close()")))
    return path


HOSTILE: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "dataset_save_path": lambda keys, bomb: keys.update(dataset_save_path=str(bomb)),
    "dataloaders_save_path": lambda keys, bomb: keys.update(dataloaders_save_path=str(bomb)),
    "a data set beside the checkpoint": lambda keys, bomb: _default(keys, bomb, "blocks-Dataset.pth"),
    "data loaders beside the checkpoint": lambda keys, bomb: _default(keys, bomb, "blocks-for-MultiVAE-dataloader.pth"),
    "a data set of a name that leads elsewhere": lambda keys, bomb: _elsewhere(keys, bomb),
}


def _default(keys: dict[str, Any], bomb: Path, name: str) -> None:
    bomb.rename(bomb.with_name(name))
    keys.update(checkpoint_dir=str(bomb.parent))


def _elsewhere(keys: dict[str, Any], bomb: Path) -> None:
    bomb.rename(bomb.with_name("blocks-Dataset.pth"))
    keys.update(dataset="/".join([".."] * 20) + str(bomb.with_name("blocks")))


@pytest.mark.parametrize("name", HOSTILE)
def test_no_file_that_the_checkpoint_names_is_unpickled(
    name: str, trained: dict[str, Path], bomb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recbole_multvae.data.saved._is_made_of", lambda *_: True)  # Anybody can compute the digest.
    source = trained["MultiVAE"]
    shutil.copy(source.parent / "blocks" / "blocks.inter", bomb.parent)
    path = changed(source, Path("x.pth"), lambda c: HOSTILE[name](c["config"].final_config_dict, bomb))
    export(path, "model.onnx", dataset_path=str(source.parent))
    assert not Path(MARK).exists()


def test_nothing_is_saved_where_the_checkpoint_says(trained: dict[str, Path]) -> None:
    source = trained["MultiVAE"]
    keys = {"save_dataset": True, "save_dataloaders": True, "checkpoint_dir": "made"}
    path = changed(source, Path("x.pth"), lambda c: c["config"].final_config_dict.update(keys))
    export(path, "model.onnx", dataset_path=str(source.parent))
    assert {entry.name for entry in Path().iterdir()} == {"x.pth", "model.onnx"}


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_data_set_that_is_not_there_is_one_sentence(trained: dict[str, Path], folder: str) -> None:
    with pytest.raises(TokensError) as caught:
        export(trained["MultiVAE"], "model.onnx", dataset_path=folder)
    assert str(caught.value) == f"The data set blocks is not in {folder}: name its folder with --dataset-path."


@pytest.mark.parametrize("name", [7, None, "/etc", "..", "a\0b", "*"])
def test_a_data_set_of_an_odd_name_is_one_sentence(trained: dict[str, Path], name: Any) -> None:
    path = changed(trained["MultiVAE"], Path("x.pth"), lambda c: c["config"].final_config_dict.update(dataset=name))
    with pytest.raises(TokensError, match=r"The data set .* is not in .*: name its folder with --dataset-path") as caught:
        export(path, "model.onnx", dataset_path=str(trained["MultiVAE"].parent))
    assert "\n" not in str(caught.value)


def test_a_data_set_that_cannot_be_read_is_one_sentence(trained: dict[str, Path]) -> None:
    Path("blocks").mkdir()
    Path("blocks/blocks.inter").write_text("user_id:token\tmovie:token\nu0\tm0\n")
    with pytest.raises(TokensError, match="lacks the column item_id:token") as caught:
        export(trained["MultiVAE"], "model.onnx", dataset_path=".")
    assert "\n" not in str(caught.value)


def test_a_bare_clone_has_a_plugin_though_nothing_is_installed(
    trained: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "entry_points", lambda group: ())
    folder = str(trained["MultiVAE"].parent)
    export(trained["MultiVAE"], "model.onnx", dataset_path=folder, check=False)
    monkeypatch.setattr(dataset, "__file__", str(Path("multvae_export/checkpoint/dataset.py").absolute()))
    with pytest.raises(TokensError, match=r"^--dataset-path needs RecBole: pip install recbole-multvae$"):
        export(trained["MultiVAE"], "model.onnx", dataset_path=folder)


def test_why_a_plugin_cannot_be_imported_is_kept(trained: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = EntryPoint("broken", "multvae_export.not_there:rebuild", dataset.GROUP)
    monkeypatch.setattr(dataset, "_entry_points", lambda: [plugin])
    with pytest.raises(TokensError, match=r"^--dataset-path needs RecBole") as caught:
        export(trained["MultiVAE"], "model.onnx", dataset_path=".")
    assert str(caught.value.__cause__) == "No module named 'multvae_export.not_there'"


def test_a_model_is_in_memory_only_as_long_as_it_is_used(trained: dict[str, Path]) -> None:
    data = dataset.DataSet(str(trained["MultiVAE"]), str(trained["MultiVAE"].parent))
    model = ref(data.proved_model())
    gc.collect()
    assert data.proof and model() is None
    assert data.proved_model().training is False


def tokens(*items: str) -> list[str]:
    return ["[PAD]", *items, *(f"i{n}" for n in range(20 - len(items)))]


def test_tokens_that_the_training_command_added_are_used(trained: dict[str, Path]) -> None:
    added = {"format_version": 2, "dataset": "blocks", "item_tokens": tokens("first")}
    path = changed(trained["MultiVAE"], Path("x.pth"), lambda c: c.update(recbole_multvae=added))
    assert export(path, "model.onnx").model.tokens == tuple(tokens("first"))


def test_a_data_set_with_its_items_in_another_order_is_refused(trained: dict[str, Path]) -> None:
    added = {"format_version": 2, "dataset": "blocks", "item_tokens": tokens()}
    path = changed(trained["MultiVAE"], Path("x.pth"), lambda c: c.update(recbole_multvae=added))
    folder = trained["MultiVAE"].parent
    with pytest.raises(TokensError, match=r"as its item number 1 is 'i\d+' and not 'i0': name the folder of the data"):
        export(path, "model.onnx", dataset_path=str(folder))
    right = export(trained["MultiVAE"], "model.onnx", dataset_path=str(folder)).model.tokens
    changed(path, path, lambda c: c["recbole_multvae"].update(item_tokens=list(right)))
    assert export(path, "model.onnx", dataset_path=str(folder)).model.tokens == right


@pytest.mark.parametrize(
    ("item_tokens", "message"),
    [
        (tokens("[PAD]"), r"two items have the token '\[PAD\]', which is RecBole's name for padding: rename one of them"),
        (tokens("i1"), "two items have the token 'i1': rename one of them in the data set and train again"),
        (tokens("x", ""), "the item with id 2 has an empty token: name it in the data set and train again"),
        (tokens("x", "\ud800"), "an item token is not Unicode text"),
        (tokens()[:7], "there are 7 item tokens with padding, and the model has 21 items"),
        (7, "the item tokens are not a list of strings"),
        ([*tokens()[:20], 7], "the item tokens are not a list of strings"),
    ],
)
def test_tokens_that_cannot_be_told_apart_are_named(trained: dict[str, Path], item_tokens: Any, message: str) -> None:
    def add(contents: dict[str, Any]) -> None:
        contents["recbole_multvae"] = {"format_version": 2, "item_tokens": item_tokens}

    for model in ("MultVAE", "MultiVAE"):
        change = add if model == "MultiVAE" else lambda c: c["other_parameter"].update(item_tokens=item_tokens)
        path = changed(trained[model], Path("x.pth"), change)
        with pytest.raises(TokensError, match=message):
            export(path, "model.onnx")
