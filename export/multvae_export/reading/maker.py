"""Makes the values of a checkpoint. Nothing is made before its bytes are known to be there."""

from __future__ import annotations

import math
import re
from collections import OrderedDict, defaultdict
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from multvae_export.errors import DamagedCheckpointError, UnsafeCheckpointError
from multvae_export.reading.allowed import STORAGES, Function, Name, look_up
from multvae_export.reading.archive import Archive
from multvae_export.reading.limits import Printed, check_elements, check_keys

_LONGEST_TEXT = 10**8
_DIMENSIONS = 32  # NumPy's limit; torch's is higher.
#: Arguments of ``numpy.dtype``: booleans, whole and real numbers, texts of a width, and objects.
_KIND = re.compile(r"b1|[iu][1248]|f[248]|[SU][1-9]\d{0,6}|O[48]?")


def describe(thing: Any) -> str:
    """The type of a value of the file, for a message, which does not show the value (Threat 9)."""
    if isinstance(thing, Name):
        return str(thing)
    return f"{thing.__module__}.{thing.__name__}" if isinstance(thing, type) else f"a value of type {type(thing).__name__}"


class Storage:
    """The bytes of one or more tensors of one type."""

    def __init__(self, content: torch.UntypedStorage, dtype: torch.dtype) -> None:
        self.content, self.dtype = content, dtype
        self.count = content.nbytes() // dtype.itemsize


class Maker:
    """Makes the values that are the same for every reader. A subclass makes classes, enums, objects and devices.

    :data:`.allowed.FUNCTIONS` and the interpreter name the public methods. Each checks its arguments, which come from the
    file.

    Args:
        archive: of the checkpoint.
    """

    #: The classes that ``numpy.core.multiarray._reconstruct`` makes.
    arrays: ClassVar[dict[str, type[np.ndarray]]] = {"ndarray": np.ndarray, "matrix": np.ndarray}

    #: Whether to compare the bytes of every part with their CRC-32.
    check_sums: ClassVar[bool] = True

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._left = 4 * archive.size  # Bytes and elements that may be copied: the file can refer to a part many times.
        self._storages: dict[str, torch.UntypedStorage] = {}
        self._fresh: dict[int, Any] = {}
        self.printed = Printed(max(_LONGEST_TEXT, 4 * archive.size))

    def resolve(self, module: str, name: str) -> Any:
        """The function or the class that a name of the file refers to."""
        target, known = look_up(module, name)
        if isinstance(target, Function):
            return target
        return self.named(target) if known else self.unknown(target)

    def named(self, name: Name) -> Any:
        """A class that is on the list."""
        return name

    def unknown(self, name: Name) -> Any:
        """A class that is not on the list: it is refused (Threat 2)."""
        raise UnsafeCheckpointError(f"it refers to {name}, which RecBole does not write for a supported model")

    def storage(self, identity: Any) -> Storage:
        """The bytes of one or more tensors, which ``torch.save`` writes as a part of the archive."""
        match identity:
            case ("storage", Name("torch", kind), str(key), str(location), _) if kind in STORAGES:
                if key not in self._storages:
                    self._storages[key] = self.placed(self._archive.storage(key, self.check_sums), location)
                return Storage(self._storages[key], STORAGES[kind])
        raise DamagedCheckpointError("a storage in it is not one of torch.save")

    def placed(self, content: torch.UntypedStorage, location: str) -> torch.UntypedStorage:
        """A storage on its device."""
        return content

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        """Call a function that is on the list, or turn a value into the member of an enum (Threat 1)."""
        if isinstance(function, Function):
            return getattr(self, function.method)(*arguments)
        if not self.is_enum(function) or len(arguments) != 1 or type(arguments[0]) not in (int, str):
            raise UnsafeCheckpointError(f"it calls {describe(function)}, which RecBole does not write")
        return self.enum(function, arguments[0])

    def enum_member(self, cls: Any, name: Any) -> Any:
        """The member of an enum by name: some releases of Python 3.11 pickle one as ``getattr(cls, name)`` (Threat 2)."""
        if not self.is_enum(cls) or type(name) is not str:
            raise UnsafeCheckpointError("it calls getattr, which RecBole writes for its enums only")
        return self.enum(cls, name, by_name=True)

    def is_enum(self, cls: Any) -> bool:
        """Whether a class of the file is an enum."""
        raise NotImplementedError

    def enum(self, cls: Any, value: int | str, by_name: bool = False) -> Any:
        """The member of an enum that has a value or a name."""
        raise NotImplementedError

    def new(self, cls: Any) -> Any:
        """An object without attributes, which :meth:`build` fills."""
        instance = self.empty(cls)
        if instance is None:
            raise UnsafeCheckpointError(f"it makes an object of {describe(cls)}, which RecBole does not write")
        return self._unfilled(instance)

    def empty(self, cls: Any) -> Any:
        """An object of a class, whose ``__init__`` has not run; None if ``cls`` is not a class."""
        raise NotImplementedError

    def _unfilled(self, target: Any) -> Any:
        self._fresh[id(target)] = target
        return target

    def build(self, target: Any, state: Any) -> None:
        """Fill an object that the file has made. Each is filled once, and no other object is changed (Threat 3)."""
        if type(target) is OrderedDict:
            self.set_metadata(target, state)
        elif isinstance(target, np.dtype):
            _check_byte_order(state)
        elif self._fresh.pop(id(target), None) is None:
            raise UnsafeCheckpointError(f"it sets attributes of {describe(target)}, which RecBole does not write")
        elif isinstance(target, np.ndarray):
            self._fill(target, state)
        else:
            self._fill_object(target, state)

    def _fill_object(self, target: Any, state: Any) -> None:
        if type(state) is dict:
            self.spend(len(state))
        if type(state) is not dict or set(map(type, state)) - {str}:
            raise DamagedCheckpointError(f"the attributes of {describe(target)} have no names")
        self.printed.note(target, state)
        self.set_attributes(target, state)

    def set_attributes(self, target: Any, state: dict[str, Any]) -> None:
        """Give a new object its attributes."""
        raise NotImplementedError

    def set_metadata(self, state_dict: OrderedDict[Any, Any], state: Any) -> None:
        """Set the versions of torch's modules, which ``state_dict()`` adds as an attribute."""

    def finish(self, value: Any) -> None:
        """Check the whole value when it is complete."""
        self.printed.check(value)

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
        """A view of a storage, as ``torch._utils._rebuild_tensor_v2`` makes it, that lies inside the storage (Threat 5)."""
        fits = isinstance(storage, Storage) and self._are_sizes((offset,), size, stride) and len(size) == len(stride)
        if fits and 0 not in size:
            last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
            fits = max(math.prod(size), last + 1) <= storage.count
        if not fits:
            raise DamagedCheckpointError("a tensor does not fit its storage")
        return torch.empty(0, dtype=storage.dtype, device=storage.content.device).set_(storage.content, offset, size, stride)

    def _are_sizes(self, *shapes: Any) -> bool:
        """Whether these are shapes whose dimensions are no longer than the file."""
        return all(
            isinstance(shape, tuple)
            and len(shape) <= _DIMENSIONS
            and all(type(length) is int and 0 <= length <= self._archive.size for length in shape)
            for shape in shapes
        )

    def parameter(self, data: Any, *_: Any) -> Tensor:
        """A parameter, as a tensor."""
        if not isinstance(data, Tensor):
            raise DamagedCheckpointError("a parameter in it is no tensor")
        return data

    def size(self, values: Any) -> torch.Size:
        """A ``torch.Size``."""
        if not self._are_sizes(values):
            raise DamagedCheckpointError("a torch.Size in it is no shape")
        return torch.Size(values)

    def device(self, kind: Any, index: Any = None) -> Any:
        """The name of a device, such as ``cpu`` or ``cuda:0``."""
        if type(kind) is not str or len(kind) > 20 or (index is not None and type(index) is not int):
            raise DamagedCheckpointError("a torch.device in it is no device")
        return kind if index is None else f"{kind}:{index}"

    def logger(self, name: Any = "root") -> Any:
        """A logger; by default None takes its place."""
        # Python makes a logger for each of the parts of a name (Threat 6).
        if type(name) is not str or len(name) > 100:
            raise DamagedCheckpointError("a logger in it has no name")
        return None

    def dtype(self, code: Any, *_: Any) -> np.dtype:
        """A type of NumPy's, of this machine's byte order and without fields (Threat 5)."""
        if type(code) is not str or not _KIND.fullmatch(code):
            raise DamagedCheckpointError("a NumPy type in it is not one of plain numbers, texts or objects")
        return np.dtype(code)

    def scalar(self, kind: Any, data: Any) -> Any:
        """A NumPy number; the best validation score is one."""
        plain = isinstance(kind, np.dtype) and not kind.hasobject and type(data) is bytes
        if not plain or len(data) != kind.itemsize:
            raise DamagedCheckpointError("a NumPy number in it does not fit its bytes")
        self.spend(len(data))
        return np.frombuffer(data, kind)[0]

    def array(self, cls: Any, *_: Any) -> np.ndarray:
        """An empty array, which :meth:`build` fills."""
        if not isinstance(cls, Name) or cls.module != "numpy" or cls.name not in self.arrays:
            raise UnsafeCheckpointError(f"it makes an array of {describe(cls)}, which RecBole does not write")
        return self._unfilled(np.ndarray.__new__(self.arrays[cls.name], (0,), "b"))

    def _fill(self, array: np.ndarray, state: Any) -> None:
        """Fill an array from exactly its bytes, or from a list of its objects (Threat 5)."""
        fits = False
        match state:
            case (int(), tuple(shape), np.dtype() as kind, bool(), bytes() | list() as content) if self._are_sizes(shape):
                width = 1 if kind.hasobject else kind.itemsize
                fits = kind.hasobject == (type(content) is list) and len(content) == math.prod(shape) * width
        if not fits:
            raise DamagedCheckpointError("an array does not fit its bytes")
        self.spend(len(content))
        if kind.hasobject:
            self.spend(sum(len(element) for element in content if type(element) is list))
            check_elements(content)
            # Copies, to which the file can add nothing later.
            content = [element.copy() if type(element) is list else element for element in content]
            self.printed.note(array, content)
            state = (*state[:-1], content)
        array.__setstate__(state)

    def encoded(self, text: Any, encoding: Any) -> bytes:
        """Bytes, which pickle's protocol 2 writes as a text."""
        if type(text) is not str or encoding != "latin1":
            raise DamagedCheckpointError("bytes in it are not written as pickle writes them")
        self.spend(len(text))
        return text.encode(encoding)

    def no_bytes(self) -> bytes:
        """No bytes, which pickle's protocol 2 writes as a call."""
        return b""

    def set_of(self, values: Any = ()) -> set[Any]:
        """A set, which pickle's protocol 2 writes as a list."""
        if type(values) not in (list, tuple):
            raise DamagedCheckpointError("a set in it is not made of a list")
        self.spend(len(values))
        check_keys(values)
        return set(values)

    def ordered_dict(self) -> OrderedDict[Any, Any]:
        """An empty ``OrderedDict``."""
        return OrderedDict()

    def default_dict(self, factory: Any = None) -> defaultdict[Any, Any]:
        """An empty ``defaultdict`` of lists or sets."""
        for name, kind in ((Name("builtins", "list"), list), (Function("set_of"), set), (None, None)):
            if type(factory) is type(name) and factory == name:
                return defaultdict(kind)
        raise UnsafeCheckpointError(f"it makes a defaultdict of {describe(factory)}, which RecBole does not write")

    def spend(self, count: int) -> None:
        """Refuse to copy many times what the file holds once (Threat 6)."""
        self._left -= count
        if self._left < 0:
            raise UnsafeCheckpointError("it copies the same values again and again")


def _check_byte_order(state: Any) -> None:
    match state:
        case (3 | 4, "<" | "|" | "=", None, None, None, *_):
            return
    raise DamagedCheckpointError("a NumPy type in it is big-endian or has fields")
