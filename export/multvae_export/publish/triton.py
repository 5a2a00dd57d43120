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
#: How many versions Triton has in memory.
VERSIONS = 2
#: What the name of a working folder begins with. It lies beside the versions, so that it is on their volume. Triton takes a
#: number with zeros before it for no version, and loads nothing because of it. Any other name would make it load the served
#: versions again whenever something is written there (triton-inference-server/core, ``ModelTimestamp`` in
#: src/model_repository_manager at 73aad7c).
WORKING = "0000"
#: The file that has the number of the last version, so that the number of a deleted one does not come again. Its name is a
#: number for the same reason: Triton reads the time of a change (``st_ctime``), which no program can set.
LAST = "0"
#: The length of a history in the warm-up.
LENGTH = 16
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

    Triton serves the newest versions, and sees each whole or not at all. An existing ``config.pbtxt`` is not changed: its
    owner may have edited it.

    Raises:
        OptionError: the existing versions have other inputs or outputs, or their last number cannot be read.

    Returns:
        The written files at their new places; the graph comes last.
    """
    versions = [int(path.parent.name) for path in folder.glob(f"*/{FILE}") if _is_version(path.parent.name)]
    newest = folder / str(max(versions)) / FILE if versions else None
    configuration = _configure(folder / "config.pbtxt", working / FILE, newest, precision)
    version = working.rename(folder / str(_next_number(folder, working, versions)))
    return (*configuration, *sorted(version.iterdir(), key=lambda file: file.name == FILE))


def _next_number(folder: Path, working: Path, versions: list[int]) -> int:
    """A number that no version has or had. It is written down before it is used."""
    last = folder / LAST
    text = last.read_text("utf-8").strip() if last.exists() else "0"
    if not text.isdecimal():
        raise OptionError(f"{last} holds {text[:20]!r}: expected the number of the last version; write it there.")
    number = max([*versions, int(text)]) + 1
    while (folder / str(number)).exists():
        number += 1
    (written := working / LAST).write_text(f"{number}\n", "ascii")
    os.replace(written, last)
    return number


def _is_version(name: str) -> bool:
    """Whether Triton takes a folder for a version."""
    return name.isdecimal() and not name.startswith("0")


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
    warm_up = ",\n  ".join(_warm_up(path, rows) for rows in (1, MAX_BATCH))
    return f"""name: "{name}"
backend: "onnxruntime"
max_batch_size: {MAX_BATCH}
input [
  {inputs}
]
output [
  {outputs}
]
# Two versions are in memory, and requests get the newer one. To go back to the other one, delete the folder of the newer.
version_policy {{ latest {{ num_versions: {VERSIONS} }} }}
# An instance answers one batch at a time, with so many threads. To use more cores raise the count, or, as each instance has
# its own copy of the weights, the threads.
instance_group [ {{ kind: {kind} count: 1 }} ]
parameters {{ key: "intra_op_thread_count" value: {{ string_value: "1" }} }}
dynamic_batching {{ }}
model_warmup [
  {warm_up}
]
"""


def _warm_up(path: Path, rows: int) -> str:
    """A batch of empty requests, which an instance answers before it is ready. They filter nothing."""
    inputs = ""
    for value in _inputs(_graph(path)):
        dims = _listed(_sizes(value), LENGTH if value.name == "history" else 0)
        data = f"data_type: TYPE_{_kind(value)} dims: [ {dims} ] zero_data: true"
        inputs += f'\n    inputs {{ key: "{value.name}" value: {{ {data} }} }}'
    return f'{{ name: "{rows} at a time" batch_size: {rows}{inputs} }}'


def _tensors(path: Path) -> tuple[str, str]:
    """The inputs and the outputs of a file, as ``config.pbtxt`` has them."""
    graph = _graph(path)
    return ",\n  ".join(map(_tensor, _inputs(graph))), ",\n  ".join(map(_tensor, graph.output))


def _graph(path: Path) -> onnx.GraphProto:
    return onnx.load(path, load_external_data=False).graph


def _inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a request gives. k is left out: it has a value in the file."""
    with_value = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in with_value]


def _tensor(value: onnx.ValueInfoProto) -> str:
    """A tensor without its batch dimension. Triton needs another one: where there is none, it is 1 and is reshaped away."""
    shape = "" if len(value.type.tensor_type.shape.dim) > 1 else " reshape { shape: [ ] }"
    return f'{{ name: "{value.name}" data_type: TYPE_{_kind(value)} dims: [ {_listed(_sizes(value), -1)} ]{shape} }}'


def _kind(value: onnx.ValueInfoProto) -> str:
    return KINDS[value.type.tensor_type.elem_type]


def _sizes(value: onnx.ValueInfoProto) -> list[int]:
    """The sizes of a tensor without its batch dimension; 0 where the file leaves one open."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim[1:]] or [1]


def _listed(sizes: list[int], unknown: int) -> str:
    return ", ".join(str(size or unknown) for size in sizes)
