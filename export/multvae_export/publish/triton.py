"""A model repository of NVIDIA Triton: ``<repository>/<model>/config.pbtxt``, and ``<version>/model.onnx`` beside it.

The fields of ``config.pbtxt`` are those of ``ModelConfig`` in triton-inference-server/common, protobuf/model_config.proto.
Triton batches a file whose inputs and outputs all have the batch first, and does not serve an input that has a value in the
file (triton-inference-server/onnxruntime_backend, src/onnxruntime.cc at 00fd3e8). So k is fixed.
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
#: How many items are returned without ``--k-default``.
K = 10
#: Rows in a run: 64 rows of scores for a million items are 256 MB.
MAX_BATCH = 64
KINDS = {onnx.TensorProto.STRING: "STRING", onnx.TensorProto.INT64: "INT64", onnx.TensorProto.FLOAT: "FP32"}


@contextmanager
def model_folder(repository: Path, model: Model) -> Iterator[Path]:
    """The folder of a model in a repository; it is removed again if it stays empty.

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
        with suppress(OSError):  # It is not empty.
            folder.rmdir()


def publish(working: Path, folder: Path, precision: str) -> tuple[Path, ...]:
    """Make a working folder the next version of a model.

    Triton serves the newest version, and sees it whole or not at all. An existing ``config.pbtxt`` is not changed: its owner
    may have edited it.

    Raises:
        OptionError: the existing versions have other inputs or outputs.

    Returns:
        The written files at their new places; the graph comes last.
    """
    versions = [int(path.parent.name) for path in folder.glob(f"*/{FILE}") if path.parent.name.isdecimal()]
    newest = folder / str(max(versions)) / FILE if versions else None
    configuration = _configure(folder / "config.pbtxt", working / FILE, newest, precision)
    parts, version = list(working.iterdir()), working / "version"
    version.mkdir()  # Other users may read it, unlike the working folder.
    for part in parts:
        part.rename(version / part.name)
    number = max(versions, default=0) + 1
    while (folder / str(number)).exists():
        number += 1
    version = version.rename(folder / str(number))
    return (*configuration, *sorted(version.iterdir(), key=lambda file: file.name == FILE))


def _configure(config: Path, new: Path, newest: Path | None, precision: str) -> tuple[Path, ...]:
    """Write the configuration, or check that the existing one fits. Returns the written file."""
    if newest and config.exists():
        if _tensors(newest) != _tensors(new):
            raise OptionError(
                f"{newest} has other inputs or outputs: export to another repository, or remove {config.parent}."
            )
        return ()
    written = new.with_name(config.name)
    written.write_text(config_text(config.parent.name, new, precision), "utf-8")
    os.replace(written, config)
    return (config,)


def config_text(name: str, path: Path, precision: str) -> str:
    """``config.pbtxt`` for a file: with dynamic batching, and on a CPU for weights that are fast only there."""
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
    """The inputs and the outputs of a file, as ``config.pbtxt`` has them. k is left out: it has a value in the file."""
    graph = onnx.load(path, load_external_data=False).graph
    with_value = {tensor.name for tensor in graph.initializer}
    inputs = [_tensor(tensor) for tensor in graph.input if tensor.name not in with_value]
    outputs = [_tensor(tensor) for tensor in graph.output]
    return ",\n  ".join(inputs), ",\n  ".join(outputs)


def _tensor(value: onnx.ValueInfoProto) -> str:
    """A tensor without its batch dimension. Triton needs another one: where there is none, it is 1 and is reshaped away."""
    sizes = [dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim[1:]]
    kind = KINDS[value.type.tensor_type.elem_type]
    shape = "" if sizes else " reshape { shape: [ ] }"
    return f'{{ name: "{value.name}" data_type: TYPE_{kind} dims: [ {", ".join(map(str, sizes or [1]))} ]{shape} }}'
