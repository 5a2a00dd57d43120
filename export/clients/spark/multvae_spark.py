"""Recommendations for the rows of a Spark DataFrame, from an exported model.

    from multvae_spark import score

    score("model.onnx", spark.read.format("delta").load("histories"), k=10).write.parquet("result")

A row has ``history``: array<string> of item tokens, or array<bigint> of ids if the model takes ids. A null history is an
empty one; null and unknown items are ignored. The result has, best first, ``items`` and ``scores``, shorter than k if fewer
items remain.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from uuid import uuid4

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import SparkFiles, TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import ArrayType, FloatType, LongType, StringType, StructField, StructType

VERSIONS = ("1", "2")
#: The type of a history of tokens, and of one of RecBole's item ids.
TOKENS, IDS = "tensor(string)", "tensor(int64)"
#: The optional inputs of a file, each with the option of multvae-export that adds it.
OPTIONS = {"exclude": "--filters", "among": "--filters", "noise": "--posterior"}
#: The most histories of a run of the model, and the most items of a run, padding counted: they bound its memory.
BATCH, BATCH_ITEMS = 256, 256 * 256


class Request(NamedTuple):
    """What every row asks for. ``exclude`` and ``among`` are lists for all rows."""

    k: int = 10
    exclude: list[str] | list[int] | None = None
    among: list[str] | list[int] | None = None
    reasons: bool = False


def score(
    model: str,
    histories: DataFrame,
    k: int = 10,
    *,
    exclude: list[str] | list[int] | None = None,
    among: list[str] | list[int] | None = None,
    reasons: bool = False,
    check: bool = True,
) -> DataFrame:
    """Rank items for each row: ``items``, ``scores`` and, if asked for, ``reasons`` take the place of ``history``.

    All other columns stay. The model is read now: a file that replaces it before Spark runs does not change the result.

    Args:
        model: the path of a file exported with ``--io tokens`` or ``--io ids``, on the driver.
        histories: a table with the column ``history``.
        k: how many items.
        exclude: items never to return. For a file with filters.
        among: the only items to rank; None ranks all. For a file with filters.
        reasons: add lists [k][length]: by how much each item of the history raises each score. For a file with reasons.
        check: refuse a damaged model, on the driver and on the workers.

    Raises:
        ValueError: the model or the table is not as expected, or the file lacks an option that is used.
    """
    return Scorer(histories.sparkSession, model, Request(k, exclude, among, reasons), check)(histories)


class Scorer:
    """:func:`score` for several tables: the model is read and sent to the workers once.

    Attributes:
        digest: the SHA-256 of the model's file.
        takes: the type of the column ``history``.
    """

    def __init__(self, spark: SparkSession, model: str, request: Request, check: bool = True) -> None:
        files = snapshot(model)
        session = open_model(str(files[0]), check=check, called=model)
        check_request(session, request)
        for file in files:
            spark.sparkContext.addFile(str(file))
        spark.sparkContext.addPyFile(__file__)
        ids = takes_ids(session)
        self.digest, self.takes = files[0].stem, "array<bigint>" if ids else "array<string>"
        self._rank = partial(rank_in_task, file=files[0].name, request=request, check=check)
        kinds = {"items": LongType() if ids else StringType(), "scores": FloatType()}
        if request.reasons:
            kinds["reasons"] = ArrayType(FloatType())
        self._answers = [StructField(name, ArrayType(kind)) for name, kind in kinds.items()]

    def __call__(self, histories: DataFrame) -> DataFrame:
        """Rank items for each row, as :func:`score`."""
        check_columns(histories.schema, self.takes, "the table")
        others = [column for column in histories.schema if column.name != "history"]
        return histories.mapInArrow(self._rank, StructType([*others, *self._answers]))


def snapshot(model: str) -> list[Path]:
    """Copy a model into Spark's folder of files on the driver, and return the copies, the graph first.

    Spark keeps the first file that it gets under a name for the whole session. So a name must say what the file holds: the
    graph is named by its digest. The weights of an export over 2 GB are in a second file, which has a digest in its name.
    """
    if not Path(model).is_file():
        raise no_file(model)
    copy, digest = copied(Path(model))
    graph = copy.replace(copy.with_name(f"{digest}.onnx"))
    beside = list(Path(model).parent.glob("*.data"))
    content = graph.read_bytes() if beside else b""
    return [graph, *(copied_weights(file) for file in beside if file.name.encode() in content)]


def copied_weights(file: Path) -> Path:
    """Copy a file of weights under its own name; a ValueError if the name has not the digest of what it holds."""
    copy, digest = copied(file)
    if not file.name.endswith(f".{digest[:16]}.data"):
        copy.unlink()
        raise ValueError(f"{file} holds other weights than its name says (digest {digest[:16]}): export the model again.")
    return copy.replace(copy.with_name(file.name))


def copied(file: Path) -> tuple[Path, str]:
    """Copy a file into Spark's folder, under a new name; return the copy and its SHA-256."""
    copy, digest = Path(SparkFiles.getRootDirectory(), f"{uuid4()}.unfinished"), hashlib.sha256()
    with file.open("rb") as source, copy.open("wb") as target:
        while block := source.read(2**24):
            digest.update(block)
            target.write(block)
    return copy, digest.hexdigest()


def no_file(model: str) -> ValueError:
    found = "a folder" if Path(model).is_dir() else "missing"
    return ValueError(f"{model} is {found}: expected a model exported with --io tokens or --io ids.")


def open_model(path: str, threads: int = 1, check: bool = True, called: str | None = None) -> ort.InferenceSession:
    """Open a file exported with ``--io tokens`` or ``--io ids``; any other is a ValueError, which names it as called.

    With ``check`` a damaged file is a ValueError too.
    """
    called = called or path
    if not Path(path).is_file():
        raise no_file(called)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no narrower type.
        raise ValueError(f"{called} is no ONNX model that onnxruntime can read: export the model again.") from error
    inputs = {name: value.type for name, value in inputs_of(session).items()}
    known = inputs.get("history") in (TOKENS, IDS) and inputs.get("k") == IDS
    if not known or not inputs.keys() <= {"history", "k", *OPTIONS}:
        types = ", ".join(f"{kind} {name}" for name, kind in inputs.items())
        raise ValueError(f"{called} takes {types}: expected history and k; export the model with --io tokens or --io ids.")
    metadata = session.get_modelmeta().custom_metadata_map
    version = metadata.get("contract_version")
    if version not in VERSIONS:
        known_versions = " and ".join(VERSIONS)
        raise ValueError(f"{called} has the contract version {version}, this client knows {known_versions}: update it.")
    expected = metadata.get("weights_sha256")  # Files of older exporters have none.
    if check and expected and (found := weights_digest(path, metadata.get("weights_file"))) != expected:
        raise ValueError(f"{called} is damaged: the SHA-256 of its weights is {found}, not {expected}; copy the file again.")
    return session


def weights_digest(path: str, second: str | None = None) -> str:
    """The SHA-256 of a file's graph, field 7 of the message ModelProto, and then of its second file, if there is one."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while key := number_of(file):
            number = number_of(file)
            if key == 7 << 3 | 2:  # 2: a field of so many bytes.
                add_bytes(digest, file, number)
            elif key & 7 == 2:
                file.seek(number, 1)
    if second:
        with Path(path).with_name(second).open("rb") as file:
            add_bytes(digest, file)
    return digest.hexdigest()


def add_bytes(digest: Any, file: BinaryIO, count: int = sys.maxsize) -> None:
    while block := file.read(min(count, 2**20)):
        digest.update(block)
        count -= len(block)


def number_of(file: BinaryIO) -> int:
    """A number of a message: seven bits a byte, the lowest first; the last byte is below 128. 0 at the end of the file."""
    number = shift = 0
    while byte := file.read(1):
        number |= (byte[0] & 127) << shift
        shift += 7
        if byte[0] < 128:
            break
    return number


@lru_cache(maxsize=1)
def load_model(path: str, threads: int, check: bool = True) -> ort.InferenceSession:
    """Open a model in a worker once, as Spark gives many tasks to the same Python process. The path says what it holds."""
    return open_model(path, threads, check)


def inputs_of(session: ort.InferenceSession) -> dict[str, ort.NodeArg]:
    """The inputs by name. onnxruntime lists a k that has a default as an initializer, not as an input."""
    return {value.name: value for value in (*session.get_inputs(), *session.get_overridable_initializers())}


def takes_ids(session: ort.InferenceSession) -> bool:
    return inputs_of(session)["history"].type == IDS


def check_request(session: ort.InferenceSession, request: Request) -> None:
    """A ValueError if the file lacks an option that is used, or k or a list is of a wrong type."""
    k = request.k
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"k is {k!r}: expected a whole number of 1 or more.")
    for name in ("exclude", "among"):
        items = getattr(request, name)
        if items is not None and name not in inputs_of(session):
            raise ValueError(f"the model has no input {name}: export it with {OPTIONS[name]}.")
        kind = int if takes_ids(session) else str
        if items is not None and not (isinstance(items, list) and all(isinstance(item, kind) for item in items)):
            raise ValueError(f"{name} is {str(items)[:60]!r}: expected a list of items, each of type {kind.__name__}.")
    if request.among == []:
        raise ValueError("among has no item: there is nothing to rank.")
    if request.reasons and "reasons" not in [output.name for output in session.get_outputs()]:
        raise ValueError("the model has no output reasons: export it with --reasons.")


def check_columns(columns: StructType, takes: str, table: str) -> None:
    """A ValueError if there is no column ``history`` of the type that the model takes, or a column is named as an answer."""
    if "history" not in columns.names:
        raise ValueError(f"{table} has no column history: it has {', '.join(columns.names)}.")
    if (kind := columns["history"].dataType.simpleString()) != takes:
        raise ValueError(f"the column history of {table} is {kind}: the model takes {takes}.")
    for name in columns.names:
        if name.lower() in ("items", "scores", "reasons"):
            raise ValueError(f"{table} has a column {name}, which the result adds: rename it.")


def rank_in_task(batches: Iterator[pa.RecordBatch], file: str, request: Request, check: bool) -> Iterator[pa.RecordBatch]:
    """Run a task of Spark, with as many threads as it has cores: one, unless spark.task.cpus says more."""
    return rank(batches, load_model(SparkFiles.get(file), TaskContext.get().cpus(), check), request)


def rank(batches: Iterator[pa.RecordBatch], session: ort.InferenceSession, request: Request) -> Iterator[pa.RecordBatch]:
    """Replace the column ``history`` by ``items``, ``scores`` and, if asked for, ``reasons``."""
    inputs, ids = inputs_of(session), takes_ids(session)
    fixed = {"k": np.array([request.k], np.int64)}
    if "exclude" in inputs:
        kind = np.int64 if ids else object
        fixed |= {name: np.array([getattr(request, name) or []], kind) for name in ("exclude", "among")}
    if "noise" in inputs:
        fixed["noise"] = np.zeros((1, inputs["noise"].shape[1]), np.float32)
    names = ["items", "scores", "reasons"] if request.reasons else ["items", "scores"]
    for rows in by_length(batches):
        lengths = lengths_of(rows).to_numpy()
        history = padded(rows["history"], lengths, 0 if ids else "")
        answers = without_padding(lengths, *session.run(names, {"history": history, **fixed}))
        others = rows.drop_columns("history")
        yield pa.RecordBatch.from_arrays([*others.columns, *answers], [*others.schema.names, *names])


def by_length(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows in batches for the model, longest histories first: similar lengths need little padding."""
    for batch in batches:
        batch = batch.take(pc.array_sort_indices(lengths_of(batch), order="descending"))
        lengths, start = lengths_of(batch).to_numpy(), 0
        while start < batch.num_rows:
            size = min(BATCH, max(1, BATCH_ITEMS // max(1, lengths[start])))
            yield batch.slice(start, size)
            start += size


def lengths_of(batch: pa.RecordBatch) -> pa.Array:
    return pc.fill_null(pc.list_value_length(batch["history"]), 0)


def padded(histories: pa.ListArray, lengths: np.ndarray, padding: str | int) -> np.ndarray:
    """The histories as one array [batch, longest]; null items become padding too."""
    items = pc.fill_null(histories.flatten(), padding).to_numpy(zero_copy_only=False)
    items = np.append(items, np.array([padding], items.dtype))
    starts, column = np.cumsum(lengths) - lengths, np.arange(lengths.max())
    return items[np.where(column < lengths[:, None], starts[:, None] + column, -1)]


def without_padding(
    lengths: np.ndarray, items: np.ndarray, scores: np.ndarray, reasons: np.ndarray | None = None
) -> list[pa.Array]:
    """The model's answers as columns of lists. ``reasons`` has a list for each item, as long as the history."""
    ranked = scores > -np.inf
    counts = ranked.sum(axis=1)
    columns = [lists(counts, pa.array(items[ranked])), lists(counts, pa.array(scores[ranked]))]
    if reasons is not None:
        of_item = np.arange(reasons.shape[2]) < lengths[:, None, None]
        inner = pa.array(reasons[ranked[:, :, None] & of_item])
        columns.append(lists(counts, lists(np.repeat(lengths, counts), inner)))
    return columns


def lists(counts: np.ndarray, values: pa.Array) -> pa.ListArray:
    """The values as lists of these lengths."""
    return pa.ListArray.from_arrays(np.append(0, np.cumsum(counts)).astype(np.int32), values)
