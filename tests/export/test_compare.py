"""multvae-compare: the figures, the gates, the reports, and one sentence for each way to be wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from multvae_export.architectures.linear import Linear
from multvae_export.checkpoint.identity import Identity
from multvae_export.compare import command, model_file
from multvae_export.compare.measure import Paired
from multvae_export.compare.model_file import ModelFile
from multvae_export.graph import onnx_file
from multvae_export.target import Options, Target
from multvae_export.trained_model import Model

from tests.evaluation.reference import reference

CLIENTS = Path(__file__).parents[2] / "export" / "clients"
HEADER = "user_id:token\titem_id:token\ttimestamp:float\n"
Click = tuple[str, str, int]


def weights(n_items: int, seed: int) -> np.ndarray:
    """Small whole numbers, so that many scores are equal and none is rounded."""
    return np.random.default_rng(seed).integers(-2, 3, (n_items, n_items)).astype(np.float32)


def write_file(name: str, tokens: Sequence[str], draw: int, target: Target | None = None, **identity: Any) -> str:
    """Write a file whose scores are the sum of the history's rows of :func:`weights`."""
    layer = torch.from_numpy(weights(len(tokens), draw)), torch.zeros(len(tokens))
    network = Linear((layer,), ("none",), norm=False, latent=1)
    model = Model("EDLAE", network, ("[PAD]", *tokens), "made", {}, identity=Identity(**identity))
    onnx_file.write(onnx_file.to_onnx(model, target or Target()), Path(name))
    return name


def write_clicks(name: str, clicks: Sequence[Click]) -> str:
    Path(name).write_text(HEADER + "".join(f"{user}\t{item}\t{time}\n" for user, item, time in clicks), "utf-8")
    return name


def run(*flags: str, code: int = 0) -> dict[str, Any]:
    """Run the command on old.onnx and new.onnx, and read its JSON."""
    assert command.main(["old.onnx", "new.onnx", "--json", "report.json", *flags]) == code
    return json.loads(Path("report.json").read_text("utf-8"))


OLD = [f"i{n}" for n in range(12)]
NEW = [f"i{n}" for n in (14, 3, 2, 1, 0, *range(4, 11), 13, 12)]  # Without i11, with three more, in another order.


def odd_clicks(seed: int) -> tuple[list[Click], list[Click]]:
    """Histories and targets: a user with one click, one who knows the whole old catalogue, one whose items no model knows,
    one in the targets only; repeated and unknown items, equal times, and times that are not in the order of the rows."""
    random = np.random.default_rng(seed)
    items = [*OLD, *NEW[-2:], "x0", "x1"]
    parts: list[list[Click]] = [
        [(f"u{random.integers(30)}", str(random.choice(items)), int(random.integers(20))) for _ in range(200)]
        for _ in range(2)
    ]
    parts[0] += [("one", "i3", 5), ("strange", "x0", 1), ("strange", "x1", 0), *(("all", item, 3) for item in OLD)]
    parts[0] += [("all", "i13", 4), ("all", "i12", 5), ("all", "i14", 5)]
    parts[1] += [("nobody", "i1", 1), ("one", "i3", 1), ("one", "x0", 1), ("all", "i12", 2)]
    return parts[0], parts[1]


def of_users(clicks: Sequence[Click]) -> dict[str, list[str]]:
    """The distinct items of each user by time, users in order of the file."""
    users: dict[str, list[str]] = {user: [] for user, _, _ in clicks}
    for user, item, _ in sorted(clicks, key=lambda click: click[2]):
        users[user] += [item] if item not in users[user] else []
    return users


def split(histories: Sequence[Click], targets: Sequence[Click] | None) -> tuple[list[list[str]], list[list[str]]]:
    """What the models see of each user, and what they must find."""
    rows = of_users(histories)
    if targets is not None:
        later = of_users(targets)
        return list(rows.values()), [[i for i in later.get(user, []) if i not in row] for user, row in rows.items()]
    cuts = [len(row) - (max(1, len(row) // 5) if len(row) > 1 else 0) for row in rows.values()]
    pairs = list(zip(rows.values(), cuts, strict=True))
    return [row[:cut] for row, cut in pairs], [row[cut:] for row, cut in pairs]


def rank(tokens: Sequence[str], seed: int, history: Sequence[str], k: int) -> list[str]:
    scores = sum(
        (weights(len(tokens), seed)[tokens.index(item)] for item in history if item in tokens), np.zeros(len(tokens))
    )
    order = sorted(range(len(tokens)), key=lambda n: (-scores[n], n))
    return [tokens[n] for n in order if tokens[n] not in history][:k]


@pytest.mark.parametrize("k", [3, 100])
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_figures_equal_an_independent_transcription(seed: int, later: bool, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file("old.onnx", OLD, 1), write_file("new.onnx", NEW, 2)
    histories, targets = odd_clicks(seed)
    write_clicks("day.inter", histories), write_clicks("next.inter", targets)
    monkeypatch.setattr(model_file, "NUMBERS", 100)  # Batches of a few histories.
    flags = ["--histories", "day.inter", "--k", str(k), *(["--targets", "next.inter"] if later else [])]
    report = run(*flags)
    rows, wanted = split(histories, targets if later else None)
    every = [item for row in wanted for item in row]
    both = sorted({*OLD, *NEW})
    column = {item: n for n, item in enumerate(both)}
    positives = np.array([[item in row for item in both] for row in wanted])
    lists = {"old": [rank(OLD, 1, row, k) for row in rows], "new": [rank(NEW, 2, row, k) for row in rows]}
    for name, tokens in (("old", OLD), ("new", NEW)):
        assert report[name]["items"] == len(tokens)
        assert report[name]["coverage"] == pytest.approx(len({i for row in lists[name] for i in row}) / len(tokens))
        unknown = np.mean([item not in tokens for _, item, _ in histories])
        assert report[name]["unknown_clicks"] == pytest.approx(unknown)
        columns = [np.array([column[item] for item in row], int) for row in lists[name]]
        for metric in ("ndcg", "recall"):
            zeros, counts = np.zeros(positives.shape), np.zeros(len(both), int)
            value = reference(metric, zeros, zeros > 0, positives, counts + 1, zeros > 0, k, lists=columns)
            assert report[metric][name] == pytest.approx(value)
    overlaps = sorted(
        len(set(a) & set(b)) / max(len(a), len(b)) if a or b else 1 for a, b in zip(*lists.values(), strict=True)
    )
    assert report["overlap"]["mean"] == pytest.approx(np.mean(overlaps))
    assert report["overlap"]["lowest_tenth"] == pytest.approx(overlaps[-(-len(rows) // 10) - 1])
    assert (report["kept"], report["added"]["count"], report["removed"]) == (11, 3, {"count": 1, "examples": ["i11"]})
    assert report["relevant"] == {
        "order": "targets" if later else "timestamp",
        "users": int(positives.any(axis=1).sum()),
        "items": int(positives.sum()),
        "left_out": sum(item not in column for item in every),
        "only_old": every.count("i11"),
        "only_new": sum(item in NEW and item not in OLD for item in every),
        "repeated": sum(map(len, of_users(targets).values())) - len(every) - 1 if later else 0,
        "new_users": int(later),
    }
    shares = {item: [sum(item in row for row in part) / len(rows) for part in lists.values()] for item in both}
    largest = sorted((abs(new - old) for old, new in shares.values()), reverse=True)
    assert [abs(mover["new"] - mover["old"]) for mover in report["movers"]] == pytest.approx([x for x in largest if x][:10])
    assert all([mover["old"], mover["new"]] == pytest.approx(shares[mover["item"]]) for mover in report["movers"])


def test_the_interval_is_of_the_users_differences() -> None:
    old, new = np.array([0.0, 1.0, 0.5, 0.25]), np.array([0.5, 1.0, 0.5, 0.0])
    paired = Paired.of(old, new)
    assert (paired.old, paired.new, paired.difference) == (0.4375, 0.5, 0.0625)
    reach = 1.96 * np.std([0.5, 0, 0, -0.25], ddof=1) / 2
    assert (paired.low, paired.high) == pytest.approx((0.0625 - reach, 0.0625 + reach))
    assert Paired.of(old[:1], new[:1]) == Paired(0.0, 0.5, 0.5, None, None)


def test_without_times_the_rows_are_in_order_and_a_report_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    write_file("old.onnx", OLD, 1), write_file("new.onnx", NEW, 1)
    Path("day.inter").write_text("item_id:token\tuser_id:token\ni1\tu\ni2\tu\ni3\tu\ni11\tv\n")
    report = run("--histories", "day.inter")
    assert report["relevant"]["order"] == "the order of the file" and report["relevant"]["users"] == 1
    out = capsys.readouterr().out
    assert "in the order of the file, is to be found" in out and "Users with an item to find: 1; items to find: 1." in out
    assert report["ndcg"]["low"] is None


@pytest.mark.parametrize("name", ["golden.options.onnx", "golden.ids.onnx"])
def test_forms_and_options_rank_as_the_plain_file(name: str) -> None:
    file, plain = ModelFile(str(CLIENTS / name)), ModelFile(str(CLIENTS / "golden.onnx"))
    histories = [np.array([1]), np.array([5, 8, 2, 9, 10]), np.arange(1, 9), np.array([11])]
    tokens = [["", *plain.tokens, "x", "y", "z"], ["", *map(str, range(1, 12))]]
    lists = [each.best(histories, tokens[each.io == "ids"], 5) for each in (plain, file)]
    assert lists[0].tolist() == lists[1].tolist()
    assert lists[0][2].tolist() == [0] * 5 and lists[0][3].all()


def test_ids_are_ids(capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("old.onnx", 1), ("new.onnx", 2)):
        write_file(name, OLD, seed, Target("ids", options=Options(filters=True)))
    write_clicks("day.inter", [("u", "1", 2), ("u", "12", 1), ("u", "13", 3), ("v", "i1", 0)])
    report = run("--histories", "day.inter")
    assert report["old"]["unknown_clicks"] == report["new"]["unknown_clicks"] == 0.5
    assert "Items are RecBole's ids." in capsys.readouterr().out


def test_a_file_beside_itself_has_no_difference() -> None:
    write_file("new.onnx", OLD, 1, saved_at=1_780_000_000, seed=7, test_metrics={"ndcg@10": 0.25})
    write_file("old.onnx", OLD, 1)
    write_clicks("day.inter", odd_clicks(0)[0])
    report = run("--histories", "day.inter", "--min-overlap", "1", "--max-loss", "0", "--k", "12")
    assert report["overlap"] == {"mean": 1.0, "lowest_tenth": 1.0}
    assert report["movers"] == report["failed"] == []
    assert (report["ndcg"]["low"], report["ndcg"]["high"]) == (0, 0)
    assert report["new"]["identity"]["trained_at"] == "2026-05-28T20:26:40+00:00"
    assert report["new"]["identity"]["model_version"] == "1780000000" and report["old"]["identity"]["model_version"] == "1"
    assert report["new"]["test_metrics"] == {"ndcg@10": 0.25}


def test_gates_fail_with_a_sentence_and_with_reports(capsys: pytest.CaptureFixture[str]) -> None:
    tokens = [["a", "b", "c"], ["a", "b", "c", "<script>&"]]
    write_file("old.onnx", tokens[0], 3), write_file("new.onnx", tokens[1], 7)
    best = [rank(*model, ["a"], 1)[0] for model in zip(tokens, (3, 7), strict=True)]
    assert best[0] != best[1]
    write_clicks("day.inter", [("u", "a", 1), ("u", best[0], 2)])
    flags = ("--histories", "day.inter", "--k", "1", "--html", "report.html")
    report = run(*flags, "--min-overlap", ".5", "--max-loss", ".02", code=1)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "--min-overlap=0.5 failed: the mean overlap of the top 1 is 0.0000, lower by 0.5000."
    assert second == (
        "--max-loss=0.02 failed: NDCG@1 fell from 1.0000 to 0.0000, by 100.00%, which is 98.00% of the old value too much."
    )
    assert report["failed"] == [first, second]
    page = Path("report.html").read_text("utf-8")
    assert first in page and "&lt;script&gt;&amp;" in page and "<script" not in page and "http" not in page
    assert run(*flags, "--min-overlap", "0", "--max-loss", "1")["failed"] == []


def test_a_report_is_the_old_one_or_the_new_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_file("old.onnx", OLD, 1), write_file("new.onnx", NEW, 2)
    write_clicks("day.inter", odd_clicks(0)[0])
    Path("report.html").write_text("yesterday's")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("no space")))
        assert command.main(["old.onnx", "new.onnx", "--histories", "day.inter", "--html", "report.html"]) == 2
    assert capsys.readouterr().err == "error: no space\n"
    assert Path("report.html").read_text() == "yesterday's"
    assert sorted(path.name for path in Path().iterdir()) == ["day.inter", "new.onnx", "old.onnx", "report.html"]


MODEL, DAY = "model.onnx", ("--histories", "day.inter")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((MODEL, "missing.onnx", *DAY), "there is no file missing.onnx."),
        ((MODEL, "day.inter", *DAY), "day.inter is no ONNX file: "),
        ((MODEL, "foreign.onnx", *DAY), "foreign.onnx has no contract_version in its metadata: multvae-export did not "),
        ((MODEL, "later.onnx", *DAY), "later.onnx has contract version 3, expected 1 and 2: use a newer multvae-export."),
        ((str(CLIENTS / "golden.damaged.onnx"), MODEL, *DAY), "golden.damaged.onnx is damaged: the SHA-256 of its weights"),
        (
            (MODEL, "dense.onnx", *DAY),
            "dense.onnx is of --io=dense: expected a file that ranks for histories, tokens or ids.",
        ),
        ((MODEL, "ids.onnx", *DAY), "model.onnx is of --io=tokens and ids.onnx of --io=ids: export both with --io=tokens."),
        ((str(CLIENTS / "golden.ids.onnx"), "ids.onnx", *DAY), "ids.onnx stand for different items: export both with"),
        ((MODEL, "other.onnx", *DAY), "model.onnx and other.onnx have no item in common, such as 'i0' and 'a': expected"),
        ((MODEL, MODEL, "--histories", "missing.inter"), "cannot read missing.inter: "),
        ((MODEL, MODEL, "--histories", MODEL), "model.onnx is not written with encoding=utf-8 and field_separator="),
        ((MODEL, MODEL, "--histories", "empty.inter"), "empty.inter has no clicks: expected rows of users and items"),
        ((MODEL, MODEL, *DAY, "--targets", "empty.inter"), "empty.inter has no clicks: expected rows of users and items"),
        ((MODEL, MODEL, "--histories", "strange.inter"), "no model knows an item of strange.inter: expected clicks on"),
        ((MODEL, MODEL, "--histories", "time.inter"), "line 2 of time.inter has 'noon' for timestamp:float: expected a num"),
        ((MODEL, MODEL, *DAY, "--max-loss", "0"), "--max-loss=0 needs users with an item to find, and day.inter has none: "),
        ((MODEL, MODEL, *DAY, "--k", "0"), "--k=0 is not allowed: expected 1 to 1000."),
        ((MODEL, MODEL, *DAY, "--min-overlap", "50"), "--min-overlap=50 is not allowed: expected a share from 0 to 1."),
        ((MODEL, MODEL, *DAY, "--max-loss", "nan"), "--max-loss=nan is not allowed: expected a share from 0 to 1."),
        ((MODEL, MODEL, *DAY, "--json", "no/report"), "--json=no/report cannot be written: there is no folder "),
        ((MODEL, MODEL, *DAY, "--html", "./day.inter"), "--html=./day.inter is an input, the other report, or no file: "),
        ((MODEL, MODEL, *DAY, "--json", "a", "--html", "a"), "--html=a is an input, the other report, or no file: name"),
    ],
)
def test_errors_are_one_sentence(flags: tuple[str, ...], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    write_file(MODEL, OLD, 1), write_file("other.onnx", ["a", "b"], 1)
    write_file("ids.onnx", OLD, 1, Target("ids")), write_file("dense.onnx", OLD, 1, Target("dense"))
    proto = onnx.load(MODEL)
    for name, version in (("later.onnx", "3"), ("foreign.onnx", None)):
        onnx.helper.set_model_props(proto, {"contract_version": version} if version else {})
        onnx.save(proto, name)
    write_clicks("day.inter", [("u", "i1", 0)]), write_clicks("strange.inter", [("u", "x", 0)])
    Path("empty.inter").write_text(HEADER)
    Path("time.inter").write_text(f"{HEADER}u\ti1\tnoon\n")
    assert command.main(flags) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_it_needs_neither_torch_nor_recbole() -> None:
    write_file("old.onnx", OLD, 1)
    write_clicks("day.inter", odd_clicks(0)[0])
    block = "import sys; sys.modules.update(torch=None, recbole=None); from multvae_export.compare.command import main; "
    code = f"{block}sys.exit(main(['old.onnx', 'old.onnx', '--histories', 'day.inter']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "old.onnx and old.onnx: 33 histories, top 10" in done.stdout
