"""Files made to harm whoever reads them: see the threat model in ``multvae_export.reading``.

Most are pickles written by hand, as Python would not write them. The archive that they are put into has one storage, ``0``,
of four float32 numbers.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import pickle
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config

from tests.archive import Calls, named_call, with_pickle

MARK = "executed"
TOUCH = f"open({MARK!r}, 'w').close()"
MANY, DEEP = 10**6, 50_000


def put(code: str, size: int, value: bytes) -> bytes:
    """An instruction whose argument is preceded by its length."""
    return getattr(pickle, code) + len(value).to_bytes(size, "little") + value


def text(value: str) -> bytes:
    return put("BINUNICODE", 4, value.encode())


def octets(value: bytes) -> bytes:
    return put("BINBYTES", 4, value)


def number(value: int) -> bytes:
    return put("LONG1", 1, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))


def row(*parts: bytes) -> bytes:
    return pickle.MARK + b"".join(parts) + pickle.TUPLE


def array_of(*parts: bytes) -> bytes:
    return pickle.EMPTY_LIST + pickle.MARK + b"".join(parts) + pickle.APPENDS


def mapping(**entries: bytes) -> bytes:
    return pickle.EMPTY_DICT + pickle.MARK + b"".join(text(key) + value for key, value in entries.items()) + pickle.SETITEMS


def name(full: str) -> bytes:
    module, _, cls = full.rpartition(".")
    return pickle.GLOBAL + f"{module}\n{cls}\n".encode()


def call(function: str, *arguments: bytes) -> bytes:
    return name(function) + row(*arguments) + pickle.REDUCE


def made(cls: str, state: bytes = b"") -> bytes:
    return name(cls) + pickle.EMPTY_TUPLE + pickle.NEWOBJ + (state + pickle.BUILD if state else b"")


def storage(kind: bytes = name("torch.FloatStorage"), key: bytes = text("0")) -> bytes:
    return row(text("storage"), kind, key, text("cpu"), number(4)) + pickle.BINPERSID


def tensor(size: bytes, stride: bytes, offset: int = 0, held: bytes = storage()) -> bytes:
    no_hooks = call("collections.OrderedDict")
    return call("torch._utils._rebuild_tensor_v2", held, number(offset), size, stride, pickle.NEWFALSE, no_hooks)


def shape(*lengths: int) -> bytes:
    return row(*map(number, lengths))


def dtype(code: str, order: str = "<", fields: bytes = pickle.NONE) -> bytes:
    state = row(number(3), text(order), pickle.NONE, pickle.NONE, fields, number(-1), number(-1), number(0))
    return call("numpy.dtype", text(code), pickle.NEWFALSE, pickle.NEWTRUE) + state + pickle.BUILD


def array(size: bytes, kind: bytes, content: bytes, cls: str = "numpy.ndarray") -> bytes:
    empty = call("numpy.core.multiarray._reconstruct", name(cls), shape(0), octets(b"b"))
    return empty + row(number(1), size, kind, pickle.NEWFALSE, content) + pickle.BUILD


def kept(index: int) -> bytes:
    return pickle.LONG_BINPUT + index.to_bytes(4, "little")


def again(index: int) -> bytes:
    return pickle.LONG_BINGET + index.to_bytes(4, "little")


def laughs(levels: int = 40) -> bytes:
    """A list of ten times a list of ten times a list, and so on: as text, it fills any memory."""
    lists = [array_of(*[again(level)] * 10) + kept(level + 1) for level in range(levels)]
    return row(text("ha") + kept(0), *lists)


def laughing_objects(levels: int = 40) -> bytes:
    """The same with objects, whose class shows its attributes."""
    objects = [made(CONFIG, mapping(a=again(level), b=again(level))) + kept(level + 1) for level in range(levels)]
    return row(text("ha") + kept(0), *objects)


def _nested_arrays(levels: int) -> bytes:
    """An array of a list of an array of a list, and so on."""
    empty = call("numpy.core.multiarray._reconstruct", name("numpy.ndarray"), shape(0), octets(b"b"))
    start = empty + pickle.MARK + number(1) + shape(1) + again(0) + pickle.NEWFALSE + pickle.EMPTY_LIST * 2
    return row(
        dtype("O8", "|") + kept(0), start * levels, pickle.NONE, (pickle.APPEND * 2 + pickle.TUPLE + pickle.BUILD) * levels
    )


NEST = pickle.EMPTY_TUPLE + pickle.TUPLE1 * (MANY // 3)
CONFIG, MODEL_TYPE = "recbole.config.configurator.Config", "recbole.utils.enum_type.ModelType"


class HookedConfig(Config):
    """A Config with a hook that pickle would call."""

    def __init__(self) -> None:
        self.final_config_dict: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        Path(MARK).touch()


#: Files that would run something: threats 1 and 2, and constructors (3).
PROGRAMS: dict[str, Any] = {
    "os.system through reduce": Calls(os.system, f"touch {MARK}"),
    "builtins.eval": Calls(eval, TOUCH),
    "builtins.exec": Calls(exec, TOUCH),
    "builtins.open": Calls(open, MARK, "w"),
    "__import__": Calls(builtins.__import__, "antigravity"),
    "a nested pickle": {"state_dict": [Calls(pickle.loads, pickle.dumps(Calls(os.system, f"touch {MARK}")))]},
    "a torch.hub call": Calls(torch.hub.load, "nobody/nothing", "model"),
    "torch.load": named_call("torch.serialization", "load", "other.pth"),
    "a Config subclass with a hook": HookedConfig(),
    "a Config that is called": Calls(Config, "MultVAE", "ml-100k", None, {"seed": TOUCH}),
    "getattr": Calls(getattr, "text", "format"),
    "getattr of a class": Calls(getattr, Config, "_convert_config_dict"),
    "a getattr chain": Calls(getattr, Calls(getattr, Config, "_load_cmd_line"), "__globals__"),
    "a dotted name": named_call("recbole.utils.utils", "os.system", f"touch {MARK}"),
    "a borrowed module": named_call("recbole.data.utils", "pickle", "x"),
    "a borrowed function": named_call("recbole.utils.utils", "importlib", "os"),
    "a function of RecBole": named_call("recbole.utils.utils", "ensure_dir", MARK),
    "a numpy loader": named_call("numpy.lib.npyio", "load", "x"),
    "a torch module": Calls(torch.nn.Linear, 3, 4),
    "a protocol 0 instance": b"(S'touch " + MARK.encode() + b"'\nios\nsystem\n.",
    "an object of a class": named_call("subprocess", "Popen", f"touch {MARK}", opcodes=b"t\x81."),
    "an object with arguments": name(CONFIG) + row(text("MultVAE")) + pickle.NEWOBJ + b".",
    "a stack of globals": b"\x80\x02" + b"cos\nsystem\n" * 1000 + b".",
    "an extension code": b"\x80\x02\x82\x01.",
    "a build on a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.",
    "an object with keyword arguments": name(CONFIG) + row() + mapping() + pickle.NEWOBJ_EX + b".",
    "a name that is no text": array_of() + text("system") + pickle.STACK_GLOBAL + b".",
    "a call with a list": name("torch.device") + array_of(text("cpu")) + pickle.REDUCE + b".",
    "a call of a value": text("cpu") + row() + pickle.REDUCE + b".",
}

#: Files that would change objects which exist before the file is read: threat 3.
CHANGES: dict[str, bytes] = {
    "attributes of a class": name(CONFIG) + mapping(get=number(1)) + pickle.BUILD,
    "attributes of an enum": call(MODEL_TYPE, number(1)) + mapping(name=number(1)) + pickle.BUILD,
    "attributes of a logger": call("logging.getLogger") + mapping(handlers=array_of()) + pickle.BUILD,
    "attributes of a tensor": tensor(shape(4), shape(1)) + mapping(cpu=number(1)) + pickle.BUILD,
    "attributes without names": made(CONFIG, pickle.EMPTY_DICT + number(1) + number(1) + pickle.SETITEM),
    "attributes of a slot": made(CONFIG, row(pickle.NONE, mapping(__class__=name("torch.nn.modules.linear.Linear")))),
    "an object that is filled twice": made(CONFIG, mapping()) + mapping(get=number(1)) + pickle.BUILD,
    "an array that is filled twice": array(shape(1), dtype("f4"), octets(bytes(4)))
    + row(number(1), shape(2), dtype("f4"), pickle.NEWFALSE, octets(bytes(8)))
    + pickle.BUILD,
    "a value of a list": array_of() + number(0) + number(0) + pickle.SETITEM,
    "more of an object": made(CONFIG) + pickle.MARK + number(0) + pickle.APPENDS,
    "more of a dict": mapping() + number(0) + pickle.APPEND,
    "more of a text": text("a") + pickle.MARK + number(0) + pickle.ADDITEMS,
    "a logger of many parts": call("logging.getLogger", text("a." * 1000)),
}

#: Small files that would cost much: memory (threat 6), time (7), depth of the stack (8), text (9).
BOMBS: dict[str, bytes] = {
    "laughs": laughs(),
    "laughs of an object": made(CONFIG, mapping(keys=laughs())),
    "laughs of objects": laughing_objects(),
    "laughs as a device": call("torch.device", laughs()),
    "laughs as a class": laughs() + row() + pickle.NEWOBJ,
    "laughs as arguments": name(CONFIG) + laughs() + pickle.NEWOBJ,
    "laughs as attributes": made(CONFIG, laughs()),
    "laughs as a function": laughs() + row() + pickle.REDUCE,
    "laughs as a name in full": text("recbole") + laughs() + pickle.STACK_GLOBAL,
    "laughs as a shape": tensor(laughs(), shape(1)),
    "laughs as a name": call("builtins.getattr", name(MODEL_TYPE), laughs()),
    "laughs as a storage": tensor(shape(4), shape(1), held=storage(key=laughs())),
    "laughs as a type of storage": tensor(shape(4), shape(1), held=storage(kind=laughs())),
    "laughs as a NumPy type": call("numpy.dtype", laughs()),
    "laughs in an array": array(shape(1), dtype("O8", "|"), array_of(laughs())),
    "a long text, again and again": text("a" * MANY) + kept(0) + array_of(*[again(0)] * 1000),
    "nested tuples as a key": pickle.EMPTY_DICT + NEST + pickle.NONE + pickle.SETITEM,
    "nested tuples in a set": pickle.EMPTY_SET + pickle.MARK + NEST + pickle.ADDITEMS,
    "nested tuples in a set of protocol 2": call("builtins.set", array_of(NEST)),
    "nested tuples as an enum's value": call(MODEL_TYPE, NEST),
    "nested tuples as a factory": call("collections.defaultdict", NEST),
    "nested tuples as a logger": call("logging.getLogger", NEST),
    "arrays of lists of arrays": _nested_arrays(DEEP),
    "nested dicts with defaults": (call("collections.defaultdict") + text("a")) * DEEP + pickle.NONE + pickle.SETITEM * DEEP,
    "nested arrays": array(shape(1), dtype("O8", "|"), array_of(array(shape(1), dtype("f4"), octets(bytes(4))))),
    "a list of lists in an array": array(shape(1), dtype("O8", "|"), array_of(array_of(pickle.EMPTY_LIST))),
    "a dict with defaults in an array": array(shape(1), dtype("O8", "|"), array_of(call("collections.defaultdict"))),
    "a long tuple as a key": pickle.EMPTY_DICT + row(*[number(1)] * 100) + pickle.NONE + pickle.SETITEM,
    "keys that collide": pickle.EMPTY_DICT
    + pickle.MARK
    + b"".join(number(i * (2**61 - 1)) + pickle.NONE for i in range(10_000))
    + pickle.SETITEMS,
    "pairs that collide": pickle.EMPTY_DICT + row(number(1), number(2**60)) + pickle.NONE + pickle.SETITEM,
    "bytes, again and again": text("a" * MANY)
    + kept(0)
    + array_of(*[call("_codecs.encode", again(0), text("latin1"))] * 1000),
    "a set, again and again": array_of(*map(number, range(1000)))
    + kept(0)
    + array_of(*[call("builtins.set", again(0))] * 1000),
    "an array, again and again": octets(bytes(MANY))
    + kept(0)
    + array_of(*[array(shape(MANY), dtype("i1", "|"), again(0))] * 1000),
    "a text of NumPy's, again and again": octets(bytes(4 * MANY))
    + kept(0)
    + dtype(f"U{MANY}")
    + kept(1)
    + array_of(*[call("numpy.core.multiarray.scalar", again(1), again(0))] * 1000),
    "attributes, again and again": mapping(**{f"a{n}": pickle.NONE for n in range(10_000)})
    + kept(0)
    + name(CONFIG)
    + kept(1)
    + array_of(*[again(1) + pickle.EMPTY_TUPLE + pickle.NEWOBJ + again(0) + pickle.BUILD] * 10_000),
    "a long name": text("recbole." + "a" * MANY) + text("a" * MANY) + pickle.STACK_GLOBAL,
    "a long number": pickle.LONG4 + (2**31 - 1).to_bytes(4, "little"),
    "bytes of a length": call("builtins.bytes", number(10**12)),
    "a text of 4 GB": pickle.BINUNICODE + b"\xff\xff\xff\xff",
    "bytes of 8 EB": pickle.BINBYTES8 + (2**63 - 1).to_bytes(8, "little"),
    "a frame of 8 EB": pickle.FRAME + (2**63 - 1).to_bytes(8, "little"),
    "a value that is not there": again(2**32 - 1),
}

#: Tensors and arrays that do not fit their bytes: threat 5, and a part outside of the archive (4).
LIES: dict[str, bytes] = {
    "a tensor longer than its storage": tensor(shape(5), shape(1)),
    "a tensor that starts late": tensor(shape(4), shape(1), offset=1),
    "a tensor that starts before its storage": tensor(shape(4), shape(1), offset=-1),
    "a tensor with a negative length": tensor(shape(-2, -2), shape(1, 1)),
    "a tensor with a negative step": tensor(shape(4), shape(-1)),
    "a tensor with long steps": tensor(shape(2), shape(4)),
    "an expanded tensor": tensor(shape(10**12), shape(0)),
    "an expanded tensor of little more": tensor(shape(5), shape(0)),
    "a tensor that overflows": tensor(shape(2**32, 2**32), shape(2**32, 1)),
    "an empty tensor with a long side": tensor(shape(0, 2**62), shape(1, 1)),
    "a shape of numbers of 2000 bits": tensor(shape(*[2**2000] * 30), shape(*[1] * 30)),
    "a shape of many lengths": tensor(row(*[number(1)] * 1000), row(*[number(1)] * 1000)),
    "a shape that is a list": tensor(array_of(number(4)), shape(1)),
    "a shape of texts": tensor(row(text("4")), shape(1)),
    "a list, a billion times": tensor(row(array_of(number(1)), number(10**9)), shape(1, 1)),
    "steps of another number": tensor(shape(2, 2), shape(1)),
    "a tensor of text": tensor(shape(4), shape(1), held=text("0")),
    "a type that is no storage": tensor(shape(4), shape(1), held=storage(kind=name(CONFIG))),
    "a storage of another part": tensor(shape(4), shape(1), held=storage(key=text("../data.pkl"))),
    "a storage that is not there": tensor(shape(4), shape(1), held=storage(key=text("9" * 1000))),
    "a parameter of text": call(
        "torch._utils._rebuild_parameter", text("a"), pickle.NEWTRUE, call("collections.OrderedDict")
    ),
    "a size of texts": call("torch.Size", row(text("a"))),
    "a device of no kind": call("torch.device", number(7)),
    "an array longer than its bytes": array(shape(5), dtype("f4"), octets(bytes(16))),
    "an array shorter than its bytes": array(shape(3), dtype("f4"), octets(bytes(16))),
    "an array of a wider type": array(shape(4), dtype("f8"), octets(bytes(16))),
    "an array that overflows": array(shape(2**32, 2**32), dtype("f4"), octets(b"")),
    "an array with a negative length": array(shape(-2, -2), dtype("f4"), octets(bytes(16))),
    "an empty array with a long side": array(shape(0, 2**62), dtype("f4"), octets(b"")),
    "an array of text": array(shape(4), dtype("f4"), text("aaaa" * 4)),
    "an array of a shape of texts": array(row(text("4")), dtype("f4"), octets(bytes(16))),
    "an array of texts without width": array(shape(2**40), dtype("U0"), octets(b"")),
    "an array of no type": array(shape(4), text("f4"), octets(bytes(16))),
    "an array of pointers": array(shape(2), dtype("O8", "|"), octets(bytes(16))),
    "an array of a pointer a byte": array(shape(2), dtype("O8", "|"), octets(bytes(2))),
    "an array of too few objects": array(shape(2), dtype("O8", "|"), array_of(number(1))),
    "an array of numbers in a list": array(shape(1), dtype("f4"), array_of(number(1))),
    "an array of another class": array(shape(4), dtype("f4"), octets(bytes(16)), cls=CONFIG),
    "an array of lists": array(shape(4), dtype("f4"), octets(bytes(16)), cls="builtins.list"),
    "a big-endian array": array(shape(4), dtype("f4", ">"), octets(bytes(16))),
    "a type with fields": dtype("f4", fields=mapping(a=number(1))),
    "a type of parts": dtype("f4,f4"),
    "a type of raw memory": dtype("V16"),
    "a type of dates": dtype("M8"),
    "a type that is a number": call("numpy.dtype", number(4)),
    "a number of too few bytes": call("numpy.core.multiarray.scalar", dtype("f8"), octets(bytes(4))),
    "a number that is a pointer": call("numpy.core.multiarray.scalar", dtype("O8", "|"), octets(bytes(8))),
    "a number of text": call("numpy.core.multiarray.scalar", dtype("f4"), text("aaaa")),
    "bytes of another encoding": call("_codecs.encode", text("a"), text("rot13")),
    "an array that is never filled, as text": call("numpy.core.multiarray._reconstruct", text("a"), shape(0), octets(b"b")),
}

#: Deeply nested values that are harmless where nothing recurses into them: not refused for threat 8.
NESTS: dict[str, bytes] = {
    "lists": pickle.EMPTY_LIST * DEEP + pickle.APPEND * (DEEP - 1),
    "tuples": pickle.EMPTY_TUPLE + pickle.TUPLE1 * DEEP,
    "dicts": (pickle.EMPTY_DICT + text("a")) * DEEP + pickle.NONE + pickle.SETITEM * DEEP,
    "ordered dicts": (call("collections.OrderedDict") + text("a")) * DEEP + pickle.NONE + pickle.SETITEM * DEEP,
    "objects": (made(CONFIG) + pickle.EMPTY_DICT + text("a")) * DEEP + pickle.NONE + (pickle.SETITEM + pickle.BUILD) * DEEP,
    "a list of itself": pickle.EMPTY_LIST + kept(0) + again(0) + pickle.APPEND,
    "marks": pickle.MARK * MANY + pickle.NONE,
}

PICKLES = CHANGES | BOMBS | LIES


def write(content: Any, path: Path) -> None:
    """Write one of the above as a checkpoint."""
    if not isinstance(content, bytes):
        torch.save(content, path, pickle_protocol=4)
        return
    torch.save({"weight": torch.zeros(4)}, path)
    with_pickle(path, content if content.endswith(b".") else content + pickle.STOP, path)


@contextlib.contextmanager
def small_and_quick(megabytes: int = 400, seconds: float = 60) -> Iterator[None]:
    """Fail if the body takes much memory or much time."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < megabytes * 1024
    assert time.perf_counter() - start < seconds
