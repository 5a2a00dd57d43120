"""Recommendations for millions of histories: Spark runs an exported model on Parquet files.

spark-submit score.py MODEL.onnx HISTORIES.parquet RESULT.parquet [-k 10] [--exclude FILE] [--among FILE] [--reasons]
    [--no-check]

HISTORIES has a column for the user, of any type, and ``history``, as ``multvae_spark.py`` describes it. That file must lie
beside this one.

RESULT is a folder of Parquet files with the user, ``items``, ``scores`` and, if asked for, ``reasons``. The input's files
are divided among parts, each a folder ``part=0``, ``part=1`` and so on. Spark writes ``_SUCCESS`` into a part when it is
complete. The same command again scores only the parts without ``_SUCCESS``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from multvae_spark import Request, Scorer, check_columns, open_model, takes_ids
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Row, SparkSession
from pyspark.sql.functions import unix_millis
from pyspark.sql.types import StructType

SETTINGS = "_settings.json"
#: What lies in a table's folder, where some of its Parquet files hold rows that were deleted or replaced.
FORMATS = {"_delta_log": "Delta", "metadata": "Iceberg", ".hoodie": "Hudi"}


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
    check: bool = True


def run(spark: SparkSession, job: Job) -> int:
    """Score the parts that the result lacks, and return their number.

    Raises:
        ValueError: the model or the histories are not as expected, or the result was made with other settings.
    """
    scorer = Scorer(spark, job.model, Request(job.k, job.exclude, job.among, job.reasons), job.check)
    files, columns = read_input(spark, job, scorer.takes)
    shares = share_out(files, min(len(files), 64) if job.partitions is None else job.partitions)
    folder = Folder(spark, job.result)
    check_settings(folder, settings(job._replace(partitions=len(shares)), scorer.digest, files))
    missing = [part for part in range(len(shares)) if not folder.has(f"part={part}/_SUCCESS")]

    def write(part: int) -> None:
        rows = spark.read.schema(columns).parquet(*shares[part])
        scorer(rows).write.mode("overwrite").parquet(f"{job.result}/part={part}")

    # Several parts at once, so that no core waits for the last task of a part.
    with ThreadPoolExecutor(spark.sparkContext.defaultParallelism) as pool:
        list(pool.map(write, missing))
    if not folder.has("_SUCCESS"):
        folder.write("_SUCCESS", "")
    return len(missing)


def read_input(spark: SparkSession, job: Job, takes: str) -> tuple[list[Row], StructType]:
    """The input's files, each with path, length and modified, and its two columns."""
    path, user = job.histories, job.user
    if user in ("history", "items", "scores", "reasons", "part"):
        raise ValueError(f"the user's column cannot be named {user}: rename it, as the input or result has a column {user}.")
    try:
        check_format(Folder(spark, path))
        modified = unix_millis("modificationTime").alias("modified")
        files = spark.read.format("binaryFile").load(path).select("path", "length", modified).collect()
        columns = spark.read.parquet(path).schema
    except (PySparkException, Py4JJavaError) as error:
        cause = str(getattr(error, "java_exception", error)).splitlines()[0]
        raise ValueError(f"{path} cannot be read as Parquet: {cause}") from error
    if user not in columns.names:
        raise ValueError(f"{path} has no column {user}: it has {', '.join(columns.names)}.")
    chosen = StructType([column for name in (user, "history") for column in columns if column.name == name])
    check_columns(chosen, takes, path)
    return sorted(files), chosen


def check_format(folder: Folder) -> None:
    """A ValueError for a table whose Parquet files are not its rows."""
    for name in folder.names():
        if name in FORMATS:
            raise ValueError(
                f"{folder.path} is a table of {FORMATS[name]}, whose Parquet files may hold deleted rows: "
                "read it with its own reader, and call score of multvae_spark.py."
            )


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


def settings(job: Job, model: str, files: list[Row]) -> dict[str, Any]:
    """The settings that all parts of a result share, long ones as digests; a file beside the parts keeps them."""
    return {
        "model": model,
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
    parser.add_argument("--no-check", action="store_false", dest="check", help="do not look for damage of the model")
    job = Job(**vars(parser.parse_args()))
    try:
        if job.k < 1:
            raise ValueError(f"-k is {job.k}: expected 1 or more.")
        ids = takes_ids(open_model(job.model, check=job.check))
        exclude, among = read_items(job.exclude, ids), read_items(job.among, ids)
        if among == []:
            raise ValueError(f"{job.among} has no item: there is nothing to rank.")
        spark = SparkSession.builder.appName("score.py").getOrCreate()
        run(spark, job._replace(exclude=exclude, among=among))
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
