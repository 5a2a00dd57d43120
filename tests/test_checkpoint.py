from __future__ import annotations

import builtins
import io
import os
import pickle
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.config import Config
from recbole.utils import ModelType

from recbole_multvae import checkpoint
from recbole_multvae.errors import CheckpointError
from tests.archive import Calls, named_call, with_pickle
from tests.conftest import QUIET, Experiment

MARK = "executed"
TOUCH = f"open({MARK!r}, 'w').close()"

HOSTILE: dict[str, Any] = {
    "os.system": Calls(os.system, f"touch {MARK}"),
    "eval": Calls(eval, TOUCH),
    "exec": Calls(exec, TOUCH),
    "open": Calls(open, MARK, "w"),
    "import": Calls(builtins.__import__, "antigravity"),
    "nested": {"state_dict": [Calls(pickle.loads, pickle.dumps(Calls(os.system, f"touch {MARK}")))]},
    "hub": Calls(torch.hub.load, "nobody/nothing", "model"),
    "torch.load": Calls(torch.load, "other.pth"),
    "config": Calls(Config, "MultVAE", "ml-100k", None, {"seed": f"__import__('os').system('touch {MARK}')"}),
    "getattr": Calls(getattr, "text", "format"),
    "getattr of a class": Calls(getattr, Config, "_convert_config_dict"),
    "dotted": named_call("recbole.utils.utils", "os.system", f"touch {MARK}"),
    "borrowed": named_call("recbole.utils.utils", "importlib", "os"),
    "imported": named_call("recbole.data.utils", "pickle", "x"),
    "function": named_call("recbole.utils.utils", "ensure_dir", MARK),
    "numpy": named_call("numpy.lib.npyio", "load", "x"),
    "module class": Calls(torch.nn.Linear, 3, 4),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_and_nothing_runs(name: str) -> None:
    content = HOSTILE[name]
    if isinstance(content, bytes):
        torch.save({"state_dict": {}}, "plain.pth")
        with_pickle(Path("plain.pth"), content, Path("hostile.pth"))
    else:
        torch.save(content, "hostile.pth", pickle_protocol=4)
    with pytest.raises(CheckpointError, match=r"hostile.pth"):
        checkpoint.load("hostile.pth")
    assert not Path(MARK).exists()


def test_refusal_names_what_was_refused_and_what_to_do() -> None:
    torch.save(Calls(os.system, "true"), "hostile.pth")
    with pytest.raises(CheckpointError, match=r"posix.system is not something that RecBole writes.*add_safe_globals"):
        checkpoint.load("hostile.pth")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_damaged_file(content: bytes) -> None:
    Path("damaged.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"The checkpoint damaged.pth is damaged or is not one of RecBole's: \S"):
        checkpoint.load("damaged.pth")


def test_truncated_file(blocks: str) -> None:
    experiment = Experiment("MultVAE")
    experiment.fit()
    path = Path(experiment.trainer.saved_model_file)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.load(path)


def test_missing_file() -> None:
    with pytest.raises(CheckpointError, match=r"Cannot load the checkpoint none.pth: .*No such file"):
        checkpoint.load("none.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_refused() -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), "program.pth")
    with pytest.raises(CheckpointError, match="TorchScript"):
        checkpoint.load("program.pth")


def test_plain_torch_files_load() -> None:
    torch.save({"a": torch.arange(3), "b": [1, "x", None]}, "plain.pth")
    loaded = checkpoint.load("plain.pth")
    assert torch.equal(loaded["a"], torch.arange(3))
    torch.save({"a": torch.arange(3)}, "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(checkpoint.load("old.pth")["a"], torch.arange(3))
    buffer = io.BytesIO(Path("plain.pth").read_bytes())
    assert checkpoint.load(buffer)["b"] == [1, "x", None]


def test_enum_member_pickled_by_name() -> None:
    # As some releases of Python 3.11 write it.
    torch.save({"type": Calls(getattr, ModelType, "GENERAL")}, "enum.pth")
    assert checkpoint.load("enum.pth")["type"] is ModelType.GENERAL


class Mine:
    pass


def test_own_class_loads_once_it_is_declared_safe() -> None:
    thing = Mine()
    thing.value = 3
    torch.save(thing, "mine.pth")
    with pytest.raises(CheckpointError, match=r"test_checkpoint.Mine is not .*add_safe_globals\(\[Mine\]\)"):
        checkpoint.load("mine.pth")
    with torch.serialization.safe_globals([Mine]):
        assert checkpoint.load("mine.pth").value == 3


class Colour(Enum):
    RED = 1


def test_only_recbole_s_calls_of_torch_load_are_replaced() -> None:
    torch.save({"colour": Colour.RED}, "enum.pth")
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        torch.load("enum.pth")
    assert torch.load("enum.pth", weights_only=False)["colour"] is Colour.RED


#: One model of each kind of checkpoint: plain weights, tensors, NumPy and SciPy matrices as other parameters, an
#: embedding layer with the whole data set inside, nested containers.
RECBOLE_MODELS = ["BPR", "Pop", "EASE", "ItemKNN", "LightGCN", "MultiVAE", "FM", "KGCN", "RippleNet", "SASRecF", "DIEN"]
LIKELIHOOD_OVER_ALL_ITEMS = ("MultiVAE", "SASRecF")


@pytest.mark.parametrize("name", RECBOLE_MODELS)
def test_recbole_s_models_are_saved_and_loaded(name: str) -> None:
    keys: dict[str, Any] = {"user_inter_num_interval": "[400,inf)", "epochs": 1}
    if name in LIKELIHOOD_OVER_ALL_ITEMS:
        keys["train_neg_sample_args"] = None
    experiment = Experiment(name, "ml-100k", QUIET, **keys)
    if name == "Pop":  # It counts while it trains; the others have something to save from the start.
        experiment.fit()
    experiment.trainer._save_checkpoint(0, verbose=False)
    expected = experiment.model.state_dict()

    other = Experiment(name, "ml-100k", QUIET, **keys)
    for parameter in other.model.parameters():
        parameter.data.zero_()
    other.trainer.resume_checkpoint(experiment.trainer.saved_model_file)
    assert other.trainer.start_epoch == 1
    other.trainer.evaluate(other.test_data, model_file=experiment.trainer.saved_model_file)
    for parameter, value in other.model.state_dict().items():
        assert torch.equal(value, expected[parameter]), parameter
