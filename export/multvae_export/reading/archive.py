"""The zip archive that ``torch.save`` writes: one part is a pickle, the others are the bytes of the storages."""

from __future__ import annotations

import os
import zipfile
import zlib
from typing import Any

import torch

from multvae_export.errors import DamagedCheckpointError, NotACheckpointError, UnsafeCheckpointError
from multvae_export.reading.allowed import printable

_MAGIC = b"PK\x03\x04"
_HEADER = 30  # Bytes of a part's header before its name and its extra field.


class Archive:
    """The parts of a checkpoint. Only they are read (Threat 4). None is decompressed, and together they are not larger than
    the file (Threat 6).

    Args:
        stream: an open binary file.

    Attributes:
        size: the bytes of the file.

    Raises:
        NotACheckpointError: it is a file of another kind.
        DamagedCheckpointError: it is truncated.
        UnsafeCheckpointError: it is a zip bomb or a program.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.size = stream.seek(0, os.SEEK_END)
        self._parts = {part.filename: part for part in _directory(stream)}
        roots = [name.removesuffix("data.pkl") for name in self._parts if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise NotACheckpointError(f"it is a zip archive, but not one of torch.save: it has {len(roots)} data.pkl")
        self._root = roots[0]
        self._check_parts()

    def _check_parts(self) -> None:
        parts = self._parts.values()
        if f"{self._root}constants.pkl" in self._parts:  # Threat 1
            raise UnsafeCheckpointError("it is a TorchScript program, expected a checkpoint of RecBole's Trainer")
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):  # Threat 6
            raise UnsafeCheckpointError("it has compressed parts, which torch.save never writes and which may be a zip bomb")
        if sum(part.file_size for part in parts) > self.size:
            raise UnsafeCheckpointError("it declares more bytes than it has, as a zip bomb does")
        if f"{self._root}byteorder" in self._parts and self.read("byteorder") != b"little":
            raise DamagedCheckpointError("its byte order is not little-endian")

    def has(self, name: str) -> bool:
        """Whether there is a part of this name: see :meth:`read`."""
        return self._root + name in self._parts

    def read(self, name: str, check_sum: bool = True) -> bytes:
        """The bytes of a part.

        Args:
            name: what follows the archive's own folder, such as ``data.pkl``.
            check_sum: whether to compare the bytes with their CRC-32; it takes as long as reading them.

        Raises:
            DamagedCheckpointError: the part is missing or cut short, or its CRC-32 is wrong.
        """
        part = self._find(name)
        content = self._stream.read(part.file_size)
        _check(content, part, check_sum)
        return content

    def storage(self, key: str, check_sum: bool = True) -> torch.UntypedStorage:
        """The bytes of a storage: the part ``data/<key>``, read as by :meth:`read`."""
        part = self._find(f"data/{key}")
        content = torch.empty(part.file_size, dtype=torch.uint8)
        whole = memoryview(content.numpy().data)
        done = 0
        while count := self._stream.readinto(whole[done:]):
            done += count
        _check(whole[:done], part, check_sum)
        return content.untyped_storage()

    def _find(self, name: str) -> zipfile.ZipInfo:
        """The entry of a part. The stream is moved to its first byte."""
        part = self._parts.get(self._root + name)
        if part is None:
            raise DamagedCheckpointError(f"it has no part {printable(name)}")
        # The lengths in the part's own header may differ from those in the directory of the archive.
        self._stream.seek(part.header_offset)
        header = self._stream.read(_HEADER)
        self._stream.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), os.SEEK_CUR)
        return part


def _directory(stream: Any) -> list[zipfile.ZipInfo]:
    """The entries of a zip archive."""
    stream.seek(0)
    magic = stream.read(len(_MAGIC))
    if not magic:
        raise NotACheckpointError("it is empty")
    if magic != _MAGIC:
        raise NotACheckpointError(
            f"it is not a file of torch.save: it begins with {magic!r} instead of {_MAGIC!r}, as they do since torch 1.6"
        )
    try:
        return zipfile.ZipFile(stream).infolist()
    except Exception as error:  # A damaged directory can fail in many ways.
        raise DamagedCheckpointError(f"it is truncated or damaged: {printable(str(error))}") from error


def _check(content: bytes | memoryview, part: zipfile.ZipInfo, check_sum: bool) -> None:
    if len(content) != part.file_size:
        raise DamagedCheckpointError(f"its part {printable(part.filename)} is cut short")
    if check_sum and zlib.crc32(content) != part.CRC:
        raise DamagedCheckpointError(f"Bad CRC-32 for its part {printable(part.filename)}")
