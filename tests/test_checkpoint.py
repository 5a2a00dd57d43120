from __future__ import annotations

import io
import logging
import os
import pickle
import random
import re
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from multvae_export.checkpoint.records import Record, read
from multvae_export.reading import PACKAGES, Name
from recbole.utils import ModelType

from recbole_multvae import checkpoint
from recbole_multvae.errors import CheckpointError
from tests import hostile
from tests.archive import Calls, parts_of, with_pickle
from tests.conftest import QUIET, Experiment


@pytest.mark.parametrize("name", [*hostile.PROGRAMS, *hostile.PICKLES])
def test_hostile_file_is_refused_and_nothing_runs(name: str) -> None:
    hostile.write((hostile.PROGRAMS | hostile.PICKLES)[name], Path("hostile.pth"))
    with (
        hostile.small_and_quick(),
        pytest.raises(CheckpointError, match=r"^\S.* checkpoint hostile.pth[: ].*[^.]\.$") as caught,
    ):
        checkpoint.load("hostile.pth")
    assert len(str(caught.value)) < 1000
    assert {entry.name for entry in Path().iterdir()} == {"hostile.pth"}


@pytest.mark.parametrize("name", hostile.NESTS)
def test_deeply_nested_values_are_read_and_freed(name: str) -> None:
    hostile.write(hostile.NESTS[name], Path("deep.pth"))
    with hostile.small_and_quick():
        checkpoint.load("deep.pth")


def test_list_in_an_array_does_not_grow_later() -> None:
    inside = hostile.array_of(hostile.array_of(hostile.number(7)) + hostile.kept(0))
    array = hostile.array(hostile.shape(1), hostile.dtype("O8", "|"), inside) + hostile.kept(1)
    grown = hostile.again(0) + hostile.again(1) + pickle.APPEND
    hostile.write(hostile.array_of(array, grown), Path("grown.pth"))
    for load in (checkpoint.load, read):
        array, grown = load("grown.pth")
        assert array.tolist() == [[7]] and len(grown) == 2


@pytest.mark.parametrize("name", ["scipy.sparse._csr.csr_matrix", hostile.CONFIG])
def test_attribute_that_hides_a_method(name: str) -> None:
    method = "check_format" if "csr" in name else "_get_model_and_dataset"
    hidden = {method: hostile.name("torch.nn.modules.linear.Linear")}
    hostile.write(hostile.made(name, hostile.mapping(**hidden)), Path("hostile.pth"))
    with pytest.raises(CheckpointError, match=f"would hide the method {method} of "):
        checkpoint.load("hostile.pth")


def test_refusal_names_what_was_refused_and_what_to_do() -> None:
    torch.save(Calls(os.system, "true"), "hostile.pth")
    with pytest.raises(CheckpointError, match=r"posix.system is not something that RecBole writes.*add_safe_globals"):
        checkpoint.load("hostile.pth")


@pytest.mark.parametrize("name", ["recbole.data.utils.pickle", "recbole.utils.utils.ensure_dir", "scipy.sparse.csr_matrix"])
def test_what_is_not_a_class_of_its_module_is_refused_as_a_value_too(name: str) -> None:
    hostile.write(hostile.name(name) + b".", Path("hostile.pth"))
    with pytest.raises(CheckpointError, match=f"{name} is not something that RecBole writes"):
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


def test_flipped_bytes_of_the_pickle_never_crash(blocks: str) -> None:
    experiment = Experiment("MultVAE")
    experiment.trainer._save_checkpoint(0, verbose=False)
    source = Path(experiment.trainer.saved_model_file)
    pickled = next(value for name, value in parts_of(source).items() if name.endswith("/data.pkl"))
    rng = random.Random(0)
    refused = 0
    for _ in range(300):
        flipped = bytearray(pickled)
        for _ in range(rng.choice((1, 1, 4, 16))):
            flipped[rng.randrange(len(pickled))] ^= 1 << rng.randrange(8)
        try:
            checkpoint.load(with_pickle(source, bytes(flipped), Path("flipped.pth")))
        except CheckpointError:
            refused += 1
    assert 50 < refused < 300


def test_missing_file() -> None:
    with pytest.raises(CheckpointError, match=r"Cannot load the checkpoint none.pth: .*No such file"):
        checkpoint.load("none.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_refused() -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), "program.pth")
    with pytest.raises(CheckpointError, match="TorchScript"):
        checkpoint.load("program.pth")


def test_plain_torch_files_load() -> None:
    content = {"a": torch.arange(3), "b": [1, "x", None], "c": torch.arange(6).reshape(2, 3).T, "d": {(1, 2): -(2**62)}}
    for protocol in (2, 4):
        torch.save(content, "plain.pth", pickle_protocol=protocol)
        for file in ("plain.pth", Path("plain.pth"), io.BytesIO(Path("plain.pth").read_bytes())):
            loaded = checkpoint.load(file)
            assert torch.equal(loaded["a"], torch.arange(3))
            assert torch.equal(loaded["c"], content["c"])
            assert (loaded["b"], loaded["d"]) == (content["b"], content["d"])


def test_form_of_torch_before_version_1_6_is_refused() -> None:
    torch.save({"a": torch.arange(3)}, "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"it begins with b'\\x80.*, as they do since torch 1.6\.$"):
        checkpoint.load("old.pth")


@pytest.mark.parametrize("package", ["numpy.core", "numpy._core"])
def test_arrays_of_numpy_1_and_of_numpy_2(package: str) -> None:
    content = {"numbers": np.arange(6.0), "tokens": np.array(["[PAD]", "a"], dtype=object), "score": np.float64(0.5)}
    torch.save(content, "saved.pth", pickle_protocol=2)
    pickled = next(value for name, value in parts_of(Path("saved.pth")).items() if name.endswith("/data.pkl"))
    pickled, replaced = re.subn(rb"cnumpy\._?core\.", f"c{package}.".encode(), pickled)
    assert replaced >= 2
    with_pickle(Path("saved.pth"), pickled, Path("other.pth"))
    for loaded in (checkpoint.load("other.pth"), read("other.pth")):
        assert all(np.array_equal(loaded[name], value) for name, value in content.items())


@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_and_numbers_are_what_was_saved(protocol: int) -> None:
    content: dict[str, Any] = {
        "whole": np.arange(6).reshape(2, 3),
        "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "every other": np.arange(6, dtype=np.float32)[::2],
        "long": np.arange(10_000, dtype=np.int32),
        "texts": np.array(["[PAD]", "a", "\u00e9"]),
        "truth": np.array([True, False]),
        "empty": np.zeros((0, 3)),
        "number": np.float64(0.5),
        "lists": np.array([[1], [2, 3]], dtype=object),
        "matrix": np.arange(4).reshape(2, 2).view(np.matrix),
        "set": {1, 2},
        "bytes": b"\xff\x00",
        "shape": torch.Size((2, 3)),
    }
    torch.save(content, "arrays.pth", pickle_protocol=protocol)
    live, inert = checkpoint.load("arrays.pth"), read("arrays.pth")
    for name, value in content.items():
        if isinstance(value, np.ndarray):
            assert type(live[name]) is type(value), name
            assert type(inert[name]) is np.ndarray, name
            assert live[name].dtype == inert[name].dtype == value.dtype, name
            assert live[name].flags.writeable
        assert np.array_equal(live[name], value), name
        assert np.array_equal(inert[name], value), name
    assert type(live["number"]) is np.float64
    assert type(inert["number"]) is float


def test_tensors_that_share_memory_share_it_again() -> None:
    whole = torch.arange(6)
    torch.save([whole, whole[2:4], torch.nn.Parameter(torch.ones(2), requires_grad=False)], "views.pth")
    for load in (checkpoint.load, read):
        first, second, third = load("views.pth")
        first[2] = 7
        assert second.tolist() == [7, 3]
        assert not third.requires_grad


def test_map_location() -> None:
    torch.save(torch.ones(2), "plain.pth")
    assert checkpoint.load("plain.pth", map_location=torch.device("meta")).is_meta
    assert checkpoint.load("plain.pth", map_location={"cpu": "meta"}).is_meta
    seen: list[str] = []
    checkpoint.load("plain.pth", map_location=lambda content, location: seen.append(location))
    assert seen == ["cpu"]


def test_loggers() -> None:
    torch.save([logging.getLogger(), logging.getLogger("recbole_multvae.known")], "loggers.pth")
    assert checkpoint.load("loggers.pth") == [logging.getLogger(), logging.getLogger("recbole_multvae.known")]
    torch.save(Calls(logging.getLogger, "never.heard.of"), "loggers.pth")
    with pytest.raises(CheckpointError, match="it has a logger that this program does not have"):
        checkpoint.load("loggers.pth")
    assert "never" not in logging.Logger.manager.loggerDict


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
RECBOLE_MODELS = [
    *("BPR", "Pop", "EASE", "ItemKNN", "LightGCN", "MultiVAE", "RecVAE", "MacridVAE"),
    *("FM", "KGCN", "RippleNet", "SASRecF", "DIEN"),
]
LIKELIHOOD_OVER_ALL_ITEMS = ("MultiVAE", "RecVAE", "MacridVAE", "SASRecF")


def described(value: Any, depth: int = 6) -> Any:
    """What a value is, in a form that is the same for an object and for the record of one."""
    if isinstance(value, torch.Tensor):
        return value.dtype, value.shape, value.stride(), value.double().sum().item()
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes() if value.dtype != object else described(value.tolist())
    if isinstance(value, list | tuple | dict) and depth < 0:
        return None
    if isinstance(value, dict):
        return {plain(key): described(part, depth - 1) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [described(part, depth - 1) for part in value]
    if isinstance(value, Record):
        return value.cls, described(value.state, depth - 1)
    if type(value).__module__.startswith(PACKAGES) and not isinstance(value, Enum):
        return Name(type(value).__module__, type(value).__qualname__), described(vars(value), depth - 1)
    return plain(value)


def plain(value: Any) -> Any:
    match value:
        case type():
            return Name(value.__module__, value.__qualname__)
        case Enum():
            return value.value
        case np.generic():
            return value.item()
        case torch.device():
            return str(value)
        case logging.Logger():
            return None
    return value


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

    assert described(read(experiment.trainer.saved_model_file)) == described(
        checkpoint.load(experiment.trainer.saved_model_file)
    )
    other = Experiment(name, "ml-100k", QUIET, **keys)
    for parameter in other.model.parameters():
        parameter.data.zero_()
    other.trainer.resume_checkpoint(experiment.trainer.saved_model_file)
    assert other.trainer.start_epoch == 1
    other.trainer.evaluate(other.test_data, model_file=experiment.trainer.saved_model_file)
    for parameter, value in other.model.state_dict().items():
        assert torch.equal(value, expected[parameter]), parameter
