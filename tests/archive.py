"""Taking checkpoints apart and putting them together wrong."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def parts_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(parts: dict[str, bytes], path: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, value in parts.items():
            archive.writestr(name, value)
    return path


def with_pickle(source: Path, data_pkl: bytes, path: Path) -> Path:
    """A copy of a checkpoint with another pickle inside."""
    return pack({name: data_pkl if name.endswith("/data.pkl") else v for name, v in parts_of(source).items()}, path)


def changed(source: Path, path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A copy of a checkpoint whose contents were changed by a function and saved as RecBole saves."""
    contents = torch.load(source, weights_only=False)
    change(contents)
    torch.save(contents, path, pickle_protocol=4)
    return path


class Calls:
    """Pickles as a call of a function with arguments."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


def named_call(module: str, name: str, *arguments: str, opcodes: bytes = b"tR.") -> bytes:
    """A pickle that looks up ``module.name``, dots and all, and calls it with strings."""

    def text(value: str) -> bytes:
        return pickle.BINUNICODE + len(value.encode()).to_bytes(4, "little") + value.encode()

    look_up = b"\x80\x04" + text(module) + text(name) + pickle.STACK_GLOBAL
    return look_up + pickle.MARK + b"".join(map(text, arguments)) + opcodes


def without_description(contents: dict[str, Any]) -> None:
    """Take the description of the network out of a checkpoint of ours."""
    del contents["other_parameter"]["spec"]
