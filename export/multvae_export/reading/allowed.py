"""The names that a checkpoint may use: those in the saved models of RecBole 1.2.1. All others are refused (Threat 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

#: The functions that a checkpoint may call, and the method of :class:`.maker.Maker` that is called instead (Threat 1).
FUNCTIONS = {
    ("_codecs", "encode"): "encoded",
    ("builtins", "bytes"): "no_bytes",
    ("builtins", "getattr"): "enum_member",
    ("builtins", "set"): "set_of",
    ("collections", "OrderedDict"): "ordered_dict",
    ("collections", "defaultdict"): "default_dict",
    ("logging", "getLogger"): "logger",
    ("numpy", "dtype"): "dtype",
    ("numpy.core.multiarray", "_reconstruct"): "array",
    ("numpy._core.multiarray", "_reconstruct"): "array",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("torch", "Size"): "size",
    ("torch", "device"): "device",
    ("torch._utils", "_rebuild_parameter"): "parameter",
    ("torch._utils", "_rebuild_tensor_v2"): "tensor",
}

#: The storages that ``torch.save`` writes, and the types of their numbers.
STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

#: Single classes that a checkpoint may name.
CLASSES = {
    ("builtins", "list"),
    ("numpy", "matrix"),
    ("numpy", "ndarray"),
    ("yaml.loader", "FullLoader"),
    *(("torch", storage) for storage in STORAGES),
}

#: Packages of which a checkpoint may name any class.
PACKAGES = ("recbole.", "recbole_multvae.", "torch.nn.modules.", "scipy.sparse.")

_LONGEST = 300  # Characters of a name, and of a text of the file in a message.

#: Pickle protocol 2 uses the name of Python 2.
_RENAMED = {"__builtin__": "builtins"}


def printable(text: str) -> str:
    """A text of the file, for a message: short, and without line feeds or control characters (Threat 9)."""
    text = text[:_LONGEST]
    return text if text.isprintable() else ascii(text)


@dataclass(frozen=True)
class Name:
    """The name of a class that the file refers to."""

    module: str
    name: str

    def __str__(self) -> str:
        return printable(f"{self.module}.{self.name}")


@dataclass(frozen=True)
class Function:
    """A function that the file may call, which is a method of the maker."""

    method: str


def look_up(module: str, name: str) -> tuple[Function | Name, bool]:
    """The function or the class that a name of the file refers to, and whether it is on the list."""
    module = _RENAMED.get(module, module)
    if (module, name) in FUNCTIONS:
        return Function(FUNCTIONS[module, name]), True
    return Name(module, name), (module, name) in CLASSES or _is_class_of_a_package(module, name)


def _is_class_of_a_package(module: str, name: str) -> bool:
    # A dot in the name of a class would reach into a class or a module.
    short = len(module) + len(name) < _LONGEST
    return short and module.startswith(PACKAGES) and name.isidentifier() and module.replace(".", "").isidentifier()
