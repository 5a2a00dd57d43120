"""Measure how many histories a second score.py ranks on two cores, and the same work without Spark.

python bench.py MODEL.onnx TOKENS.txt [--histories 1000000] [--seed 0]

TOKENS.txt has an item token of the model a line. The histories are made: items by a power law of popularity, none twice in a
history, lengths 5 to 300, about 50 on average. Without Spark, two processes of one thread each read the same files with
PyArrow, rank the same batches, and write the results with PyArrow; all results must be equal.

Prints one line of JSON with histories a second. ``with_start`` counts from the start of Spark, or of the two processes. The
other numbers count from when these are ready: Spark before it starts its Python processes, the two processes with the model.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
from multvae_spark import Request, load_model, rank
from pyspark.sql import SparkSession
from score import Job, run

FILES, PROCESSES = 16, 2
#: The rows that Spark hands to Python at a time: the default of spark.sql.execution.arrow.maxRecordsPerBatch.
ROWS = 10_000


def make_input(folder: Path, tokens: list[str], count: int, seed: int) -> float:
    """Write histories into files of about the same size, and return their mean length."""
    rng = np.random.default_rng(seed)
    by_popularity, items = rng.permutation(tokens), 0
    for file, users in enumerate(np.array_split(np.arange(count), FILES)):
        histories = made_histories(by_popularity, len(users), rng)
        items += len(histories.values)
        pq.write_table(pa.table({"user": users, "history": histories}), folder / f"{file:02}.parquet")
    return items / count


def made_histories(tokens: np.ndarray, count: int, rng: np.random.Generator) -> pa.ListArray:
    """Histories of tokens, of which the first are the most popular."""
    lengths = np.clip(rng.lognormal(3.57, 0.87, count), 5, 300).astype(np.int64)
    popularity = np.cumsum(1 / (np.arange(len(tokens)) + 10))
    # Draw twice as many as needed, because repeated items of a history are left out.
    rows = np.repeat(np.arange(count), 2 * lengths)
    items = np.searchsorted(popularity, rng.random(len(rows)) * popularity[-1])
    first = np.sort(np.unique(rows * len(tokens) + items, return_index=True)[1])
    rows, items = rows[first], items[first]
    place = np.arange(len(rows)) - np.searchsorted(rows, np.arange(count))[rows]
    rows, items = (values[place < lengths[rows]] for values in (rows, items))
    offsets = np.append(0, np.cumsum(np.bincount(rows, minlength=count)))
    return pa.ListArray.from_arrays(offsets.astype(np.int32), pa.array(tokens).take(pa.array(items)))


def without_spark(job: Job) -> tuple[float, float]:
    """Rank without Spark: the seconds since the two processes were ready, and since they were started."""
    files = sorted(Path(job.histories).iterdir())
    start = time.monotonic()
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        ready = min(pool.map(partial(rank_files, job), [files[process::PROCESSES] for process in range(PROCESSES)]))
        end = time.monotonic()
    return end - ready, end - start


def rank_files(job: Job, files: list[Path]) -> float:
    """Rank files, and return when this process was ready. Linux has one monotonic clock for all processes."""
    session = load_model(job.model, 1)
    ready = time.monotonic()
    for file in files:
        ranked = rank(pq.ParquetFile(file).iter_batches(ROWS), session, Request(job.k))
        pq.write_table(pa.Table.from_batches(ranked), Path(job.result) / file.name)
    return ready


def with_spark(job: Job) -> tuple[float, float]:
    """Rank with Spark: the seconds since it was ready, and since it was started."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    start = time.monotonic()
    spark = SparkSession.builder.master(f"local[{PROCESSES}]").getOrCreate()
    ready = time.monotonic()
    run(spark, job)
    end = time.monotonic()
    spark.stop()
    return end - ready, end - start


def measure(args: argparse.Namespace, folder: Path) -> dict[str, str | int | float]:
    """The figures to print; a ValueError if there is no token, or no history to make."""
    if args.histories < 1:
        raise ValueError(f"--histories is {args.histories}: expected 1 or more.")
    tokens = Path(args.tokens).read_text(encoding="utf-8").splitlines()
    if not tokens:
        raise ValueError(f"{args.tokens} has no tokens: expected one a line.")
    histories, plain, spark = (folder / name for name in ("histories", "plain", "spark"))
    histories.mkdir()
    plain.mkdir()
    mean_length = make_input(histories, tokens, args.histories, args.seed)
    job = Job(args.model, str(histories), str(plain))
    numbers = {"plain": without_spark(job), "spark": with_spark(job._replace(result=str(spark)))}
    columns = ["user", "items", "scores"]
    ours, theirs = (pq.read_table(result, columns=columns).sort_by("user") for result in (plain, spark))
    if ours.num_rows != args.histories or not ours.equals(theirs):
        raise ValueError("the results with and without Spark differ.")
    return {
        "language": "Spark",
        "version": pyspark.__version__,
        "onnxruntime": ort.__version__,
        "histories": args.histories,
        "mean_length": round(mean_length, 1),
        **{f"{name}_per_second": round(args.histories / ready) for name, (ready, _) in numbers.items()},
        **{f"{name}_per_second_with_start": round(args.histories / start) for name, (_, start) in numbers.items()},
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure score.py, and the same work without Spark.")
    parser.add_argument("model", metavar="MODEL.onnx", help="a model exported with --io tokens")
    parser.add_argument("tokens", metavar="TOKENS.txt", help="the model's item tokens, one a line")
    parser.add_argument("--histories", metavar="N", type=int, default=1_000_000, help="how many (default: 1000000)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        with TemporaryDirectory() as folder:
            print(json.dumps(measure(args, Path(folder))))
    except (OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
