"""Reading a ``.pth`` that nobody vouches for.

Nothing of ``torch.load`` is used. The archive is read with ``zipfile``, which checks the CRC of every part, and the pickle
inside by an interpreter that knows the few opcodes ``torch.save`` writes, calls only functions of this file, and turns every
object of RecBole into an inert record of its name and attributes. No class is imported and no constructor runs.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from multvae_export.errors import DamagedCheckpointError, NotACheckpointError, UnsafeCheckpointError

#: Storage classes, as torch.save names them.
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclass(frozen=True)
class Name:
    """A class that the file refers to, by name only."""

    module: str
    name: str


@dataclass
class Record:
    """An object of the file: the name of its class and its attributes."""

    cls: Name
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Function:
    """A function that the file may call, and what is called instead."""

    call: Any


@dataclass(frozen=True)
class _Storage:
    data: bytes
    dtype: torch.dtype


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """What torch._utils._rebuild_tensor_v2 makes, for contiguous tensors that lie inside their storage."""
    count = math.prod(size)
    contiguous = tuple(math.prod(size[n + 1 :]) for n in range(len(size)))
    whole = isinstance(storage, _Storage) and min(offset, *size, 0) == 0
    if not whole or (count and stride != contiguous) or (offset + count) * storage.dtype.itemsize > len(storage.data):
        raise DamagedCheckpointError(f"a tensor of shape {size} does not fit its storage")
    if not count:
        return torch.empty(size, dtype=storage.dtype)
    start = offset * storage.dtype.itemsize
    flat = torch.frombuffer(bytearray(storage.data), dtype=storage.dtype, count=count, offset=start)
    return flat.reshape(size)


def _member(enum: Any, name: Any) -> str:
    # Some releases of Python 3.11 pickle an enum member as getattr(cls, name).
    if not isinstance(enum, Name) or enum.module != "recbole.utils.enum_type":
        raise UnsafeCheckpointError("it calls getattr, which RecBole writes for its enums only")
    return str(name)


@dataclass(frozen=True)
class _Number:
    """A NumPy number type; its state (byte order and the like) is not needed: RecBole writes native ones."""

    code: str


def _scalar(kind: Any, data: Any) -> float | int:
    # A best_valid_score is a NumPy number.
    formats = {"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i"}
    if not isinstance(kind, _Number) or kind.code not in formats:
        raise DamagedCheckpointError(f"a NumPy number is of kind {kind}, expected one of {', '.join(formats)}")
    return struct.unpack(formats[kind.code], data)[0]


#: The functions that a checkpoint of the supported models calls.
FUNCTIONS = {
    ("numpy", "dtype"): Function(lambda code, *_: _Number(str(code))),
    ("numpy.core.multiarray", "scalar"): Function(_scalar),
    ("numpy._core.multiarray", "scalar"): Function(_scalar),
    ("torch._utils", "_rebuild_tensor_v2"): Function(_tensor),
    ("collections", "OrderedDict"): Function(lambda *pairs: OrderedDict(*pairs)),
    ("torch", "device"): Function(lambda *names: ":".join(map(str, names))),
    ("builtins", "getattr"): Function(_member),
}
ENUM = Function(lambda value: value)


def _resolve(module: str, name: str) -> Any:
    if (module, name) in FUNCTIONS:
        return FUNCTIONS[module, name]
    if module == "torch" and name in DTYPES:
        return Name(module, name)
    # Classes of RecBole and of the plugin are names only, and so harmless; dots would reach into them.
    if module.startswith(("recbole.", "recbole_multvae.")) and name.isidentifier():
        return Name(module, name)
    if (module, name) == ("yaml.loader", "FullLoader"):
        return Name(module, name)
    raise UnsafeCheckpointError(f"it refers to {module}.{name}, which RecBole does not write for a supported model")


class _Interpreter(pickle._Unpickler):
    """Python's own unpickler in Python, less every opcode that ``torch.save`` has no use for."""

    dispatch: ClassVar[dict[int, Any]] = {}
    stack: list[Any]

    def __init__(self, data: bytes, storage: Any) -> None:
        super().__init__(io.BytesIO(data))
        self.storage = storage

    def persistent_load(self, pid: Any) -> Any:
        return self.storage(pid)

    def find_class(self, module: str, name: str) -> Any:
        return _resolve(module, name)

    def reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack[-1]
        if isinstance(function, Name) and function.module == "recbole.utils.enum_type":
            function = ENUM
        if not isinstance(function, Function) or not isinstance(arguments, tuple):
            raise UnsafeCheckpointError(f"it calls {_describe(function)}, which RecBole does not write")
        self.stack[-1] = function.call(*arguments)

    def new_object(self) -> None:
        arguments = self.stack.pop()
        cls = self.stack[-1]
        if not isinstance(cls, Name) or arguments != ():
            raise UnsafeCheckpointError(f"it creates an object of {_describe(cls)}, which RecBole does not write")
        self.stack[-1] = Record(cls)

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Record) and isinstance(state, dict):
            target.state = state
        elif not isinstance(target, (OrderedDict, _Number)):  # A state_dict has _metadata, which is not needed.
            raise UnsafeCheckpointError(f"it sets attributes of {_describe(target)}, which RecBole does not write")


def _describe(thing: Any) -> str:
    return f"{thing.module}.{thing.name}" if isinstance(thing, Name) else f"a {type(thing).__name__}"


#: What torch.save writes in pickle protocols 2 and 4: values, containers, memo, and the opcodes handled above.
_OPCODES = (
    "PROTO FRAME STOP MARK POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE "
    "SHORT_BINBYTES BINBYTES EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS "
    "BINPUT LONG_BINPUT BINGET LONG_BINGET MEMOIZE GLOBAL STACK_GLOBAL BINPERSID"
)
for _opcode in _OPCODES.split():
    _Interpreter.dispatch[getattr(pickle, _opcode)[0]] = pickle._Unpickler.dispatch[getattr(pickle, _opcode)[0]]
_Interpreter.dispatch[pickle.REDUCE[0]] = _Interpreter.reduce
_Interpreter.dispatch[pickle.NEWOBJ[0]] = _Interpreter.new_object
_Interpreter.dispatch[pickle.BUILD[0]] = _Interpreter.build


def _open(path: Path) -> zipfile.ZipFile:
    if not path.is_file():
        raise NotACheckpointError(f"there is no file {path}")
    if path.stat().st_size == 0:
        raise NotACheckpointError(f"{path} is empty")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"PK\x03\x04":
        raise NotACheckpointError(f"{path} is not a file of torch.save: it begins with {magic!r} instead of b'PK\\x03\\x04'")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DamagedCheckpointError(f"{path} is truncated or damaged: {error}") from error
    parts = archive.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise UnsafeCheckpointError(
            f"{path} has compressed parts, which torch.save never writes and which may be a zip bomb"
        )
    if sum(part.file_size for part in parts) > path.stat().st_size:
        raise UnsafeCheckpointError(f"{path} declares more bytes than it has, as a zip bomb does")
    return archive


def read(path: str | Path) -> Any:
    """Read a checkpoint as plain values, tensors and :class:`Record`.

    Raises:
        NotACheckpointError: there is no such file, or it is of another kind.
        DamagedCheckpointError: it is truncated, or a part fails its check.
        UnsafeCheckpointError: it holds something outside the allow-list.
    """
    path = Path(path)
    with _open(path) as archive:
        roots = [name.removesuffix("data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise NotACheckpointError(f"{path} is a zip archive, but not one of torch.save: it has {len(roots)} data.pkl")
        root = roots[0]
        if f"{root}constants.pkl" in archive.namelist():
            raise UnsafeCheckpointError(f"{path} is a TorchScript program; expected a checkpoint of RecBole's Trainer")

        def storage(identity: Any) -> _Storage:
            _, kind, key, _, _ = identity
            return _Storage(archive.read(f"{root}data/{key}"), DTYPES[kind.name])

        try:
            if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
                raise DamagedCheckpointError("its byte order is not little-endian")
            return _Interpreter(archive.read(f"{root}data.pkl"), storage).load()
        except (UnsafeCheckpointError, DamagedCheckpointError) as error:
            raise type(error)(f"{path} is refused: {error}.") from None
        # A damaged pickle can fail in any way that an opcode can.
        except Exception as error:
            reason = str(error).split("\n")[0] or type(error).__name__
            raise DamagedCheckpointError(f"{path} is damaged: {reason}") from error
