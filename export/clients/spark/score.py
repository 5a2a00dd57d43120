"""Recommendations for millions of histories: Spark runs an exported model.

spark-submit score.py MODEL.onnx HISTORIES.parquet RESULT.parquet [-k 10] [--exclude FILE] [--among FILE] [--reasons]

HISTORIES has a column for the user, of any type, and ``history``: array<string> of item tokens, or array<bigint> of ids if
the model takes ids. A null history is an empty one; null and unknown items are ignored.

RESULT is a folder of Parquet files with the user and, best first, ``items`` and ``scores``, shorter than k if fewer items
remain. The input's files are divided among parts, each a folder ``part=0``, ``part=1`` and so on. Spark writes ``_SUCCESS``
into a part when it is complete. The same command again scores only the parts without ``_SUCCESS``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.compute as pc
from py4j.protocol import Py4JJavaError
from pyspark import SparkFiles, TaskContext
from pyspark.errors import PySparkException
from pyspark.sql import Row, SparkSession
from pyspark.sql.functions import unix_millis
from pyspark.sql.types import ArrayType, FloatType, LongType, StringType, StructField, StructType

VERSIONS = ("1", "2")
#: The type of a history of tokens, and of one of RecBole's item ids.
TOKENS, IDS = "tensor(string)", "tensor(int64)"
#: The optional inputs of a file, each with the option of multvae-export that adds it.
OPTIONS = {"exclude": "--filters", "among": "--filters", "noise": "--posterior"}
#: The most histories of a run of the model, and the most items of a run, padding counted: they bound its memory.
BATCH, BATCH_ITEMS = 256, 256 * 256
SETTINGS = "_settings.json"


class Job(NamedTuple):
    """The command line. ``exclude`` and ``among`` are for all rows; without ``partitions`` each file is one, 64 at most."""

    model: str
    histories: str
    result: str
    k: int = 10
    user: str = "user"
    exclude: list[str] | list[int] | None = None
    among: list[str] | list[int] | None = None
    reasons: bool = False
    partitions: int | None = None


@lru_cache(maxsize=1)
def load_model(path: str, threads: int = 1) -> ort.InferenceSession:
    """Open a file exported with ``--io tokens`` or ``--io ids``; any other file is a ValueError.

    A process opens it once, as Spark gives many tasks to the same Python process.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} is missing: expected a model exported with --io tokens or --io ids.")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no narrower type.
        raise ValueError(f"{path} is no ONNX model that onnxruntime can read: export the model again.") from error
    inputs = {name: value.type for name, value in inputs_of(session).items()}
    known = inputs.get("history") in (TOKENS, IDS) and inputs.get("k") == IDS
    if not known or not inputs.keys() <= {"history", "k", *OPTIONS}:
        types = ", ".join(f"{kind} {name}" for name, kind in inputs.items())
        raise ValueError(f"{path} takes {types}: expected history and k; export the model with --io tokens or --io ids.")
    version = session.get_modelmeta().custom_metadata_map.get("contract_version")
    if version not in VERSIONS:
        raise ValueError(f"{path} has the contract version {version}, score.py knows {' and '.join(VERSIONS)}: update it.")
    return session


def inputs_of(session: ort.InferenceSession) -> dict[str, ort.NodeArg]:
    """The inputs by name. onnxruntime lists a k that has a default as an initializer, not as an input."""
    return {value.name: value for value in (*session.get_inputs(), *session.get_overridable_initializers())}


def takes_ids(session: ort.InferenceSession) -> bool:
    return inputs_of(session)["history"].type == IDS


def rank_in_task(batches: Iterator[pa.RecordBatch], job: Job) -> Iterator[pa.RecordBatch]:
    """Run a task of Spark, with as many threads as it has cores: one, unless spark.task.cpus says more."""
    return rank(batches, load_model(SparkFiles.get(Path(job.model).name), TaskContext.get().cpus()), job)


def rank(batches: Iterator[pa.RecordBatch], session: ort.InferenceSession, job: Job) -> Iterator[pa.RecordBatch]:
    """Replace the column ``history`` by ``items``, ``scores`` and, if asked for, ``reasons``."""
    inputs, ids = inputs_of(session), takes_ids(session)
    fixed = {"k": np.array([job.k], np.int64)}
    if "exclude" in inputs:
        kind = np.int64 if ids else object
        fixed |= {name: np.array([getattr(job, name) or []], kind) for name in ("exclude", "among")}
    if "noise" in inputs:
        fixed["noise"] = np.zeros((1, inputs["noise"].shape[1]), np.float32)
    names = ["items", "scores", "reasons"] if job.reasons else ["items", "scores"]
    for rows in by_length(batches):
        lengths = lengths_of(rows).to_numpy()
        history = padded(rows["history"], lengths, 0 if ids else "")
        answers = without_padding(lengths, *session.run(names, {"history": history, **fixed}))
        users = rows.drop_columns("history")
        yield pa.RecordBatch.from_arrays([*users.columns, *answers], [*users.schema.names, *names])


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


def score(spark: SparkSession, job: Job) -> int:
    """Score the parts that the result lacks, and return their number.

    Raises:
        ValueError: the model or the histories are not as expected, or the result was made with other settings.
    """
    session = load_model(job.model)
    check_options(session, job)
    files, columns = read_input(spark, job, "array<bigint>" if takes_ids(session) else "array<string>")
    shares = share_out(files, min(len(files), 64) if job.partitions is None else job.partitions)
    folder = Folder(spark, job.result)
    check_settings(folder, settings(job._replace(partitions=len(shares)), files))
    missing = [part for part in range(len(shares)) if not folder.has(f"part={part}/_SUCCESS")]

    spark.sparkContext.addFile(job.model)
    spark.sparkContext.addPyFile(__file__)
    kinds = {"items": LongType() if takes_ids(session) else StringType(), "scores": FloatType()}
    if job.reasons:
        kinds["reasons"] = ArrayType(FloatType())
    schema = StructType([columns[job.user], *(StructField(name, ArrayType(kind)) for name, kind in kinds.items())])

    def write(part: int) -> None:
        rows = spark.read.schema(columns).parquet(*shares[part])
        rows.mapInArrow(partial(rank_in_task, job=job), schema).write.mode("overwrite").parquet(f"{job.result}/part={part}")

    # Several parts at once, so that no core waits for the last task of a part.
    with ThreadPoolExecutor(spark.sparkContext.defaultParallelism) as pool:
        list(pool.map(write, missing))
    if not folder.has("_SUCCESS"):
        folder.write("_SUCCESS", "")
    return len(missing)


def check_options(session: ort.InferenceSession, job: Job) -> None:
    """A ValueError if the job uses an option that the file lacks, or its k or lists are of a wrong type."""
    if isinstance(job.k, bool) or not isinstance(job.k, int) or job.k < 1:
        raise ValueError(f"k is {job.k!r}: expected a whole number of 1 or more.")
    for name in ("exclude", "among"):
        items = getattr(job, name)
        if items is not None and name not in inputs_of(session):
            raise ValueError(f"the model has no input {name}: export it with {OPTIONS[name]}.")
        kind = int if takes_ids(session) else str
        if items is not None and not (isinstance(items, list) and all(isinstance(item, kind) for item in items)):
            raise ValueError(f"{name} is {str(items)[:60]!r}: expected a list of items, each of type {kind.__name__}.")
    if job.reasons and "reasons" not in [output.name for output in session.get_outputs()]:
        raise ValueError("the model has no output reasons: export it with --reasons.")


def read_input(spark: SparkSession, job: Job, kind: str) -> tuple[list[Row], StructType]:
    """The input's files, each with path, length and modified, and its two columns."""
    path, user = job.histories, job.user
    if user in ("history", "items", "scores", "reasons", "part"):
        raise ValueError(f"the user's column cannot be named {user}: rename it, as the input or result has a column {user}.")
    try:
        modified = unix_millis("modificationTime").alias("modified")
        files = spark.read.format("binaryFile").load(path).select("path", "length", modified).collect()
        columns = spark.read.parquet(path).schema
    except (PySparkException, Py4JJavaError) as error:
        cause = str(getattr(error, "java_exception", error)).splitlines()[0]
        raise ValueError(f"{path} cannot be read as Parquet: {cause}") from error
    for name in (user, "history"):
        if name not in columns.names:
            raise ValueError(f"{path} has no column {name}: it has {', '.join(columns.names)}.")
    if (column_type := columns["history"].dataType.simpleString()) != kind:
        raise ValueError(f"the column history of {path} is {column_type}: the model takes {kind}.")
    return sorted(files), StructType([columns[user], columns["history"]])


def share_out(files: list[Row], parts: int) -> list[list[str]]:
    """The paths of each part, with about the same bytes in each part; the same files give the same parts."""
    if not 1 <= parts <= len(files):
        raise ValueError(f"--partitions is {parts}: expected 1 to {len(files)}, the number of the input's files.")
    shares: list[list[str]] = [[] for _ in range(parts)]
    sizes = [0] * parts
    for file in sorted(files, key=lambda file: (-file.length, file.path)):
        smallest = sizes.index(min(sizes))
        shares[smallest].append(file.path)
        sizes[smallest] += file.length
    return shares


def settings(job: Job, files: list[Row]) -> dict[str, Any]:
    """The settings that all parts of a result share, long ones as digests; a file beside the parts keeps them."""
    return {
        "model": hashlib.sha256(Path(job.model).read_bytes()).hexdigest(),
        "input": {"files": len(files), "bytes": sum(file.length for file in files), "digest": digest(files)},
        **{name: getattr(job, name) for name in ("k", "user", "reasons", "partitions")},
        **{name: digest(getattr(job, name)) for name in ("exclude", "among")},
    }


def digest(values: list[Any] | None) -> str | None:
    return values and hashlib.sha256(repr(values).encode()).hexdigest()


def check_settings(folder: Folder, wanted: dict[str, Any]) -> None:
    """Write the settings of a new result; a ValueError if the result exists with other settings."""
    if not folder.has(SETTINGS):
        if any(not name.startswith(("_", ".")) for name in folder.names()):
            raise ValueError(f"{folder.path} exists and is no result of score.py: give the name of a new folder.")
        folder.write(SETTINGS, json.dumps(wanted, indent=2))
    saved = json.loads(folder.read(SETTINGS))
    if other := [name for name in wanted if saved.get(name) != wanted[name]]:
        raise ValueError(
            f"{folder.path} was made with other settings ({', '.join(other)}): give those, or the name of a new folder."
        )


class Folder:
    """A folder on any file system that Spark can write to."""

    def __init__(self, spark: SparkSession, path: str) -> None:
        self.path, self._path_of = path, spark._jvm.org.apache.hadoop.fs.Path
        self._files = self._path_of(path).getFileSystem(spark._jsc.hadoopConfiguration())

    def has(self, name: str) -> bool:
        return self._files.exists(self._path_of(self.path, name))

    def names(self) -> list[str]:
        root = self._path_of(self.path)
        return [file.getPath().getName() for file in self._files.listStatus(root)] if self._files.exists(root) else []

    def read(self, name: str) -> str:
        stream = self._files.open(self._path_of(self.path, name))
        try:
            return bytes(stream.readAllBytes()).decode()
        finally:
            stream.close()

    def write(self, name: str, text: str) -> None:
        """Write under another name, then rename, so that no file is ever half written."""
        unfinished = self._path_of(self.path, f"{name}.unfinished")
        stream = self._files.create(unfinished)
        stream.write(text.encode())
        stream.close()
        self._files.rename(unfinished, self._path_of(self.path, name))


def read_items(path: str | None, ids: bool) -> list[str] | list[int] | None:
    """The items of a file, one a line."""
    if path is None:
        return None
    try:
        # str.splitlines would also cut a token at U+2028 and the like.
        lines = Path(path).read_bytes().decode("utf-8").split("\n")
        items = [item for line in lines if (item := line.removesuffix("\r"))]
        return list(map(int, items)) if ids else items
    except (OSError, ValueError) as error:
        kind = "an item id" if ids else "an item token"
        raise ValueError(f"{path} cannot be read: expected a file with {kind} a line.") from error


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Recommend items for every history of a Parquet table.")
    parser.add_argument("model", metavar="MODEL.onnx", help="a model exported with --io tokens or --io ids")
    parser.add_argument("histories", metavar="HISTORIES.parquet", help="with the columns user and history")
    parser.add_argument("result", metavar="RESULT.parquet", help="a folder; an incomplete one is completed")
    parser.add_argument("-k", type=int, default=10, help="how many items (default: 10)")
    parser.add_argument("--user", metavar="COLUMN", default="user", help="the column of the user (default: user)")
    parser.add_argument("--exclude", metavar="FILE", help="never recommend these: a file with an item a line")
    parser.add_argument("--among", metavar="FILE", help="recommend only these, likewise")
    parser.add_argument("--reasons", action="store_true", help="add how much each item of the history raises each score")
    parser.add_argument("--partitions", metavar="N", type=int, help="how many parts (default: one a file, 64 at most)")
    job = Job(**vars(parser.parse_args()))
    try:
        if job.k < 1:
            raise ValueError(f"-k is {job.k}: expected 1 or more.")
        ids = takes_ids(load_model(job.model))
        exclude, among = read_items(job.exclude, ids), read_items(job.among, ids)
        if among == []:
            raise ValueError(f"{job.among} has no item: there is nothing to rank.")
        spark = SparkSession.builder.appName("score.py").getOrCreate()
        score(spark, job._replace(exclude=exclude, among=among))
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    # Imported by its name, as in the workers: only then do these keep their session from task to task.
    from score import main

    main()
