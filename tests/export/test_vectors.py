"""``--vectors``: products of vectors that are the model's scores, the fold-in, the folder, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow.parquet as parquet
import pytest
import torch
from multvae_export import histories
from multvae_export.cli import main
from multvae_export.errors import OptionError, UnsupportedModelError, VerificationError
from multvae_export.graph import onnx_file
from multvae_export.histories import Layout, padded, read_inter, read_rows
from multvae_export.nodes.nodes import Nodes
from multvae_export.publish import whole_folder
from multvae_export.ranking import multi_hot
from multvae_export.target import Target
from multvae_export.trained_model import Model
from multvae_export.vectors import items, user_file
from multvae_export.vectors.export import export_vectors
from multvae_export.vectors.fold_in import WEIGHT, FoldIn
from multvae_export.vectors.vector_model import VectorModel

from tests.export.test_kinds import KINDS, auto_encoder, model, popularity, recvae, summed
from tests.export.test_recbole_models import DATA
from tests.export.test_users import synthetic

ITEMS = 61
FILES = ["items.npy", "items.parquet", "user.onnx"]
SUMMED = summed(auto_encoder(ITEMS), recvae(ITEMS, units=5), popularity(ITEMS))


def named(architecture: Any, items: int = ITEMS) -> Model:
    return Model("Small", architecture, ("[PAD]", *(f"i{n}" for n in range(items))), "x", {})


def written(model: Model, **keys: Any) -> VectorModel:
    vectors = VectorModel.of(model)
    vectors.write(Path(), **keys)
    return vectors


def user_vectors(rows: Any, path: str = "user.onnx") -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: np.array(rows, object)})[0]


@pytest.mark.parametrize(
    ("architecture", "dimensions", "opset"),
    [
        (auto_encoder(ITEMS), 4, 16),
        (recvae(ITEMS), 5, 17),
        (popularity(ITEMS), 1, 18),
        (SUMMED, 3 + 4 + 1, 18),
    ],
)
def test_products_are_the_scores(architecture: Any, dimensions: int, opset: int) -> None:
    checks = dict(written(named(architecture), opset=opset).checks(Path(), opset))
    assert checks["items"] == f"{ITEMS} items, {dimensions} dimensions"
    assert list(checks) == ["items", "well formed", "products equal torch's scores", "CUDA kernels"]
    rows, history = np.load("items.npy"), np.array([[3, 9, 3, 0], [0, 0, 0, 0]])
    vectors = user_vectors([["i2", "i8", "i2", "?"], ["", "", "", ""]])
    expected = architecture.logits(multi_hot(torch.from_numpy(history), ITEMS + 1))[:, 1:]
    np.testing.assert_allclose(vectors @ rows.T, expected, atol=1e-5)
    assert (vectors[:, -1] == 1).all()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("linear", "it has a weight for every pair of items, so a vector would have a number for every item"),
        ("sparse linear", "it has a weight for every pair of items"),
        ("macridvae", "its scores are sums over facets"),
        ("sum", "its member M1 has none: it has a weight for every pair"),
        ("sum of macridvae and recvae", "its member M0 has none: its scores are sums over facets"),
    ],
)
def test_scores_that_are_no_products_are_refused(kind: str, reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"Small cannot be exported with --vectors, because {reason}"):
        VectorModel.of(model(kind))


def test_every_architecture_has_vectors_or_a_reason() -> None:
    for kind in KINDS:
        small = model(kind)
        assert small.architecture.no_vectors_because or VectorModel.of(small).factors.dimensions > 0


def test_the_ranking_is_the_exported_file_s_for_every_user_of_ml_100k() -> None:
    clicks = DATA / "ml-100k" / "ml-100k.inter"
    tokens = ("[PAD]", *dict.fromkeys(item for _, item, _ in read_rows(clicks, Layout())))
    lists = read_inter(clicks, tokens, Layout())
    small = Model("Small", auto_encoder(len(tokens) - 1), tokens, "ml-100k", {})
    written(small)
    onnx_file.write(onnx_file.to_onnx(small, Target()), Path("model.onnx"))
    history = np.array(("", *tokens[1:]), object)[padded(lists)]
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    expected, scores = session.run(None, {"history": history, "k": np.array([10])})
    products = user_vectors(history) @ np.load("items.npy").T
    for row, seen in zip(products, lists, strict=True):
        row[seen - 1] = -np.inf
    best = np.argsort(-products, axis=1, kind="stable")[:, :10]
    np.testing.assert_allclose(np.take_along_axis(products, best, axis=1), scores, atol=1e-5)
    names = np.array(parquet.read_table("items.parquet")["token"])
    assert len(lists) == 943 and (names[best] == expected).mean() > 0.999  # Items whose scores are close may change places.


def test_files_belong_together(checkpoint: Path) -> None:
    exported = export_vectors(checkpoint, "vectors", metadata={"built_by": "me"})
    assert [path.name for path in exported.files] == FILES
    metadata = onnxruntime.InferenceSession("vectors/user.onnx").get_modelmeta().custom_metadata_map
    digest = hashlib.sha256(Path("vectors/items.npy").read_bytes()).hexdigest()
    table = parquet.read_table("vectors/items.parquet")
    of_table = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    for name in ("item_tokens_sha256", "items_sha256", "dimensions"):
        assert metadata[name] == of_table[name]
    assert (metadata["items_sha256"], metadata["io"], metadata["built_by"]) == (digest, "vectors", "me")
    assert len(metadata["checkpoint_sha256"]) == len(metadata["weights_sha256"]) == 64
    with pytest.raises(OptionError, match=r"--metadata=items_sha256=\.\.\. is not allowed"):
        export_vectors(checkpoint, "vectors", metadata={"items_sha256": "x"})


def test_users_by_name_and_others_by_their_history() -> None:
    vectors = written(synthetic())
    checks = dict(vectors.checks(Path()))
    assert list(checks)[-3:] == ["fold-in well formed", "fold-in equals torch", "fold-in finds"]
    (users, _), (products, _) = vectors.model.architecture.layers  # type: ignore[attr-defined]
    found = user_vectors(["bob", "nobody", ""])
    np.testing.assert_array_equal(found, [users[1].numpy(), *np.zeros((2, 7), np.float32)])
    np.testing.assert_array_equal(np.load("items.npy"), products.T)
    assert (user_vectors([[""], ["?"]], "fold_in.onnx") == 0).all()


def test_the_fold_in_minimises_the_weighted_squares() -> None:
    y = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    history, share = [3, 7, 20], 0.2
    clicks = multi_hot(torch.tensor([history]), 31)
    confidence, target = np.ones(30), np.zeros(30)
    confidence[np.array(history) - 1], target[np.array(history) - 1] = 1 + WEIGHT, 1
    strength = share * float((y.T @ y).diagonal().mean())
    left = np.vstack([np.sqrt(confidence)[:, None] * y.numpy(), np.sqrt(strength) * np.eye(4)])
    x = np.linalg.lstsq(left, np.append(np.sqrt(confidence) * target, np.zeros(4)), rcond=None)[0]
    np.testing.assert_allclose(FoldIn(y, share).scores(clicks)[0, 1:], y.numpy() @ x, atol=1e-5)


def test_wrong_items_are_noticed() -> None:
    vectors = written(synthetic())
    rows, tokens = vectors.factors.vectors, vectors.model.tokens
    items.write_table(Path(), tokens[:0:-1], rows, {})
    with pytest.raises(VerificationError, match=r"items.parquet has the tokens .*'i12', 'i11', .*, expected .*'i1', 'i2'"):
        list(vectors.checks(Path()))
    items.write_array(Path(), rows + 1e-6)
    with pytest.raises(VerificationError, match=r"items.npy or items.parquet hold other vectors than the model"):
        list(vectors.checks(Path()))


def test_a_wrong_graph_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = user_file.DISTINCT.text.replace("Equal(item, next_item)", "Equal(item, end)")
    monkeypatch.setattr(user_file, "DISTINCT", Nodes(text, user_file.DISTINCT.constants))
    with pytest.raises(VerificationError, match=r"repeated items: a product of vectors differs by .*: found .*, expected"):
        list(written(named(auto_encoder(ITEMS))).checks(Path()))
    vectors = written(synthetic())
    with pytest.raises(VerificationError, match="a product of vectors differs"):
        list(VectorModel.of(vectors.model, 9.0).checks(Path()))


def test_an_old_folder_stays_until_the_new_one_is_whole(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_vectors(checkpoint, "vectors")
    before = Path("vectors/user.onnx").read_bytes()
    with pytest.raises(VerificationError):
        export_vectors(checkpoint, "vectors", atol=1e-30)
    assert Path("vectors/user.onnx").read_bytes() == before
    for exchanged in (True, False):
        if not exchanged:
            monkeypatch.setattr(whole_folder, "_exchange", lambda *_: False)
        export_vectors(checkpoint, "vectors", metadata={"exchanged": str(exchanged)}, check=False)
        metadata = onnxruntime.InferenceSession("vectors/user.onnx").get_modelmeta().custom_metadata_map
        assert metadata["exchanged"] == str(exchanged)
        assert sorted(path.name for path in Path("vectors").iterdir()) == FILES
    assert [path.name for path in Path().iterdir()] == ["vectors"]


def test_a_folder_that_cannot_be_exchanged_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("new", "target"):
        Path(name).mkdir()
        Path(name, name).touch()
    rename = Path.rename
    monkeypatch.setattr(whole_folder, "_exchange", lambda *_: False)

    def failing(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError("no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no"):
        whole_folder.replace_folder(Path("new"), Path("target"))
    assert [path.name for path in Path("target").iterdir()] == ["target"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vectors", "a file"], "--vectors=a file is a file: expected a folder, which is written."),
        (["--vectors", "mine"], "--vectors=mine holds letters.txt, which would be lost: name a new folder."),
        (["--vectors", "no/folder"], "cannot write no/folder: there is no folder"),
        (["model.onnx", "--vectors", "v"], "--vectors=v names the file itself: leave out model.onnx."),
        (["--vectors", "v", "--filters"], "ranks nothing, so --filters does not fit: leave it out."),
        (["--vectors", "v", "--triton", "m"], "so --triton does not fit: leave it out."),
        (["--vectors", "v", "--io", "ids"], "so --io does not fit: leave it out."),
        (["--vectors", "v", "--precision", "int8"], "so --precision does not fit: leave it out."),
        (["--vectors", "v", "--min-overlap", "0"], "so --min-overlap does not fit: leave it out."),
        (["--vectors", "v", "--opset", "9"], "--opset=9 is not supported: expected 16 to 18."),
        (["--vectors", "v", "--no-verify", "--histories", "x"], "--no-verify tries nothing: leave out --histories"),
        (["--vectors", "v", "--histories", "no.inter"], "cannot read no.inter"),
        (["--vectors", "v", "--fold-in-regularization", "1"], "does not fit MultVAE, whose user.onnx reads any history"),
        (["model.onnx", "--fold-in-regularization", "1"], "--fold-in-regularization is about the vectors of --vectors"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    arguments: list[str], message: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a file").touch()
    Path("mine").mkdir()
    Path("mine/letters.txt").touch()
    before = sorted(Path().rglob("*"))
    assert main([str(checkpoint), *arguments]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert message in said
    assert sorted(Path().rglob("*")) == before


def test_regularisation_has_a_bound() -> None:
    for value in (-1.0, 0.0, np.nan, np.inf):
        with pytest.raises(OptionError, match=r"is not allowed: expected a number of 1e-06 or more."):
            VectorModel.of(synthetic(), value)
    vectors = VectorModel.of(synthetic(), 1e-6)
    vectors.write(Path())
    assert "fold-in equals torch" in dict(vectors.checks(Path()))


def test_histories_of_a_file_are_tried_and_pyarrow_is_asked_for(
    checkpoint: Path, trained: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "MOST", 30)
    file = checkpoint.parent / "blocks" / "blocks.inter"
    exported = export_vectors(checkpoint, "vectors", histories=file)
    plain = dict(export_vectors(checkpoint, "vectors").checks)["products equal torch's scores"]
    more = dict(exported.checks)["products equal torch's scores"]
    assert int(more.split()[0]) == int(plain.split()[0]) + 30
    assert dict(exported.checks)["histories tried"] == f"30 of the 40 users of {file}"
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(
        OptionError, match=r"--vectors writes items.parquet, which needs pyarrow \(.*\): pip install pyarrow"
    ):
        export_vectors(checkpoint, "vectors")
