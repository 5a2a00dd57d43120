"""What every architecture must do, on a small model of each: golden cases, forms, opsets, precisions, benchmark."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from multvae_export import architectures, golden
from multvae_export.architectures import Architecture
from multvae_export.architectures.auto_encoder import AutoEncoder, usual_activations
from multvae_export.architectures.linear import Entries, Linear, SparseLinear, linear_model
from multvae_export.architectures.macridvae import MacridVAE
from multvae_export.architectures.popularity import Popularity
from multvae_export.architectures.recvae import DEPTH, RecVAE
from multvae_export.architectures.sum import Member, Sum
from multvae_export.benchmark import command as benchmark
from multvae_export.benchmark import measure
from multvae_export.graph import onnx_file
from multvae_export.nodes.layers import Layer
from multvae_export.nodes.quantise import PRECISIONS
from multvae_export.ranking import best
from multvae_export.target import Target
from multvae_export.trained_model import Model
from multvae_export.verification import checks as verification
from torch import Tensor

from tests.export.conftest import golden_answers

N = len(golden.TOKENS) - 1


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layers(*sizes: int) -> tuple[Layer, ...]:
    return tuple((random(a, b, seed=n), random(b, seed=n) / 10) for n, (a, b) in enumerate(pairwise(sizes)))


def auto_encoder(items: int) -> Architecture:
    return AutoEncoder(layers(items, 7, 3, items), usual_activations(3, 2, latent_tanh=False), norm=True, latent=2)


def linear(items: int) -> Architecture:
    return Linear(layers(items, items), ("none",), norm=False, latent=1)


def sparse(items: int) -> Architecture:
    rows, columns = torch.tensor([1, 1, 1, 2, 4, items, items]), torch.tensor([2, 3, items, 1, 5, 1, items])
    return SparseLinear(Entries(rows, columns, random(7), items + 1), random(items + 1, seed=1))


def popularity(items: int) -> Architecture:
    return Popularity(torch.cat([torch.tensor([-torch.inf]), torch.arange(float(items)) // 2 / items]))


def recvae(items: int, units: int = 6) -> Architecture:
    norms = tuple((random(units, seed=n), random(units, seed=n + 9)) for n in range(DEPTH))
    return RecVAE(layers(items, *[units] * DEPTH, 4, items), norms, (random(units, 4, seed=7), random(4, seed=8)))


def macridvae(items: int, *hidden: int, tau: float = 1.0) -> Architecture:
    vectors = torch.nn.functional.normalize(random(items, 3)) / tau
    shares = torch.log_softmax(random(items, 2) / tau, dim=1)
    return MacridVAE((*layers(items, *hidden, 3), (vectors.T, torch.zeros(items))), shares)


def summed(*members: Architecture) -> Sum:
    """The sum of some models, with factors 1, 1/2, 1/4, ..."""
    return Sum(tuple(Member(f"M{n}", 1.0, 0.5**n, model) for n, model in enumerate(members)))  # type: ignore[arg-type]


#: A model of so many items, by kind.
KINDS: dict[str, Callable[[int], Architecture]] = {
    "auto_encoder": auto_encoder,
    "linear": linear,
    "sparse linear": sparse,
    "popularity": popularity,
    "recvae": recvae,
    "recvae with an odd number of units": partial(recvae, units=5),
    "macridvae": lambda items: macridvae(items, 5),
    "macridvae without a hidden layer": macridvae,
    "sum": lambda items: summed(auto_encoder(items), linear(items)),
    "sum of sparse linear, popularity and auto_encoder": lambda items: summed(
        sparse(items), popularity(items), auto_encoder(items)
    ),
    "sum of macridvae and recvae": lambda items: summed(macridvae(items, 5), recvae(items, units=5)),
}
PAIRS = [(kind, precision) for kind in KINDS for precision in PRECISIONS]


def model(kind: str, items: int = N) -> Model:
    tokens = golden.TOKENS if items == N else ("[PAD]", *(f"i{n}" for n in range(items)))
    return Model("Small", KINDS[kind](items), tokens, "golden", {})


def written(kind: str, io: str, precision: str = "fp32", opset: int = 18, items: int = N) -> verification.ExportedFile:
    small = model(kind, items)
    return exported(small, Target(io, precision), opset)


def exported(model: Model, target: Target, opset: int = 18) -> verification.ExportedFile:
    onnx_file.write(onnx_file.to_onnx(model, target, opset), Path("model.onnx"))
    return verification.ExportedFile(Path("model.onnx"), model, target, opset, 1e-4)


def test_every_architecture_that_reads_a_history_is_tried_here() -> None:
    names = {type(KINDS[kind](N)) for kind in KINDS}
    architectures.exportable()
    by_history = {kind for kind in Architecture.known.values() if "ids" in kind.forms}
    assert by_history <= names


@pytest.mark.parametrize(("kind", "precision"), PAIRS)
def test_golden_cases_are_torch_s(kind: str, precision: str) -> None:
    file = written(kind, "tokens", precision)
    rounded = Model("Small", file.stored, golden.TOKENS, "golden", {})
    for name, scores, expected in golden_answers(file.session, rounded):
        finite = expected[np.isfinite(expected)]
        atol = 1e-5 if precision in ("fp32", "fp16") else 0.05 * max(1, np.abs(finite).max(initial=0))
        np.testing.assert_allclose(scores, expected, atol=atol, err_msg=name)


@pytest.mark.parametrize(("kind", "precision"), PAIRS)
@pytest.mark.parametrize(("io", "opset"), [("ids", 16), ("dense", 17), ("tokens", 18)])
def test_every_form_opset_and_precision_is_verified(kind: str, precision: str, io: str, opset: int) -> None:
    checks: list[str] = []
    verification.verify(written(kind, io, precision, opset, items=61), lambda name, figures: checks.append(name))
    assert len(checks) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_history_of_length_zero_is_an_empty_one_for_every_user(kind: str) -> None:
    file = written(kind, "ids")
    k = np.array([N])
    for _ in range(3):
        # The run before leaves its numbers in memory that is used again.
        file.session.run(None, {"history": np.random.default_rng(0).integers(1, N + 1, (16, 7)), "k": k})
        zero_length = file.session.run(None, {"history": np.zeros((16, 0), np.int64), "k": k})
        padding = file.session.run(None, {"history": np.zeros((16, 1), np.int64), "k": k})
        for ours, theirs in zip(zero_length, padding, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_eager_torch_is_the_same_model(kind: str) -> None:
    architecture = KINDS[kind](N)
    history = np.array([[1, 2, 3], [4, 0, 0], [0, 0, 0]])
    _, scores = measure.Eager(architecture, "cpu")(history)
    expected = best(architecture.answer(torch.from_numpy(history)), measure.TOP)[1]
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("io", ["tokens", "dense"])
def test_benchmark_measures_every_architecture(
    kind: str, io: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "LEAST", 1)
    monkeypatch.setattr(measure, "WARM_SECONDS", 0)
    written(kind, io)
    assert benchmark.main(["model.onnx", "--requests", "1", "--provider", benchmark.CPU, "--batch-size", "2"]) == 0
    assert f"| model.onnx | {io} fp32 | CPU | 2 |" in capsys.readouterr().out


def test_a_wrong_chunk_is_noticed() -> None:
    # The proof of a sparse file can fail: one entry of another column.
    proto = onnx_file.to_onnx(model("sparse linear"), Target("ids"))
    table = next(tensor for tensor in proto.graph.initializer if tensor.name == "table_columns")
    columns = np.frombuffer(table.raw_data, np.int32).copy()
    columns[columns == 2] = 7
    table.raw_data = columns.tobytes()
    onnx_file.write(proto, Path("model.onnx"))
    file = verification.ExportedFile(Path("model.onnx"), model("sparse linear"), Target("ids"), 18, 1e-4)
    with pytest.raises(verification.VerificationError, match="expected"):
        verification.verify(file, lambda name, figures: None)


def test_long_rows_take_several_chunks_and_the_form_follows_the_size() -> None:
    rows = torch.cat([torch.full((150,), 7), torch.arange(1, 200)])
    columns = torch.cat([torch.arange(1, 151), torch.full((199,), 3)])
    sparse_model = linear_model(Entries(rows, columns, random(len(rows)), 1000), torch.zeros(1000))
    assert isinstance(sparse_model, SparseLinear)
    assert sparse_model.graph(Target("ids"), "scores").constants["chunk_count"][7] == 5
    small = Model("Small", sparse_model, ("[PAD]", *map(str, range(999))), "x", {})
    verification.verify(exported(small, Target("ids")), lambda name, figures: None)
    whole = linear_model(random(200, 200), torch.zeros(200))
    assert isinstance(whole, Linear)
    assert whole.n_items == 200
    # Equal entries add up, and those of the padding item are left out.
    twice = Entries(torch.tensor([1, 1, 0]), torch.tensor([2, 2, 1]), torch.tensor([1.0, 2.0, 9.0]), 200)
    clicks = torch.zeros(1, 200)
    clicks[0, 1] = 1
    assert linear_model(twice, torch.zeros(200)).logits(clicks)[0, 1:3].tolist() == [0, 3]


def test_a_facet_model_with_a_small_temperature_stays_finite() -> None:
    architecture = macridvae(N, tau=0.004)
    tried = Model("Small", architecture, golden.TOKENS, "golden", {})
    onnx_file.write(onnx_file.to_onnx(tried, Target("ids")), Path("model.onnx"))
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    _, scores = session.run(None, {"history": np.array([[0]]), "k": np.array([N])})
    assert np.isfinite(scores).all()
    assert scores.max() > 100  # exp overflows at 89
    np.testing.assert_allclose(scores, best(architecture.answer(torch.tensor([[0]])), N)[1].numpy(), rtol=1e-5)
