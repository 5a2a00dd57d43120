from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from multvae_export.architectures.linear import Linear, SparseLinear
from multvae_export.errors import ExportError, SpecError, WeightsError
from multvae_export.exporter import export
from multvae_export.target import Options
from recbole.quick_start import load_data_and_model
from scipy.sparse import csr_matrix

from recbole_multvae.clicks import Clicks
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.models import sparseedlae
from recbole_multvae.models.sparseedlae import WeightedGram, closed_form, nearest_neighbours
from tests import reference
from tests.archive import changed
from tests.conftest import QUICK, Experiment
from tests.models.parity import clicks
from tests.models.suite import RecommenderSuite

MEMORY = 2**24


def random_clicks(users: int = 60, items: int = 25, seed: int = 0) -> np.ndarray:
    """Clicks of which some items have many and the last has none; the last user has none either."""
    generator = np.random.default_rng(seed)
    X = (generator.random((users, items)) < np.linspace(0.5, 0.05, items)).astype(np.float32)
    X[:, -1], X[-1] = 0, 0
    return X


def similarity(X: np.ndarray, k: int, a: float = 0.5, p: float = 0.4, lam: float = 2.5, memory: int = MEMORY) -> np.ndarray:
    return closed_form(WeightedGram(csr_matrix(X), a, memory), k, p, lam).toarray()


class TestSparseEDLAE(RecommenderSuite):
    model = "SparseEDLAE"
    learned = {"reg_weight": 10.0, "neighbours": 5}

    def test_is_a_recbole_general_recommender(self, experiment: Experiment) -> None:
        assert experiment.config["MODEL_TYPE"].name == "TRADITIONAL"
        assert experiment.trainer.epochs == 1

    def test_similarities_and_scores_are_the_reference_s(self, uneven: str) -> None:
        experiment = Experiment(self.model, uneven, neighbours=7, user_exponent=0.8, dropout_prob=0.3, reg_weight=2.5)
        experiment.fit()
        network = experiment.model.eval()
        users = torch.arange(network.n_users)
        X = clicks(network, users)
        scores = network.full_sort_predict(self.all_users(network)).view(len(users), -1)
        np.testing.assert_allclose(scores[:, 1:], X @ reference.sparse_edlae(X, 7, 0.8, 0.3, 2.5), atol=1e-5)

    def test_resumed_run_equals_unbroken_run(self, blocks: str) -> None:
        pytest.skip("there is one epoch")

    def test_a_resumed_run_keeps_the_similarities(self, blocks: str) -> None:
        experiment = Experiment(self.model)
        experiment.fit()
        resumed = Experiment(self.model)
        resumed.trainer.resume_checkpoint(experiment.trainer.saved_model_file)
        resumed.fit()
        for name, value in experiment.model.state_dict().items():
            assert torch.equal(value, resumed.model.state_dict()[name]), name

    def test_recbole_loads_it(self, blocks: str) -> None:
        experiment = Experiment(self.model)
        experiment.fit()
        model = load_data_and_model(experiment.trainer.saved_model_file)[1]
        assert len(model.weights) > 0
        users = self.all_users(model)
        assert torch.equal(model.full_sort_predict(users), experiment.model.full_sort_predict(users))

    def test_auto_follows_from_the_number_of_items(self, blocks: str) -> None:
        settings = Experiment(self.model).model.settings
        assert (settings.neighbours, settings.reg_weight) == (200, 300.0)

    def test_more_neighbours_than_the_memory_holds_are_refused(self, write_dataset: Callable[..., None]) -> None:
        write_dataset("wide", [(f"u{n % 9}", f"i{n}") for n in range(400)])
        message = "neighbours=300 needs 5 MiB for the equations of one item, and train_memory is 4 MiB: take fewer"
        with pytest.raises(ConfigurationError, match=message):
            Experiment(self.model, "wide", neighbours=300, train_memory=4)

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("neighbours", 0, "neighbours=0 is not allowed: expected a positive integer, or auto"),
            ("neighbours", "all", "neighbours='all' is not allowed: expected a positive integer, or auto"),
            ("user_exponent", -1, "user_exponent=-1 is not allowed: expected a number, 0 or more"),
            ("dropout_prob", 1.0, "dropout_prob=1.0 is not allowed: expected a number from 0 up to"),
            ("reg_weight", 0.0, "reg_weight=0.0 is not allowed: expected a number above 0, or auto"),
            ("train_memory", 0, "train_memory=0 is not allowed: expected a positive integer"),
        ],
    )
    def test_bad_keys(self, blocks: str, key: str, value: Any, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            Experiment(self.model, **{key: value})


@pytest.mark.parametrize("k", [1, 4, 24, 1000])
@pytest.mark.parametrize("a", [0.0, 0.5, 1.0])
def test_similarities_are_the_reference_s(k: int, a: float) -> None:
    X = random_clicks()
    np.testing.assert_allclose(similarity(X, k, a), reference.sparse_edlae(X, k, a, 0.4, 2.5), atol=1e-5)


def test_with_all_items_and_all_users_alike_it_is_edlae() -> None:
    X = random_clicks(300, 12)[:, :-1]
    assert (X.T @ X).all()  # Items without a common user are no neighbours.
    np.testing.assert_allclose(similarity(X, 10**6, a=0), reference.edlae(X, 0.4, 2.5), atol=1e-5)


@pytest.mark.parametrize("memory", [1, 2**12, 2**15])
def test_the_size_of_the_blocks_changes_nothing(memory: int) -> None:
    X = random_clicks(200, 90)
    np.testing.assert_allclose(similarity(X, 8, memory=memory), similarity(X, 8), atol=1e-6)
    gram = WeightedGram(csr_matrix(X), 0.5, memory)
    starts = [start for start, _ in gram.rows()]
    assert len(starts) > 1 and starts[0] == 0


def test_a_part_of_the_gram_matrix_that_is_mostly_empty_stays_sparse() -> None:
    X = np.kron(np.eye(40), np.ones((2, 3))).astype(np.float32)  # Forty groups of three items.
    gram = WeightedGram(csr_matrix(X), 0, MEMORY)
    assert not isinstance(gram.among(np.arange(120)), np.ndarray)
    assert isinstance(gram.among(np.arange(3)), np.ndarray)
    np.testing.assert_allclose(similarity(X, 5), reference.sparse_edlae(X, 5, 0.5, 0.4, 2.5), atol=1e-6)


def test_an_item_without_clicks_has_no_neighbours_and_is_none() -> None:
    B = similarity(random_clicks(), 24)
    assert not B[-1].any() and not B[:, -1].any()
    assert not similarity(np.zeros((3, 4), np.float32), 2).any()
    assert not similarity(np.ones((3, 1), np.float32), 2).any()


def test_the_neighbours_are_those_of_the_same_users() -> None:
    # Items 0 and 1 have the same two users, item 3 one of them; item 2 is everybody's.
    X = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0]], np.float32)
    gram = WeightedGram(csr_matrix(X), 0, MEMORY)
    assert nearest_neighbours(gram, 1).ravel().tolist() == [1, 0, 0, 0]
    assert nearest_neighbours(gram, 9).tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]


def test_an_item_whose_users_are_those_of_another_is_predicted_from_it() -> None:
    X = np.kron(np.eye(2), np.ones((30, 2))).astype(np.float32)
    B = similarity(X, 1, a=0, p=0, lam=1e-3)
    np.testing.assert_allclose(B, np.kron(np.eye(2), [[0, 1], [1, 0]]), atol=1e-4)


def test_long_histories_weigh_less_with_the_exponent() -> None:
    # One user clicked everything, nine users the pair 0 and 1 only.
    X = np.vstack([np.ones((1, 30)), np.tile(np.arange(30) < 2, (9, 1))]).astype(np.float32)
    plain, weighted = (similarity(X, 29, a=a)[2:, 3:].max() for a in (0.0, 1.0))
    assert 0 < weighted < plain


@pytest.mark.parametrize("at_once", [1, 10, 10**6])
def test_scores_are_written_into_any_memory(blocks: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparseedlae, "SCORED_ENTRIES", at_once)
    experiment = Experiment("SparseEDLAE")
    experiment.fit()
    network = experiment.model
    histories = [[1, 2], [], [20], [1, 2, 3, 4, 5], []]
    memory = torch.full((5, 25), torch.nan)
    network.score_into(Clicks.from_lists(histories, network.device), memory[:, 2:22])
    B = csr_matrix((network.weights.numpy(), network.columns.numpy(), network.offsets.numpy()), (20, 20)).toarray()
    expected = np.stack([B[np.array(history, int) - 1].sum(axis=0) for history in histories])
    np.testing.assert_allclose(memory[:, 2:22], expected, atol=1e-6)
    assert memory[:, :2].isnan().all() and memory[:, 22:].isnan().all()


@pytest.fixture
def trained(write_dataset: Callable[..., None]) -> Path:
    """Sixty groups of ten items and eight users: the similarity is sparse enough to be stored as its entries."""
    pairs = [(f"u{8 * g + u}", f"i{10 * g + n}") for g in range(60) for u in range(8) for n in range(10) if (u + n) % 5]
    write_dataset("groups", pairs)
    experiment = Experiment("SparseEDLAE", "groups", neighbours=3)
    experiment.fit()
    return Path(experiment.trainer.saved_model_file)


@pytest.mark.parametrize("io", ["tokens", "ids", "dense"])
def test_it_is_exported_as_its_entries(trained: Path, io: str) -> None:
    options = Options() if io == "dense" else Options(filters=True, reasons=True)
    exported = export(trained, "model.onnx", io=io, options=options)  # Which compares it with torch.
    assert exported.model.name == "SparseEDLAE"
    assert isinstance(exported.model.architecture, SparseLinear)


def test_a_dense_one_is_exported_whole(blocks: str) -> None:
    experiment = Experiment("SparseEDLAE", "blocks", QUICK)
    experiment.fit()
    exported = export(Path(experiment.trainer.saved_model_file), "model.onnx", precision="int8", min_overlap=0)
    assert isinstance(exported.model.architecture, Linear)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda spec, _: spec["similarity"].pop("columns"), SpecError, "says columns=None, which are no weights"),
        (lambda spec, _: spec["similarity"].update(weights=["x"]), SpecError, r"says weights=\['x'\], which are no weights"),
        (lambda spec, _: spec.update(n_items=20), SpecError, "says n_items=20, and the weights offsets are of 600 rows"),
        (lambda _, state: state["columns"].add_(1), WeightsError, "offsets and columns are a damaged matrix"),
        (
            lambda _, state: state["offsets"][3:].add_(1),
            WeightsError,
            "offsets and columns are a damaged matrix",
        ),
        (lambda _, state: state.update(columns=state["columns"].float()), WeightsError, "columns are not a list of whole"),
        (lambda _, state: state["weights"].fill_(torch.nan), WeightsError, "weights hold numbers that are not finite"),
    ],
)
def test_a_wrong_checkpoint_is_one_sentence(
    trained: Path, change: Callable[[dict[str, Any], dict[str, Any]], Any], error: type[ExportError], message: str
) -> None:
    path = changed(trained, Path("wrong.pth"), lambda saved: change(saved["other_parameter"]["spec"], saved["state_dict"]))
    with pytest.raises(error, match=message):
        export(path, "model.onnx")
