"""Files that answer for users by name: RecBole's ranking for every user, the contract, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from multvae_export.architectures.vectors import Vectors, vectors
from multvae_export.benchmark import command as benchmark
from multvae_export.benchmark import measure
from multvae_export.cli import main
from multvae_export.errors import OptionError, TokensError, UnsupportedModelError, VerificationError, WeightsError
from multvae_export.exporter import export
from multvae_export.graph import onnx_file
from multvae_export.target import Target
from multvae_export.trained_model import Model
from multvae_export.verification import checks as verification
from recbole.utils.case_study import full_sort_scores

from tests.archive import changed
from tests.conftest import QUIET, Experiment, block_pairs, write_inter
from tests.export.conftest import assert_as_good_as_recbole, blocks_folder, change_nodes, checkpoint_of
from tests.export.test_recbole_models import DATA, FAST

#: Those that RecBole can train without a further package (NCL needs faiss).
MODELS = ("BPR", "DGCF", "LINE", "LightGCN", "NCEPLRec", "NGCF", "SGL", "SimpleX", "SpectralCF")
ITEMS, USERS = 12, 5
#: What each user has in training, by id; the first is the padding user, the last has everything.
HISTORY: list[list[int]] = [[], [3], [], [1, 2, 12], [5, 6], list(range(1, ITEMS + 1))]


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "SimpleX"])
def test_ranking_is_recbole_s_for_every_user(model: str) -> None:
    experiment = Experiment(model, "ml-100k", FAST, learning_rate=0.01, train_batch_size=20_000)
    experiment.fit()
    experiment.model.eval()
    export(experiment.trainer.saved_model_file, "model.onnx", io="users", dataset_path=str(DATA))
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    data, names = experiment.valid_data, experiment.dataset.field2id_token
    # In validation RecBole masks what was seen in training.
    users = data.uid_list.numpy()
    assert len(users) > 900
    items, scores = session.run(None, {"user": names["user_id"][users].astype(object), "k": np.array([10])})
    recbole_scores = full_sort_scores(users, experiment.model, data).detach()
    assert_as_good_as_recbole(items, scores, recbole_scores, names["item_id"], rtol=1e-4, atol=1e-6)
    assert len({tuple(row) for row in items.tolist()}) > 100


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each model on the block-structured data, by model."""
    keys = {**QUIET, "epochs": 1, "data_path": ".", "train_batch_size": 32}
    with blocks_folder(tmp_path_factory, "users"):
        return {model: checkpoint_of(Experiment(model, "blocks", keys), model) for model in (*MODELS, "NeuMF")}


@pytest.mark.parametrize("model", MODELS)
def test_every_product_is_found_and_verified(model: str, small: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(small[model]), "model.onnx", "--dataset-path", str(small[model].parent)]) == 0
    out = capsys.readouterr().out
    assert "equals torch: 72 users" in out
    assert "--io users, fp32" in out


def test_vectors_are_those_of_the_training(small: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--dataset-path", str(small["BPR"].parent), "--fold-in-regularization", "3")
    assert main([str(small["BPR"]), "--vectors", "vectors", *flags]) == 0
    out = capsys.readouterr().out
    assert "products equal torch's scores: 72 users" in out and "fold-in equals torch: 92 histories" in out
    assert "of the trained vector's top 10, over 40 users of the training" in out and "Wrote vectors/fold_in.onnx" in out
    weights = torch.load(small["BPR"], weights_only=False)["state_dict"]
    np.testing.assert_array_equal(np.load("vectors/items.npy"), weights["item_embedding.weight"][1:])


def synthetic() -> Model:
    def random(*shape: int, seed: int) -> torch.Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

    layers = (random(USERS, 7, seed=0), torch.zeros(7)), (random(7, ITEMS, seed=1), torch.zeros(ITEMS))
    begin = torch.tensor([0, *map(len, HISTORY)]).cumsum(0)
    history = torch.tensor([item for row in HISTORY for item in row])
    users = ("[PAD]", "ann", "bob", "\u65e5\u672c", "a b", "eve")
    return Model("BPR", Vectors(layers, begin, history, users), ("[PAD]", *(f"i{n}" for n in range(1, ITEMS + 1))), "x", {})


def written(precision: str = "fp32", opset: int = 18) -> verification.ExportedFile:
    target = Target("users", precision)
    onnx_file.write(onnx_file.to_onnx(synthetic(), target, opset), Path("model.onnx"))
    return verification.ExportedFile(Path("model.onnx"), synthetic(), target, opset, 1e-4)


def asked(*users: str, k: int = ITEMS) -> tuple[list[list[str]], np.ndarray]:
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    items, scores = session.run(None, {"user": np.array(users, dtype=object), "k": np.array([k])})
    return items.tolist(), scores


def test_unknown_users_get_no_items_and_known_users_none_that_they_have() -> None:
    written()
    items, scores = asked("nobody", "", "[PAD]", "ann", "bob", "\u65e5\u672c", "eve")
    for row in (0, 1, 2, 6):
        assert items[row] == [""] * ITEMS
        assert np.isneginf(scores[row]).all()
    assert set(items[3]) == {"", *(f"i{n}" for n in range(1, ITEMS + 1) if n != 3)}
    assert set(items[4]) == {f"i{n}" for n in range(1, ITEMS + 1)}
    assert items[5].count("") == 3
    # A user's answer is the same alone, with others, and in a batch of users without any history.
    for n, user in enumerate(("nobody", "", "[PAD]", "ann", "bob")):
        assert asked(user)[0][0] == items[n]
    assert asked("bob", "nobody")[0] == [items[4], items[0]]
    assert asked("ann", k=1)[0] == [items[3][:1]]
    assert np.shape(asked("ann", k=100)[0]) == (1, ITEMS)


@pytest.mark.parametrize("opset", [16, 17, 18])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
def test_every_opset_and_precision_is_verified(precision: str, opset: int) -> None:
    file = written(precision, opset)
    checks: list[str] = []
    # So few items have a small range of scores, which int8's and int4's rounding is measured by.
    file.atol = 0.05
    verification.verify(file, lambda name, figures: checks.append(name))
    assert len(checks) == 3


@pytest.mark.parametrize(
    "change",
    [
        ("Where(is_of_user, click64, zero)", "Where(is_of_user, zero, zero)"),
        ("Where(is_known_user, product_scores, minus_infinity)", "Where(is_known_user, product_scores, product_scores)"),
        ("Add(begin_column, place)", "Add(begin_column, zero)"),
        ("rows = Gather(table0, user_column)", "first_user = Min(user_column, one)\n    rows = Gather(table0, first_user)"),
    ],
)
def test_a_wrong_file_is_noticed(change: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    change_nodes(monkeypatch, *change)
    with pytest.raises(VerificationError, match=r"expected|where torch has"):
        verification.verify(written(), lambda name, figures: None)


def test_fewer_bits_are_measured_over_users(small: dict[str, Path]) -> None:
    folder = str(small["BPR"].parent)
    exported = export(small["BPR"], "model.onnx", precision="int8", min_overlap=0, dataset_path=folder)
    assert exported.checks[-1][1].endswith("of fp32's top 10, over 40 users")


def test_benchmark_asks_for_users(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(measure, "LEAST", 1)
    monkeypatch.setattr(measure, "WARM_SECONDS", 0)
    written()
    flags = ("--requests", "1", "--provider", benchmark.CPU, "--batch-size", "2")
    assert benchmark.main(["model.onnx", *flags]) == 0
    assert "| model.onnx | users fp32 | CPU | 2 |" in capsys.readouterr().out


def test_benchmark_compares_with_torch(
    small: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "LEAST", 1)
    monkeypatch.setattr(measure, "WARM_SECONDS", 0)
    path, folder = str(small["BPR"]), str(small["BPR"].parent)
    export(path, "model.onnx", dataset_path=folder, check=False)
    flags = ("--requests", "1", "--provider", benchmark.CPU, "--batch-size", "2", "--checkpoint", path)
    assert benchmark.main(["model.onnx", *flags, "--dataset-path", folder]) == 0
    assert "| torch eager | fp32 | CPU | 2 |" in capsys.readouterr().out


def test_eager_torch_is_the_same_model() -> None:
    users = np.array([1, 5, 3, 2])
    architecture = synthetic().architecture
    scores = architecture.eager("cpu")(torch.from_numpy(users))
    torch.testing.assert_close(scores, architecture.answer(torch.from_numpy(users)))


def test_what_does_not_fit_is_one_sentence(small: dict[str, Path]) -> None:
    path, folder = small["BPR"], str(small["BPR"].parent)
    with pytest.raises(WeightsError, match="lacks its users and their training history: name its data set's folder"):
        export(path, "model.onnx", io="users")
    with pytest.raises(OptionError, match="--io=tokens does not fit BPR: expected users"):
        export(path, "model.onnx", io="tokens", dataset_path=folder)
    with pytest.raises(OptionError, match="--histories does not fit --io=users"):
        export(path, "model.onnx", precision="int8", histories="x.inter", dataset_path=folder)
    with pytest.raises(UnsupportedModelError, match="NeuMF cannot be exported, because its scores are not the product of a"):
        export(small["NeuMF"], "model.onnx", dataset_path=folder)
    assert not Path("model.onnx").exists()


def test_a_data_set_that_changed_is_refused(small: dict[str, Path]) -> None:
    write_inter(Path(), "blocks", [*block_pairs(), ("new", "item")])
    sizes = r"has 41 users and 21 items, for which the weights user_embedding.weight are \[42, 64\] and not \[41, 64\]"
    with pytest.raises(TokensError, match=f"blocks is not the one that the checkpoint was trained on, as it {sizes}: name"):
        export(small["BPR"], "model.onnx", dataset_path=".")


class Fake:
    """A model of RecBole's shape with scores of its own."""

    USER_ID, n_users, n_items = "user_id", 4, 3

    def __init__(self, kind: str) -> None:
        self.kind, self.users, self.items = kind, torch.rand(4, 2), torch.rand(3, 2)

    def full_sort_predict(self, interaction: dict[str, torch.Tensor]) -> torch.Tensor:
        if self.kind == "none":
            raise NotImplementedError
        rows = self.users[interaction["user_id"]]
        product = rows @ (self.items.T + (interaction["user_id"][0] if self.kind == "another for each batch" else 0))
        if self.kind == "not finite":
            self.users[2] = torch.nan
        return {"curved": product.exp(), "biased": product + 0.01}.get(self.kind, product)


@pytest.mark.parametrize("kind", ["none", "curved", "biased", "another for each batch"])
def test_a_model_that_is_no_product_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multvae_export.architectures.vectors.BATCH_SCORES", 3)
    with pytest.raises(UnsupportedModelError, match="Fake cannot be exported with --io=users: its scores are not"):
        vectors(Fake(kind), "Fake")


def test_a_product_is_found_for_every_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multvae_export.architectures.vectors.BATCH_SCORES", 3)
    model = Fake("product")
    left, right = vectors(model, "Fake")
    torch.testing.assert_close(left @ right, model.users[1:] @ model.items.T)


@pytest.mark.parametrize("key", ["dataset_save_path", "dataloaders_save_path"])
def test_rebuilding_a_model_unpickles_nothing_that_the_file_names(key: str, small: dict[str, Path]) -> None:
    Path("bomb.pth").write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    keys = {key: str(Path("bomb.pth").absolute())}
    path = changed(small["BPR"], Path("x.pth"), lambda c: c["config"].final_config_dict.update(keys))
    export(path, "model.onnx", dataset_path=str(small["BPR"].parent))
    assert not Path("executed").exists()
