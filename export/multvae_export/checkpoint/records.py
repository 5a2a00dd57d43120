"""Reading an untrusted ``.pth`` as plain values, tensors, NumPy arrays and records.

:mod:`multvae_export.reading` does the reading. Every object of the file becomes a :class:`Record` of the name of its class
and its attributes: no class is imported, and no constructor runs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multvae_export.errors import DamagedCheckpointError, NotACheckpointError, UnsafeCheckpointError
from multvae_export.reading import TEST_RESULT, Maker, Name, unpack


@dataclass
class Record:
    """An object of the file: the name of its class and its attributes."""

    cls: Name
    state: dict[str, Any] = field(default_factory=dict, repr=False)


class _Inert(Maker):
    """Makes a record of every object, and the plain value of every enum member and NumPy number."""

    def is_enum(self, cls: Any) -> bool:
        return isinstance(cls, Name) and cls.module == "recbole.utils.enum_type"

    def enum(self, cls: Any, value: int | str, by_name: bool = False) -> int | str:
        return value

    def empty(self, cls: Any) -> Record | None:
        return Record(cls) if isinstance(cls, Name) else None

    def finish(self, value: Any) -> None:
        super().finish(value)
        if isinstance(value, dict) and self._archive.has(TEST_RESULT):
            value["test_result"] = json.loads(self._archive.read(TEST_RESULT))

    def set_attributes(self, target: Any, state: dict[str, Any]) -> None:
        target.state = state

    def scalar(self, kind: Any, data: Any) -> Any:
        return super().scalar(kind, data).item()


def read(path: str | Path, digest: Any = None) -> Any:
    """Read a checkpoint.

    Args:
        path: the file.
        digest: a hash of :mod:`hashlib`, which gets the bytes of the file that was read.

    Returns:
        Plain values, tensors, NumPy arrays (a ``numpy.matrix`` too becomes an array), and a :class:`Record` for any other
        object, such as RecBole's ``Config`` and a matrix of scipy.sparse. A checkpoint that was tested has ``test_result``.

    Raises:
        NotACheckpointError: there is no such file, or it is of another kind.
        DamagedCheckpointError: it is truncated, or a part fails its check.
        UnsafeCheckpointError: it holds something outside the allow-list.
    """
    if not Path(path).exists():
        raise NotACheckpointError(f"there is no file {path}")
    if Path(path).is_dir():
        raise NotACheckpointError(f"{path} is a folder: name a .pth file in it")
    try:
        with open(path, "rb") as file:
            contents = unpack(file, _Inert)
            file.seek(0)
            while digest and (block := file.read(2**20)):
                digest.update(block)
            return contents
    except (NotACheckpointError, DamagedCheckpointError, UnsafeCheckpointError) as error:
        raise type(error)(f"{path} is refused: {error}.") from None
