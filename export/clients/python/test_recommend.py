"""Every case of golden.json, and the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bench
import numpy as np
import pytest
from recommend import because, load_model, read_items, recommend

CLIENTS = Path(__file__).parent.parent
GOLDEN = json.loads((CLIENTS / "golden.json").read_text(encoding="utf-8"))
MODEL = str(CLIENTS / GOLDEN["model"])
OPTIONS, IDS = (str(CLIENTS / GOLDEN[part]["model"]) for part in ("options", "ids"))
UNKNOWN = "The model ignores items that it does not know: nobody, none.txt\n"
PARTS = (GOLDEN, GOLDEN["options"], GOLDEN["ids"])
CASES = [(str(CLIENTS / part["model"]), case) for part in PARTS for case in part["cases"]]


@pytest.mark.parametrize(("model", "case"), CASES, ids=[f"{Path(model).stem}: {case['name']}" for model, case in CASES])
def test_golden(model: str, case: dict[str, Any]) -> None:
    options = {name: case[name] for name in ("exclude", "among") if name in case}
    if "noise" in case:
        options["noise"] = np.array(case["noise"], float)  # None becomes NaN.
    items, scores, reasons = recommend(load_model(model), case["history"], case["k"], **options)
    assert items.tolist() == case["items"]
    expected = [[-np.inf if score is None else score for score in row] for row in case["scores"]]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=GOLDEN["tolerance"])
    assert (reasons is not None) == ("reasons" in case)
    if reasons is not None:
        np.testing.assert_allclose(reasons, case["reasons"], rtol=0, atol=GOLDEN["tolerance"])


def test_histories_are_padded() -> None:
    items, *_ = recommend(load_model(MODEL), [["42"], ["7", "a b", "007"], []], 3)
    assert items[:, 0].tolist() == ["café", "café", "café"]
    assert [len(part) for part in recommend(load_model(OPTIONS), [], 3)] == [0, 0, 0]


def test_threads_share_a_session() -> None:
    session = load_model(OPTIONS)
    cases = [case for case in GOLDEN["options"]["cases"] if "noise" not in case]

    def items(case: dict[str, Any]) -> list[list[str]]:
        options = {name: case[name] for name in ("exclude", "among") if name in case}
        return recommend(session, case["history"], case["k"], **options).items.tolist()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(items, cases * 100)) == [case["items"] for case in cases] * 100


@pytest.mark.parametrize("model", [OPTIONS, IDS])
@pytest.mark.parametrize(
    "made", [tuple, set, np.array, iter, lambda row: np.array(row, object), lambda row: dict.fromkeys(row)]
)
def test_lists_may_be_of_any_kind(model: str, made: Callable[[list[Any]], Any]) -> None:
    session, items = load_model(model), [3, 1, 2] if model == IDS else ["café", "7", "42"]
    history, excluded = items[:1], items[1:]
    expected = recommend(session, [history], 3, exclude=[excluded], among=[items])
    ranking = recommend(session, iter([made(history)]), np.int64(3), exclude=[made(excluded)], among=(made(items),))
    assert [part.tolist() for part in ranking] == [part.tolist() for part in expected]
    whole = recommend(session, np.array([history]), 3, exclude=np.array([excluded]), among=np.array([items]))
    assert [part.tolist() for part in whole] == [part.tolist() for part in expected]
    assert because(made(history), np.array([1.0])) == history[0]


@pytest.mark.parametrize("nothing", [[], (), np.array([]), np.empty((1, 0)), [[]], iter([])])
def test_empty_lists_ask_for_nothing(nothing: Any) -> None:
    session = load_model(OPTIONS)
    expected = recommend(session, [["42"]], 3).items.tolist()
    assert recommend(session, [["42"]], 3, exclude=nothing, among=np.empty((1, 0))).items.tolist() == expected


@pytest.mark.parametrize("histories", [[], [["42"]]])
@pytest.mark.parametrize("k", [0, -3, 2.5, 3.0, True, "3", None, np.float64(3), np.array([3]), float("nan")])
def test_k_is_a_whole_number_of_1_or_more(k: Any, histories: list[list[str]]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"k is {k!r}: expected a whole number of 1 or more.")):
        recommend(load_model(OPTIONS), histories, k)


@pytest.mark.parametrize("k", [np.int32(8), np.uint8(8), np.array(8), 9, 2**63, 2**70])
def test_k_above_the_catalogue_is_the_catalogue(k: Any) -> None:
    assert recommend(load_model(OPTIONS), [[]], k).items.shape == (1, 8)
    assert recommend(load_model(OPTIONS), [], k).items.shape == (0, 8)


@pytest.mark.parametrize("name", ["histories", "exclude", "among"])
@pytest.mark.parametrize(
    ("model", "value", "message"),
    [
        (OPTIONS, "abc", "is 'abc': expected a list of items for each row, as in [['a', 'b'], ['c']]."),
        (OPTIONS, b"abc", "is b'abc': expected a list of items"),
        (OPTIONS, 5, "is 5: expected a list of items"),
        (OPTIONS, np.array("abc"), "is array('abc', dtype='<U3'): expected a list of items"),
        (OPTIONS, ["abc"], "holds 'abc': expected a list of items"),
        (OPTIONS, np.array(["abc"]), "holds 'abc': expected a list of items"),
        (OPTIONS, [None], "holds None: expected a list of items"),
        (OPTIONS, [["7", 42]], "holds 42: the model takes tokens, str."),
        (OPTIONS, [[None]], "holds None: the model takes tokens, str."),
        (OPTIONS, np.zeros((1, 2, 2)), "holds array([0., 0.]): the model takes tokens, str."),
        (IDS, [2], "holds 2: expected a list of items"),
        (IDS, [["2"]], "holds '2': the model takes item ids, int."),
        (IDS, [[1.9]], "holds 1.9: the model takes item ids, int."),
        (IDS, [[1, True]], "holds True: the model takes item ids, int."),
        (IDS, [[2**63]], "holds 9223372036854775808: the model takes item ids of 64 bits."),
    ],
)
def test_only_lists_of_lists_of_items_are_accepted(name: str, model: str, value: Any, message: str) -> None:
    arguments = {"histories": [[]], "k": 3, name: value}
    with pytest.raises(ValueError, match=re.escape(f"{name} {message}")) as caught:
        recommend(load_model(model), **arguments)
    assert "\n" not in str(caught.value)


def test_a_token_is_unicode() -> None:
    with pytest.raises(ValueError, match=re.escape("'\\ud800' is no token: it has half a surrogate pair; read")):
        recommend(load_model(OPTIONS), [["7"]], 3, exclude=[["\ud800"]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exclude": [[], [], []]}, "exclude has 3 rows: expected one, or one for each of 2 histories."),
        ({"among": [["7"], [], []]}, "among has 3 rows"),
        ({"noise": np.zeros((3, 3))}, "noise has 3 rows"),
        ({"noise": np.zeros(3)}, "noise has the shape [3]: expected rows of 3 numbers, the model's K."),
        ({"noise": np.zeros((1, 2))}, "noise has the shape [1, 2]"),
    ],
)
def test_options_have_a_row_or_a_row_for_each_history(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        recommend(load_model(OPTIONS), [["7"], ["42"]], 3, **options)


def test_a_file_has_a_token_a_line_exactly(tmp_path: Path) -> None:
    path, tokens = tmp_path / "items.txt", ["x,y", " a b ", "1\u20282", "1\x0b2", "1\x852", "1\r2"]
    for end in ("\n", "\r\n"):
        path.write_bytes(end.join([*tokens, "", ""]).encode())
        assert read_items(str(path)) == [tokens]


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    damaged, found = CLIENTS / GOLDEN["damaged"]["model"], GOLDEN["damaged"]["weights_sha256"]
    with pytest.raises(ValueError, match=f"is damaged: the SHA-256 of its weights is {found}, not"):
        load_model(str(damaged))
    items, *_ = recommend(load_model(str(damaged), check=False), [["42"]], 3)
    assert items.shape == (1, 3)
    older = tmp_path / "older.onnx"
    older.write_bytes(damaged.read_bytes().replace(b"weights_sha256", b"weights_sha512"))
    load_model(str(older))


def test_threads() -> None:
    for threads in (0, 1, 2):
        session = load_model(MODEL, threads=threads)
        assert session.get_session_options().intra_op_num_threads == threads
    assert load_model(MODEL).get_session_options().intra_op_num_threads == 1
    for wrong in (-1, 1.5, True, 1025, 2**40):
        with pytest.raises(ValueError, match=re.escape(f"threads is {wrong}: expected a whole number from 0 to 1024.")):
            load_model(MODEL, threads=wrong)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).with_name("recommend.py")
    return subprocess.run([sys.executable, "-X", "utf8", script, *arguments], capture_output=True, encoding="utf-8")


def test_the_benchmark_needs_histories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (empty := tmp_path / "empty.txt").touch()
    monkeypatch.setattr(sys, "argv", ["bench.py", MODEL, str(empty)])
    with pytest.raises(SystemExit, match=re.escape(f"{empty} has no histories: expected one a line.")):
        bench.main()


def test_command_line() -> None:
    assert run(MODEL, "42", "-k", "2").stdout == "café\t1.8704\n007\t1.3451\n"


def test_command_line_with_options(tmp_path: Path) -> None:
    (tmp_path / "items.txt").write_text("007\n7\nx,y\n")
    assert run(OPTIONS, "42", "-k", "2").stdout == "café\t1.8704\tbecause of 42\n007\t1.3451\n"
    assert run(str(CLIENTS / GOLDEN["damaged"]["model"]), "--no-check").returncode == 0
    assert run(OPTIONS, "42", "--exclude", "café,7").stdout.startswith("007\t1.3451\n")
    lines = run(OPTIONS, "42", "--among", str(tmp_path / "items.txt")).stdout.splitlines()
    assert run(OPTIONS, "42", "nobody", "--exclude", "none.txt").stderr == UNKNOWN
    assert run(OPTIONS, "42", "--exclude", ",".join(["café"] * 100)).stdout.startswith("007\t1.3451\n")
    assert [line.split("\t")[0] for line in lines] == ["007", "7", "x,y"]
    assert run(IDS, "2", "-k", "2").stdout == "3\t1.8704\tbecause of 2\n6\t1.3451\n"
    assert run(IDS, "2", "--exclude", "3", "--among", "3,1").stdout.split("\t")[0] == "1"
    assert re.fullmatch("runs on (CUDA|CPU)ExecutionProvider", run(MODEL, "42", "--gpu").stderr.splitlines()[-1])


def test_command_line_errors(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a model")
    version = b"contract_version\x12\x01"
    (tmp_path / "new.onnx").write_bytes(Path(MODEL).read_bytes().replace(version + b"1", version + b"3"))
    for arguments, message in [
        (["missing.onnx", "42"], "missing.onnx is missing"),
        ([str(CLIENTS), "42"], f"{CLIENTS} is a folder: expected a model exported with --io tokens or --io ids."),
        ([str(tmp_path / "text.onnx")], "text.onnx is no ONNX model"),
        ([MODEL, "-k", "0"], "-k is 0"),
        ([MODEL, "42", "--among", "7"], "the model has no input among: export it with --filters."),
        ([OPTIONS, "42", "--among", "nobody"], "Nothing to recommend"),
        ([IDS, "café"], "'café' is no item id: the model takes RecBole's item ids."),
        ([str(CLIENTS / GOLDEN["damaged"]["model"])], "is damaged"),
        ([str(tmp_path / "new.onnx")], "has the contract version 3, this client knows 1 and 2: update it."),
    ]:
        failed = run(*arguments)
        assert failed.returncode == 1
        assert message in failed.stderr and failed.stderr.count("\n") == 1
