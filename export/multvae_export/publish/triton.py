"""A model repository of NVIDIA Triton: ``<repository>/<model>/config.pbtxt``, and ``<version>/model.onnx`` beside it.

The fields of ``config.pbtxt`` are those of ``ModelConfig`` in triton-inference-server/common, protobuf/model_config.proto.
What Triton asks of a file that it batches is read from triton-inference-server/onnxruntime_backend, src/onnxruntime.cc at
00fd3e8: every input and output has the batch first, and an input that has a value in the file is left out. So k is fixed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import onnx

from multvae_export.errors import OptionError
from multvae_export.trained_model import Model

FILE = "model.onnx"
#: How many items are returned where ``--k-default`` names no other number.
K = 10
#: Of one run: 64 rows of scores for a million items are 256 MB.
MAX_BATCH = 64
KINDS = {onnx.TensorProto.STRING: "STRING", onnx.TensorProto.INT64: "INT64", onnx.TensorProto.FLOAT: "FP32"}


@contextmanager
def model_folder(repository: Path, model: Model) -> Iterator[Path]:
    """The folder of a model in a repository; it is removed again if nothing came into it.

    Raises:
        OptionError: the repository is a file.
    """
    if repository.exists() and not repository.is_dir():
        raise OptionError(f"--triton={repository} is a file: expected the folder of Triton's model repository.")
    folder = repository / re.sub(r"[^\w.-]", "_", f"{model.name}-{model.dataset}")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        with suppress(OSError):  # There is something in it.
            folder.rmdir()


def publish(working: Path, folder: Path, precision: str) -> tuple[Path, ...]:
    """Make a working folder the next version of a model: Triton serves the newest, and sees a version whole or not at all.

    A ``config.pbtxt`` that is there stays as it is, with what its owner set.

    Raises:
        OptionError: the versions that are there take or return something else.

    Returns:
        What was written, at its place; the graph comes last.
    """
    versions = [int(path.parent.name) for path in folder.glob(f"*/{FILE}") if path.parent.name.isdecimal()]
    served = folder / str(max(versions)) / FILE if versions else None
    configured = _configure(folder / "config.pbtxt", working / FILE, served, precision)
    parts, version = list(working.iterdir()), working / "version"
    version.mkdir()  # A folder that other users may read, unlike the working folder.
    for part in parts:
        part.rename(version / part.name)
    number = max(versions, default=0) + 1
    while (folder / str(number)).exists():
        number += 1
    version = version.rename(folder / str(number))
    return (*configured, *sorted(version.iterdir(), key=lambda file: file.name == FILE))


def _configure(config: Path, new: Path, served: Path | None, precision: str) -> tuple[Path, ...]:
    """Write the configuration, or see that the one that is there fits."""
    if served and config.exists():
        if _tensors(served) != _tensors(new):
            raise OptionError(
                f"{served} has other inputs or outputs: export to another repository, or remove {config.parent}."
            )
        return ()
    part = new.with_name(config.name)
    part.write_text(config_text(config.parent.name, new, precision), "utf-8")
    os.replace(part, config)
    return (config,)


def config_text(name: str, path: Path, precision: str) -> str:
    """``config.pbtxt`` for a file: dynamic batching, and a CPU for weights that only a CPU is fast with."""
    inputs, outputs = _tensors(path)
    kind = "KIND_CPU" if precision in ("int8", "int4") else "KIND_AUTO"
    return f"""name: "{name}"
backend: "onnxruntime"
max_batch_size: {MAX_BATCH}
input [
  {inputs}
]
output [
  {outputs}
]
instance_group [ {{ kind: {kind} }} ]
dynamic_batching {{ }}
"""


def _tensors(path: Path) -> tuple[str, str]:
    """The inputs and the outputs of a file, as ``config.pbtxt`` has them: not k, which has a value."""
    graph = onnx.load(path, load_external_data=False).graph
    valued = {tensor.name for tensor in graph.initializer}
    sides = (value for value in graph.input if value.name not in valued), graph.output
    inputs, outputs = (",\n  ".join(_tensor(value) for value in side) for side in sides)
    return inputs, outputs


def _tensor(value: onnx.ValueInfoProto) -> str:
    """A tensor without its batch. One that has nothing else, such as the users, gets a length of 1 and loses it again."""
    sizes = [dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim[1:]]
    kind = KINDS[value.type.tensor_type.elem_type]
    shape = "" if sizes else " reshape { shape: [ ] }"
    return f'{{ name: "{value.name}" data_type: TYPE_{kind} dims: [ {", ".join(map(str, sizes or [1]))} ]{shape} }}'
