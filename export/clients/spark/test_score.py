"""The golden cases through Spark, resumption after a kill, errors, and real data against the Python client.

The test with real data needs the environment variable ML_100K, the folder of RecBole's ml-100k. ML_100K_MODEL may name a
model exported with --io tokens of a MovieLens data set; without it the golden model ranks, which knows few of the items.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import multvae_spark
import numpy as np
import onnxruntime as ort
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
import pytest
import score
from pyspark.sql import SparkSession
from score import Job

CLIENTS = Path(__file__).parent.parent
GOLDEN = json.loads((CLIENTS / "golden.json").read_text(encoding="utf-8"))
PARTS = (GOLDEN, GOLDEN["options"], GOLDEN["ids"])
MODEL, OPTIONS, IDS, DAMAGED = (str(CLIENTS / part["model"]) for part in (*PARTS, GOLDEN["damaged"]))
CASES = [(str(CLIENTS / part["model"]), case) for part in PARTS for case in part["cases"]]
LISTS = ("exclude", "among")
TOLERANCE = GOLDEN["tolerance"]


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


def write(path: Path, histories: list[Any], kind: pa.DataType | None = None) -> str:
    """Write a Parquet file of histories, for the users 0, 1 and so on."""
    columns = {"user": range(len(histories)), "history": pa.array(histories, pa.list_(kind or pa.string()))}
    pq.write_table(pa.table(columns), path)
    return str(path)


def read(result: str) -> list[dict[str, Any]]:
    return pq.read_table(result).sort_by("user").to_pylist()


def expect(result: str, items: list[list[Any]], scores: list[list[float | None]]) -> None:
    """A result has these items and scores by user, without their padding."""
    rows = read(result)
    assert len(rows) == len(items)
    for row, row_items, row_scores in zip(rows, items, scores, strict=True):
        count = sum(value is not None and value > -np.inf for value in row_scores)
        assert row["items"] == row_items[:count]
        np.testing.assert_allclose(row["scores"], row_scores[:count], rtol=0, atol=TOLERANCE)


def python_client(model: str, histories: list[list[str]], k: int) -> tuple[list[list[str]], list[list[float]]]:
    """The answers of the Python client, one history at a time."""
    sys.path.insert(0, str(CLIENTS / "python"))
    from recommend import load_model, recommend

    session = load_model(model)
    answers = [recommend(session, [history], k) for history in histories]
    return [answer.items[0].tolist() for answer in answers], [answer.scores[0].tolist() for answer in answers]


# score.py has no noise, and one list of items for all rows.
FITTING = [
    (model, case) for model, case in CASES if "noise" not in case and all(len(case.get(name, [[]])) == 1 for name in LISTS)
]


@pytest.mark.parametrize(("model", "case"), FITTING, ids=[f"{Path(model).stem}: {case['name']}" for model, case in FITTING])
def test_golden(spark: SparkSession, tmp_path: Path, model: str, case: dict[str, Any]) -> None:
    histories = write(tmp_path / "in.parquet", case["history"], pa.int64() if model == IDS else pa.string())
    lists = {name: case[name][0] for name in LISTS if name in case}
    job = Job(model, histories, str(tmp_path / "out"), case["k"], reasons="reasons" in case, **lists)
    score.run(spark, job)
    expect(job.result, case["items"], case["scores"])
    for row, history, reasons in zip(read(job.result), case["history"], case.get("reasons", ()), strict=False):
        shape = len(row["items"]), len(history)
        expected = np.reshape(reasons[: shape[0]], shape)
        np.testing.assert_allclose(np.reshape(row["reasons"], shape), expected, rtol=0, atol=TOLERANCE)


def test_null_and_very_different_lengths(spark: SparkSession, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items = np.array(["42", "7", "a b", "007", "x,y", "nobody", None])
    histories = [rng.choice(items, length).tolist() for length in rng.integers(0, 400, 600)]
    histories += [None, [], [None], ["42"] * 70_000]
    job = Job(MODEL, write(tmp_path / "in.parquet", histories), str(tmp_path / "out"), k=3)
    score.run(spark, job)
    expect(job.result, *python_client(MODEL, [[item or "" for item in history or []] for history in histories], 3))


def test_user_of_any_type(spark: SparkSession, tmp_path: Path) -> None:
    users = pa.array([{"country": "nl", "number": 1}, None])
    pq.write_table(pa.table({"other": [1, 2], "history": [["42"], ["7"]], "who": users}), tmp_path / "in.parquet")
    job = Job(MODEL, str(tmp_path / "in.parquet"), str(tmp_path / "out"), k=1, user="who")
    score.run(spark, job)
    rows = spark.read.parquet(job.result).select("who.number", "items", "part").collect()
    assert sorted(map(tuple, rows), key=str) == [(1, ["café"], 0), (None, ["café"], 0)]


def other_tokens(path: Path) -> str:
    """Write the golden model with another token for 007."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(Path(MODEL).read_bytes().replace(b"007", b"700"))
    return with_digest(path)


def with_digest(path: Path, second: str | None = None) -> str:
    """Write the digest of its weights into a changed model."""
    old = multvae_spark.open_model(str(path), check=False).get_modelmeta().custom_metadata_map["weights_sha256"]
    path.write_bytes(path.read_bytes().replace(old.encode(), multvae_spark.weights_digest(str(path), second).encode()))
    return str(path)


def test_the_model_is_replaced_in_a_session(spark: SparkSession, tmp_path: Path) -> None:
    """Spark keeps the first file of a path, and fails if it gets two files of one name."""
    histories, path = write(tmp_path / "in.parquet", [["42"]]), tmp_path / "model.onnx"
    shutil.copy(MODEL, path)
    before = multvae_spark.score(str(path), spark.read.parquet(histories), k=2)
    first = Job(str(path), histories, str(tmp_path / "first"), k=2)
    score.run(spark, first)
    other_tokens(path)
    second = first._replace(result=str(tmp_path / "second"))
    score.run(spark, second)
    of_one_name = Job(other_tokens(tmp_path / "other/golden.onnx"), histories, str(tmp_path / "other/out"), k=2)
    score.run(spark, of_one_name)
    score.run(spark, Job(MODEL, histories, str(tmp_path / "golden"), k=2))
    answers = [
        read(result)[0]["items"] for result in (first.result, second.result, of_one_name.result, str(tmp_path / "golden"))
    ]
    assert answers == [["café", "007"], ["café", "700"], ["café", "700"], ["café", "007"]]
    assert before.first()["items"] == ["café", "007"]
    for job, file in ((first, MODEL), (second, path)):
        settings = json.loads(Path(job.result, "_settings.json").read_text())
        assert settings["model"] == hashlib.sha256(Path(file).read_bytes()).hexdigest()


def with_weights_beside(folder: Path) -> Path:
    """Write the golden model as the exporter writes one over 2 GB; return the file of weights, named by their digest."""
    graph, placeholder = folder / "model.onnx", "0" * 16
    weights = folder / f"model.onnx.{placeholder}.data"
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.optimized_model_filepath = str(graph)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", weights.name)
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "64")
    ort.InferenceSession(MODEL, options)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    graph.write_bytes(graph.read_bytes().replace(placeholder.encode(), digest.encode()))
    weights = weights.rename(folder / f"model.onnx.{digest}.data")
    entry = b"".join(bytes([key, len(text), *text]) for key, text in ((10, b"weights_file"), (18, weights.name.encode())))
    graph.write_bytes(graph.read_bytes() + bytes([14 << 3 | 2, len(entry)]) + entry)  # One more entry of the metadata.
    with_digest(graph, weights.name)
    return weights


def test_weights_in_a_second_file(spark: SparkSession, tmp_path: Path) -> None:
    weights = with_weights_beside(tmp_path)
    (tmp_path / "of_another_model.data").write_bytes(b"")
    histories, model = spark.read.parquet(write(tmp_path / "in.parquet", [["42"]])), str(tmp_path / "model.onnx")
    for _ in range(2):
        assert multvae_spark.score(model, histories, k=2).first()["items"] == ["café", "007"]
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(ValueError, match=r"model\.onnx is damaged: the SHA-256 of its weights is"):
        multvae_spark.open_model(model)
    with pytest.raises(ValueError, match=f"{weights.name} holds other weights than its name says"):
        multvae_spark.score(model, histories)


def test_a_damaged_model_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    histories, found = spark.read.parquet(write(tmp_path / "in.parquet", [["42"]])), GOLDEN["damaged"]["weights_sha256"]
    with pytest.raises(ValueError, match=f"{DAMAGED} is damaged: the SHA-256 of its weights is {found}, not"):
        multvae_spark.score(DAMAGED, histories)
    assert len(multvae_spark.score(DAMAGED, histories, k=2, check=False).first()["items"]) == 2


def test_a_table(spark: SparkSession) -> None:
    """A DataFrame of any reader, such as Delta's; all columns but the history stay."""
    rows = spark.createDataFrame([(1, ["7"], "nl"), (2, ["42"], None)], "id int, history array<string>, country string")
    result = multvae_spark.score(OPTIONS, rows.filter("id = 2"), k=2, exclude=["007"], reasons=True)
    assert result.columns == ["id", "country", "items", "scores", "reasons"]
    (row,) = result.collect()
    assert (row.id, row.country, row["items"]) == (2, None, ["café", "a b"])
    for table, message in [
        (rows.withColumnRenamed("country", "Items"), "the table has a column Items, which the result adds: rename it."),
        (rows.drop("history"), "the table has no column history: it has id, country."),
    ]:
        with pytest.raises(ValueError, match=message):
            multvae_spark.score(OPTIONS, table)
    with pytest.raises(ValueError, match="among has no item"):
        multvae_spark.score(OPTIONS, rows, among=[])


def test_no_rows(spark: SparkSession, tmp_path: Path) -> None:
    job = Job(MODEL, write(tmp_path / "in.parquet", []), str(tmp_path / "out"))
    assert score.run(spark, job) == 1
    assert spark.read.parquet(job.result).columns == ["user", "items", "scores", "part"]


def test_session_is_made_once_a_process(spark: SparkSession) -> None:
    name = f"{multvae_spark.Scorer(spark, MODEL, multvae_spark.Request()).digest}.onnx"

    def session(_: Iterator[int]) -> Iterator[tuple[int, int]]:
        yield os.getpid(), id(multvae_spark.load_model(pyspark.SparkFiles.get(name), 1))

    sessions = spark.sparkContext.parallelize(range(20), 20).mapPartitions(session).collect()
    assert len(set(sessions)) == len({process for process, _ in sessions}) <= 2


def make_input(folder: Path, files: int, rows: int) -> str:
    """Make a folder of Parquet files, each with other users."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for file in range(files):
        histories = rng.choice(["42", "7", "a b", "007"], (rows, 3)).tolist()
        users = range(file * rows, (file + 1) * rows)
        pq.write_table(pa.table({"user": users, "history": histories}), folder / f"{file}.parquet")
    return str(folder)


def command(*arguments: str) -> list[str]:
    submit = Path(pyspark.__path__[0]) / "bin/spark-submit"
    return [str(submit), "--master", "local[2]", "--conf", "spark.ui.enabled=false", score.__file__, *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYTHONUTF8": "1"}


def parts_of(result: Path) -> dict[str, tuple[int, int]]:
    """The files of the complete parts, each with its inode and time, which change if it is written again."""
    complete = [mark.parent for mark in result.glob("part=*/_SUCCESS")]
    return {str(file): (file.stat().st_ino, file.stat().st_mtime_ns) for part in complete for file in part.iterdir()}


def test_resumes_after_a_kill(spark: SparkSession, tmp_path: Path) -> None:
    histories, result = make_input(tmp_path / "in", files=12, rows=5_000), tmp_path / "out"
    arguments = command(MODEL, histories, str(result), "-k", "3")
    arguments[1:1] = ["--driver-java-options", f"-Djava.io.tmpdir={tmp_path}"]  # The killed driver leaves files.
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen(arguments, env=environment(), stdout=log, stderr=log, start_new_session=True)
        while len(list(result.glob("part=*/_SUCCESS"))) < 2:
            assert driver.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.01)
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    time.sleep(1)  # The last writes of Spark's Python processes, which end when the driver is gone.
    before = parts_of(result)
    missing = [part for part in range(12) if not (result / f"part={part}/_SUCCESS").exists()]
    assert missing and not (result / "_SUCCESS").exists()
    # A kill a little later leaves some files in place, but not all of them.
    (result / f"part={missing[-1]}").mkdir(exist_ok=True)
    shutil.copy(next(result.glob("part=*/*.parquet")), result / f"part={missing[-1]}/part-00000.parquet")

    again = subprocess.run(arguments, env=environment(), capture_output=True, encoding="utf-8")
    assert again.returncode == 0, again.stderr
    assert parts_of(result).items() >= before.items()
    assert (result / "_SUCCESS").exists()
    whole = Job(MODEL, histories, str(tmp_path / "whole"), k=3)
    assert score.run(spark, whole) == 12
    assert read(str(result)) == read(whole.result)
    assert len(pd.read_parquet(result)) == spark.read.parquet(str(result)).distinct().count() == 60_000

    after = parts_of(result)
    assert score.run(spark, whole._replace(result=str(result))) == 0
    assert parts_of(result) == after


def test_parts_share_the_files(spark: SparkSession, tmp_path: Path) -> None:
    job = Job(MODEL, make_input(tmp_path / "a b", files=5, rows=10), str(tmp_path / "out"), partitions=2)
    assert score.run(spark, job) == 2
    rows = read(job.result)
    assert [row["user"] for row in rows] == list(range(50))
    assert sorted(sum(row["part"] == part for row in rows) for part in (0, 1)) == [20, 30]
    for partitions in (0, 6):
        with pytest.raises(ValueError, match=f"--partitions is {partitions}: expected 1 to 5"):
            score.run(spark, job._replace(partitions=partitions))


def test_other_settings_are_refused(spark: SparkSession, tmp_path: Path) -> None:
    job = Job(OPTIONS, make_input(tmp_path / "in", files=2, rows=10), str(tmp_path / "out"), exclude=["7"])
    score.run(spark, job)
    before = parts_of(Path(job.result))
    other_model = tmp_path / "other.onnx"
    other_model.write_bytes(Path(OPTIONS).read_bytes() + b"\x72\x00")  # An empty entry of metadata.
    for change, names in [
        ({"k": 3}, "k"),
        ({"k": 3, "exclude": ["42"]}, "k, exclude"),
        ({"among": ["42"]}, "among"),
        ({"reasons": True}, "reasons"),
        ({"partitions": 1}, "partitions"),
        ({"model": str(other_model)}, "model"),
    ]:
        with pytest.raises(ValueError, match=rf"out was made with other settings \({names}\)"):
            score.run(spark, job._replace(**change))
    os.utime(tmp_path / "in/0.parquet", (1, 1))
    with pytest.raises(ValueError, match=r"other settings \(input\)"):
        score.run(spark, job)
    assert parts_of(Path(job.result)) == before
    with pytest.raises(ValueError, match=r"in exists and is no result of score\.py"):
        score.run(spark, job._replace(result=job.histories))


def test_wrong_inputs(spark: SparkSession, tmp_path: Path) -> None:
    tokens, ids = write(tmp_path / "tokens", [["42"]]), write(tmp_path / "ids", [[1]], pa.int64())
    (tmp_path / "text").write_text("no Parquet")
    shutil.copytree(make_input(tmp_path / "plain", files=1, rows=1), tmp_path / "delta")
    (tmp_path / "delta/_delta_log").mkdir()
    job = Job(MODEL, tokens, str(tmp_path / "out"))
    for change, message in [
        ({"histories": str(tmp_path / "none")}, "none cannot be read as Parquet: .*Path does not exist"),
        ({"histories": str(tmp_path / "text")}, "text cannot be read as Parquet: .*text"),
        ({"histories": ids}, "the column history of .*ids is array<bigint>: the model takes array<string>."),
        ({"model": IDS}, "the column history of .*tokens is array<string>: the model takes array<bigint>."),
        (
            {"histories": str(tmp_path / "delta")},
            "delta is a table of Delta, whose Parquet files may hold deleted rows: read it",
        ),
        ({"user": "who"}, "tokens has no column who: it has user, history."),
        ({"user": "history"}, "the user's column cannot be named history"),
        ({"among": ["42"]}, "the model has no input among: export it with --filters."),
        ({"reasons": True}, "the model has no output reasons: export it with --reasons."),
        ({"k": 0}, "k is 0: expected a whole number of 1 or more."),
        ({"k": -3}, "k is -3: expected"),
        ({"k": 2.5}, "k is 2.5: expected"),
        ({"k": True}, "k is True: expected"),
        ({"model": OPTIONS, "exclude": "42"}, "exclude is '42': expected a list of items, each of type str."),
        ({"model": OPTIONS, "among": [42]}, r"among is '\[42\]': expected a list of items, each of type str."),
    ]:
        with pytest.raises(ValueError, match=message):
            score.run(spark, job._replace(**change))
    assert not (tmp_path / "out").exists()


def test_command_line_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.onnx").write_text("not a model")
    (tmp_path / "empty.txt").write_text("\n")
    version = b"contract_version\x12\x01"
    (tmp_path / "new.onnx").write_bytes(Path(MODEL).read_bytes().replace(version + b"1", version + b"3"))
    for arguments, message in [
        (["missing.onnx"], "missing.onnx is missing"),
        ([str(tmp_path)], f"{tmp_path} is a folder: expected a model"),
        ([str(tmp_path / "text.onnx")], "text.onnx is no ONNX model"),
        ([str(tmp_path / "new.onnx")], "has the contract version 3, this client knows 1 and 2: update it."),
        ([DAMAGED], "is damaged: the SHA-256 of its weights is"),
        ([DAMAGED, "--no-check", "--among", str(tmp_path / "empty.txt")], "empty.txt has no item"),
        ([MODEL, "-k", "0"], "-k is 0: expected 1 or more."),
        ([OPTIONS, "--exclude", "none.txt"], "none.txt cannot be read: expected a file with an item token a line."),
        ([IDS, "--exclude", __file__], "test_score.py cannot be read: expected a file with an item id a line."),
        ([OPTIONS, "--among", str(tmp_path / "empty.txt")], "empty.txt has no item: there is nothing to rank."),
    ]:
        monkeypatch.setattr(sys, "argv", ["score.py", arguments[0], "in", "out", *arguments[1:]])
        with pytest.raises(SystemExit, match=message):
            score.main()


def test_command_line(tmp_path: Path) -> None:
    """spark-submit prints all that score.py prints, errors too, on its standard output."""
    (tmp_path / "items.txt").write_text("007\nx,y\n")
    histories, result = write(tmp_path / "in.parquet", [["42"]]), str(tmp_path / "out")
    arguments = command(OPTIONS, histories, result, "-k", "2", "--exclude", str(tmp_path / "items.txt"))
    run = subprocess.run(arguments, env=environment(), capture_output=True, encoding="utf-8")
    assert run.returncode == 0, run.stderr
    assert read(result)[0]["items"] == ["café", "a b"]
    failed = subprocess.run([*arguments, "-k", "3"], env=environment(), capture_output=True, encoding="utf-8")
    sentence = f"{result} was made with other settings (k): give those, or the name of a new folder."
    assert (failed.returncode, failed.stdout) == (1, sentence + "\n")
    assert "Exception" not in failed.stderr


@pytest.mark.skipif("ML_100K" not in os.environ, reason="ML_100K does not name the folder of RecBole's ml-100k")
def test_real_data(spark: SparkSession, tmp_path: Path) -> None:
    histories = defaultdict(list)
    with next(Path(os.environ["ML_100K"]).glob("*.inter")).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            histories[row["user_id:token"]].append(row["item_id:token"])
    model = os.environ.get("ML_100K_MODEL", MODEL)
    job = Job(model, write(tmp_path / "in.parquet", list(histories.values())), str(tmp_path / "out"))
    score.run(spark, job)
    assert len(histories) == 943
    expect(job.result, *python_client(model, list(histories.values()), job.k))
