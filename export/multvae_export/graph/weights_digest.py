"""The digest of a file's weights, by which a client notices a damaged copy.

``weights_sha256`` in the metadata is the SHA-256 of the graph's bytes as they lie in the file (field 7 of ``ModelProto`` in
onnx/onnx.proto: the weights, the tokens, and the nodes), followed by the bytes of the second file, if the metadata name one
as ``weights_file``. The metadata are no part of it. A client needs no ONNX library for it: see :func:`weights_digest`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from onnx import ModelProto

#: The entries of the metadata: the digest, and the name of the second file, which lies beside the first.
DIGEST, SECOND_FILE = "weights_sha256", "weights_file"
GRAPH_FIELD, WITH_LENGTH = 7, 2
BLOCK = 2**20


def weights_digest(path: Path, second: str | None = None) -> str:
    """The digest of a written file, in hexadecimal digits.

    The file is a ``ModelProto``: fields one after the other, each a key, a number and, if the number is a length, so many
    bytes.

    Args:
        path: the ONNX file.
        second: the name of the file of its weights, where there is one.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while key := _number(file):
            number = _number(file)
            if key == GRAPH_FIELD << 3 | WITH_LENGTH:
                add_bytes(digest, file, number)
            elif key & 7 == WITH_LENGTH:
                file.seek(number, 1)
    if second:
        with path.with_name(second).open("rb") as file:
            add_bytes(digest, file)
    return digest.hexdigest()


def add_digest(path: Path, metadata: Mapping[str, str]) -> None:
    """Add the digest of a written file, which has these metadata, to them.

    The entry is appended to the file: readers of a ``ModelProto`` put repeated fields together.
    """
    entry = ModelProto()
    entry.metadata_props.add(key=DIGEST, value=weights_digest(path, metadata.get(SECOND_FILE)))
    with path.open("ab") as file:
        file.write(entry.SerializeToString())


def add_bytes(digest: Any, file: BinaryIO, count: int = sys.maxsize) -> None:
    """Give a digest the next bytes of a file, all that follow or so many."""
    while block := file.read(min(count, BLOCK)):
        digest.update(block)
        count -= len(block)


def _number(file: BinaryIO) -> int:
    """The next number: seven bits a byte, the lowest first; the last byte is below 128. 0 at the end of the file."""
    number = shift = 0
    while byte := file.read(1):
        number |= (byte[0] & 127) << shift
        shift += 7
        if byte[0] < 128:
            break
    return number
