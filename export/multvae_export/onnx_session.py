"""An exported file as its users have it: a session of onnxruntime, its metadata, its tables of tokens. Without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from multvae_export.errors import NotAnExportError
from multvae_export.target import CONTRACT_VERSION, OPTIONS_VERSION

KNOWN_VERSIONS = (str(CONTRACT_VERSION), str(OPTIONS_VERSION))


def open_session(
    path: str, providers: Sequence[str], options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """Open a file with the first of these providers that this machine has.

    Raises:
        NotAnExportError: there is no such file, or onnxruntime cannot open it.
    """
    check_file(path)
    try:
        return onnxruntime.InferenceSession(path, options, providers=list(providers))
    except Exception as error:  # onnxruntime raises types of its own.
        raise NotAnExportError(f"onnxruntime cannot open {path}: {first_line(error)}") from error


def check_file(path: str) -> None:
    """Refuse a path that is no file, with NotAnExportError."""
    if Path(path).is_dir():
        raise NotAnExportError(f"{path} is a folder: name a file of multvae-export.")
    if not Path(path).is_file():
        raise NotAnExportError(f"there is no file {path}.")


def check_metadata(path: str, metadata: dict[str, str]) -> dict[str, str]:
    """The metadata of a file.

    Raises:
        NotAnExportError: multvae-export did not write the file, or a later version did, which has another contract.
    """
    if "contract_version" not in metadata:
        raise NotAnExportError(f"{path} has no contract_version in its metadata: multvae-export did not write it.")
    if (version := metadata["contract_version"]) not in KNOWN_VERSIONS:
        known = " and ".join(KNOWN_VERSIONS)
        raise NotAnExportError(f"{path} has contract version {version}, expected {known}: use a newer multvae-export.")
    return metadata


def look_up_tokens(graph: onnx.GraphProto, name: str) -> np.ndarray:
    """The tokens of an input of tokens by id, after "" for padding; none for any other input, or one that is not there."""
    look_ups = [node for node in graph.node if node.op_type == "LabelEncoder" and node.input[0] == name]
    keys = {attribute.name: attribute.strings for node in look_ups for attribute in node.attribute}
    return np.array(["", *(token.decode() for token in keys["keys_strings"])] if keys else [], dtype=object)


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return str(error).split("\n")[0]
