"""``--add-items``: numbers of fields, the regression, new items in every architecture, the limit, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from multvae_export.architectures.base import HistoryModel
from multvae_export.cli import main
from multvae_export.errors import FeaturesError
from multvae_export.features.encoding import Encoded, encode
from multvae_export.features.item_file import ItemFile
from multvae_export.features.regression import STRENGTHS, Regression, weights_of
from multvae_export.histories import Layout
from multvae_export.ranking import multi_hot
from multvae_export.target import Options, Target
from multvae_export.trained_model import Model
from multvae_export.verification import checks as verification
from torch import Tensor

from recbole_multvae.commands.recommend import main as recommend
from tests.conftest import Experiment
from tests.export.conftest import blocks_folder, checkpoint_of
from tests.export.test_kinds import KINDS, exported
from tests.export.test_users import synthetic

ITEMS, NEW = 30, 4
HEADER = "item_id:token\ttitle:token_seq\tside:token\tplace:float\n"


def item_file(name: str, text: str) -> ItemFile:
    Path(name).write_text(text)
    return ItemFile.read(name, Layout())


def encoded(trained: str, new: str, weights: list[float] | None = None) -> tuple[np.ndarray, np.ndarray, Any]:
    both = item_file("old.item", trained), item_file("new.item", new)
    order = {token: row for row, token in enumerate(both[0].tokens)}
    result = encode(*both, order, np.ones(len(order)) if weights is None else np.array(weights))
    return result.trained.to_dense().numpy(), result.new.to_dense().numpy(), result


def test_the_fields_of_a_file_are_read_by_their_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = ['1\tX y\t"Sci-Fi, (1995) the"\t2.5\t1 2', "", "2\t\t\t\t", "1\tZ\t\t\t", ""]
    text = "\n".join(["item_id:token\ta:token\tb:token_seq\tc:float\td:float_seq", *rows])
    file = item_file("x.item", text)
    assert file.tokens == ("1", "2")
    assert file.kinds == {"a": "token", "b": "token_seq", "c": "float", "d": "float_seq"}
    assert file.values == {
        "a": [["X y"], []],
        "b": [["sci-fi", "1995", "the"], []],
        "c": [[2.5], []],
        "d": [[1.0, 2.0], []],
    }


def test_words_are_tf_idf_and_every_field_has_the_same_variance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trained = "item_id:token\tg:token_seq\tid:token\n1\ta b\tu\n2\ta\tv\n3\tb b rare\tw\n4\tb\tx\n"
    trained_rows, new_rows, result = encoded(trained, "item_id:token\tg:token_seq\tid:token\n9\tB, never\tu\n")
    assert (result.names, result.constant) == (("g",), ("id",))  # No two items share an id.
    idf = {word: np.log(5 / (1 + count)) + 1 for word, count in (("b", 3), ("a", 2))}
    rows = np.array([[idf["b"], idf["a"]], [0, idf["a"]], [2 * idf["b"], 0], [idf["b"], 0]])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.sqrt(((rows - rows.mean(0)) ** 2).sum() / 4)
    np.testing.assert_allclose(trained_rows, rows, atol=1e-12)
    np.testing.assert_allclose(new_rows, rows[3:], atol=1e-12)


def test_a_number_stands_between_two_quantiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = "".join(f"{n}\t{n}\n" for n in range(1, 101))
    new = "".join(f"n{n}\t{value}\n" for n, value in enumerate((1, 17.5, -5, 1000)))
    trained_rows, new_rows, _ = encoded(f"item_id:token\tp:float\n{lines}x\t\n", f"item_id:token\tp:float\n{new}")
    assert trained_rows.shape == (101, 10)
    assert not trained_rows[-1].any()  # Nothing is known of it.
    weights = new_rows / new_rows.sum(1, keepdims=True)
    places = np.quantile(np.arange(1, 101), np.linspace(0, 1, 10))
    np.testing.assert_allclose(weights @ places, [1, 17.5, 1, 100])
    assert (np.count_nonzero(weights > 1e-9, axis=1) <= 2).all()


def test_embeddings_are_standardised_and_a_missing_one_is_the_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    vectors = np.random.default_rng(0).normal(3, 2, (6, 2))
    lines = "".join(f"{n}\t{a} {b} 7\n" for n, (a, b) in enumerate(vectors.tolist()))
    rows, _, _ = encoded(f"item_id:token\te:float_seq\n{lines}x\t\n", "item_id:token\te:float_seq\nn\t3 3 7\n")
    standard = (vectors - vectors.mean(0)) / vectors.std(0)
    np.testing.assert_allclose(rows[:-1] / rows[0, 0] * standard[0, 0], standard, atol=1e-9)
    assert not rows[-1].any()


def made(rng: np.random.Generator, clicks: np.ndarray | None) -> tuple[Regression, np.ndarray, np.ndarray, np.ndarray]:
    """A regression on made numbers: with the numbers of trained and new items, and the weights."""
    numbers = rng.normal(size=(ITEMS + NEW, 5)) * (rng.random((ITEMS + NEW, 5)) < 0.6)
    trained, new = (torch.from_numpy(part).to_sparse_coo().coalesce() for part in np.split(numbers, [ITEMS]))
    known = rng.random(ITEMS) < 0.8
    weights = weights_of(clicks, known)
    return Regression(Encoded(trained, new, ("x",), ()), weights), numbers[:ITEMS], numbers[ITEMS:], weights


@pytest.mark.parametrize("seed", range(4))
def test_new_rows_are_those_of_a_weighted_ridge_chosen_by_leaving_items_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    regression, trained, new, weights = made(rng, rng.integers(0, 200, ITEMS) if seed % 2 else None)
    table = rng.normal(size=(ITEMS, 3)) / (1 + seed) + trained[:, :3] * seed
    shares = weights / weights[weights > 0].mean()

    def fit(shares: np.ndarray, strength: float, numbers: np.ndarray) -> np.ndarray:
        """The predictions of the ridge with an intercept, by the normal equations in full."""
        design = np.hstack([trained, np.ones((ITEMS, 1))])
        penalty = strength * np.diag([1.0] * 5 + [0.0])
        solution = np.linalg.solve(design.T @ (shares[:, None] * design) + penalty, design.T @ (shares[:, None] * table))
        return np.hstack([numbers, np.ones((len(numbers), 1))]) @ solution

    def error(strength: float) -> float:
        total = 0.0
        for item in np.flatnonzero(shares):
            without = np.where(np.arange(ITEMS) == item, 0, shares)
            total += shares[item] * ((fit(without, strength, trained[[item]])[0] - table[item]) ** 2).sum()
        return total

    strength = min(STRENGTHS, key=error)
    result = regression.rows(torch.from_numpy(table).float()).numpy()
    np.testing.assert_allclose(result, fit(shares, strength, new), atol=1e-5)
    sparse = torch.from_numpy(table).float().to_sparse_coo().coalesce()
    np.testing.assert_allclose(regression.rows(sparse).numpy(), result, atol=1e-6)


def rows_of_new(table: Tensor) -> Tensor:
    """Means of two trained rows each."""
    dense = table.to_dense() if table.is_sparse else table
    return torch.stack([(dense[n] + dense[-1 - n]) / 2 for n in range(NEW)])


@pytest.mark.parametrize("kind", KINDS)
def test_trained_items_keep_their_scores_in_every_architecture(kind: str) -> None:
    model, tokens = KINDS[kind](ITEMS), ("[PAD]", *(f"i{n}" for n in range(ITEMS + NEW)))
    assert isinstance(model, HistoryModel)
    longer = model.with_items(rows_of_new)
    assert longer.n_items == ITEMS + NEW + 1
    clicks = multi_hot(torch.tensor([[1, 5, 9], [2, 0, 0], [0, 0, 0]]), ITEMS + 1)
    wide = torch.nn.functional.pad(clicks, (0, NEW))
    scores, before = longer.logits(wide), model.logits(clicks)
    torch.testing.assert_close(scores[:, : ITEMS + 1], before, rtol=0, atol=1e-6)
    assert scores[:, ITEMS + 1 :].isfinite().all()
    shift = torch.linspace(-1, 1, ITEMS + NEW)
    torch.testing.assert_close(longer.shifted(shift).logits(wide)[:, 1:], scores[:, 1:] + shift, rtol=0, atol=1e-5)
    reasons = not longer.no_reasons_because
    target = Target(options=Options(filters=True, reasons=reasons, posterior=longer.latent_units > 0))
    verification.verify(exported(Model("Small", longer.shifted(shift), tokens, "x", {}), target), lambda *_: None)


def test_a_new_item_scores_as_the_mean_of_the_trained_ones_whose_rows_it_has() -> None:
    for kind in ("auto_encoder", "linear", "recvae", "sparse linear", "sum"):
        model = KINDS[kind](ITEMS)
        assert isinstance(model, HistoryModel)
        clicks = multi_hot(torch.tensor([[3, 7], [11, 0]]), ITEMS + 1)
        scores = model.with_items(rows_of_new).logits(torch.nn.functional.pad(clicks, (0, NEW)))
        means = rows_of_new(model.logits(clicks)[:, 1:].T).T
        torch.testing.assert_close(scores[:, -NEW:], means, rtol=0, atol=1e-5)


def test_users_with_vectors_get_new_items_too() -> None:
    model = synthetic()
    longer = model.architecture.with_items(rows_of_new)
    users = torch.arange(1, 6)
    scores, before = longer.answer(users), model.architecture.answer(users)
    torch.testing.assert_close(scores[:, : before.shape[1]], before, rtol=0, atol=1e-6)
    shift = torch.linspace(-1, 1, scores.shape[1] - 1)
    torch.testing.assert_close(longer.shifted(shift).answer(users)[:, 1:], scores[:, 1:] + shift, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two models of two blocks of items, whose files say on which side an item is."""
    with blocks_folder(tmp_path_factory, "new") as folder:
        sides = "".join(f"i{i}\tFilm {i}\t{'left' if i < 10 else 'right'}\t{i % 10}\n" for i in range(20))
        Path("blocks/blocks.item").write_text(HEADER + sides)
        for name in ("MultVAE", "EDLAE"):
            checkpoint_of(Experiment(name, **({"epochs": 40, "learning_rate": 0.02} if name == "MultVAE" else {})), name)
        Path("new.item").write_text(
            HEADER + "".join(f"{side}{n}\tFilm\t{side}\t{n}\n" for side in ("left", "right") for n in range(2))
        )
        yield folder


@pytest.fixture
def folder(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(checkpoints)
    return checkpoints


def ranking(path: str, history: list[str]) -> tuple[list[str], np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    items, scores = session.run(None, {"history": np.array([history], object), "k": np.array([99])})
    return [item for item in items[0] if item], scores[0][np.isfinite(scores[0])]


@pytest.mark.parametrize("model", ["MultVAE", "EDLAE"])
def test_new_items_are_recommended_and_the_others_rank_as_before(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"{model}.pth", "plain.onnx"]) == 0
    assert main([f"{model}.pth", "more.onnx", "--add-items", "new.item", "--features", "side,place"]) == 0
    assert "new items: 4 from side, place of 20 items; " in capsys.readouterr().out
    for history, side in ((["i1", "i2"], "left"), (["i15"], "right"), (["left0"], "left"), ([], "")):
        items, scores = ranking("more.onnx", history)
        new = [item for item in items if not item.startswith("i")]
        assert len(new) == 4 - ("left0" in history)
        assert not side or new[0].startswith(side)
        if "left0" not in history:
            before = ranking("plain.onnx", history)
            kept = [item.startswith("i") for item in items]
            assert ([item for item in items if item.startswith("i")], scores[kept].tolist()) == (
                before[0],
                before[1].tolist(),
            )
    metadata = {entry.key: entry.value for entry in onnx.load("more.onnx").metadata_props}
    assert (metadata["new_items"], metadata["new_items_from"], metadata["n_items"]) == ("4", "side,place", "25")


def test_a_limit_holds_on_average(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def found(*flags: str) -> float:
        command = ["EDLAE.pth", "m.onnx", "--add-items=new.item", "--histories=blocks/blocks.inter", "--no-verify", *flags]
        assert main(command) == 0
        out = capsys.readouterr().out
        assert "! not verified" in out
        return float(out.split("; ")[1].split(" of them")[0])

    free = found()
    assert free > 0.6
    for most in (0.5, 0.0):
        assert most - 0.06 < found(f"--max-new-in-top-10={most}") <= most
    assert found("--max-new-in-top-10=9") == free
    everything = "".join(f"all\ti{n}\n" for n in range(20))
    Path("all.inter").write_text(f"user_id:token\titem_id:token\n{everything}")
    assert found("--histories=all.inter", "--max-new-in-top-10=0") == 4.0  # Nothing else is left.


def test_vectors_and_recommendations_have_them_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["MultVAE.pth", "--vectors", "vectors", "--add-items", "new.item"]) == 0
    assert len(np.load("vectors/items.npy")) == 24
    assert main(["MultVAE.pth", "more.onnx", "--add-items", "new.item"]) == 0
    new = "left0,left1,right0,right1"
    assert recommend(["MultVAE.pth", "--user=u3", "-k4", "--add-items=new.item", f"--among={new}"]) == 0
    lines = capsys.readouterr().out.split("recommends\n")[1].splitlines()
    assert [line.split()[1] for line in lines] == ["Film"] * 4


GOOD = HEADER + "n\tFilm\tleft\t1\n"
IN_MODEL = "has 1 of 1 items that the model has already, such as 'i3': leave only new items"
MISTAKES: list[tuple[str, list[str], str]] = [
    ("", [], "bad.item has no column item_id:token"),
    (HEADER, [], "has a header and no item"),
    (GOOD.replace("n\tF", "i3\tF"), [], IN_MODEL),
    (HEADER + "n\tnothing\t\t\n", [], "the item 'n' of bad.item has nothing in side, place that a trained item has"),
    (GOOD.replace("\t1", "\tfar"), [], "line 2 of bad.item has 'far' as place: expected finite numbers"),
    (GOOD.replace("\t1", ""), [], "line 2 of bad.item has 3 fields, expected 4"),
    (GOOD, ["--features=genre"], "bad.item has no field genre: expected one of title, side, place"),
    (GOOD, ["--features=,"], "--features=, names no field"),
    (GOOD, ["--features=title,side"], "the field title of"),
    (GOOD.replace("place", "cost"), [], "blocks.item has no field cost"),
    (GOOD.replace("place:float", "place:token"), [], "is of type token in bad.item and float in"),
    ("item_id:token\nn\n", [], "has no fields besides item_id"),
    (HEADER + "\tFilm\tleft\t1\n", [], "line 2 of bad.item has no item"),
    (GOOD, ["--dataset-path=nowhere"], "there is no file nowhere/blocks/blocks.item"),
    (GOOD, ["--max-new-in-top-10=11"], "--max-new-in-top-10=11 is not allowed"),
    (GOOD, ["--max-new-in-top-10=1"], "name their clicks with --histories"),
    (GOOD, ["--metadata=new_items=x"], "--metadata=new_items=... is not allowed"),
]


@pytest.mark.parametrize(("text", "flags", "message"), MISTAKES)
def test_what_does_not_fit_is_refused_in_one_sentence(
    text: str, flags: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.item").write_text(text)
    before = set(folder.iterdir())
    assert main(["EDLAE.pth", "none.onnx", "--add-items=bad.item", *flags]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert set(folder.iterdir()) == before
    if not flags:
        assert recommend(["EDLAE.pth", "--user=u3", "--add-items=bad.item"]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--features=side", "--max-new-in-top-10=1"])
def test_options_without_new_items_are_refused(flag: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["EDLAE.pth", "none.onnx", flag]) == 1
    assert "is about the items of --add-items" in capsys.readouterr().err


def test_fields_that_say_nothing_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    same = "item_id:token\tside:token\n1\tleft\n2\tleft\n3\t\n"
    with pytest.raises(FeaturesError, match=r"side of old\.item tell no two of the trained items apart"):
        encoded(same.replace("3\t\n", "3\tleft\n"), "item_id:token\tside:token\n9\tleft\n")
    numbers = "item_id:token\te:float_seq\n1\t1 2\n2\t1\n"
    with pytest.raises(FeaturesError, match="the field e has rows of 1 and of 2 numbers"):
        encoded(numbers, "item_id:token\te:float_seq\n9\t1 2\n")
