"""Files in fewer bits: the contract holds exactly, the cost is measured, and a file that costs too much is not written."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from multvae_export import exporter, golden
from multvae_export.architectures.auto_encoder import AutoEncoder, usual_activations
from multvae_export.cli import main
from multvae_export.errors import HistoriesError, OptionError, PrecisionError, VerificationError
from multvae_export.exporter import export
from multvae_export.graph import onnx_file
from multvae_export.histories import Layout
from multvae_export.nodes import quantise
from multvae_export.nodes.layers import Layer
from multvae_export.target import Target
from multvae_export.trained_model import Model
from multvae_export.verification import checks as verify
from multvae_export.verification import precision_cost as cost

from tests.export.conftest import change_nodes, golden_answers

FEWER = ("fp16", "int8", "int4")


def random_model(n_items: int, hidden: int | None, units: int, latent_tanh: bool = False) -> Model:
    """A MultVAE of n_items with one hidden layer or none, and weights that spread its scores."""
    generator = torch.Generator().manual_seed(0)

    def layer(rows: int, columns: int) -> Layer:
        return torch.randn(rows, columns, generator=generator), torch.randn(columns, generator=generator) / 10

    middle = [hidden] if hidden else []
    sizes = [n_items, *middle, units, *middle, n_items]
    layers = [layer(*pair) for pair in pairwise(sizes)]
    half = len(layers) // 2
    tokens = ("[PAD]", *(f"i{n}" for n in range(n_items)))
    network = AutoEncoder(tuple(layers), usual_activations(len(layers), half, latent_tanh), norm=True, latent=half)
    return Model("MultVAE", network, tokens, "random", {})


def written(model: Model, io: str, precision: str, opset: int = 18) -> verify.ExportedFile:
    target = Target(io, precision)
    onnx_file.write(onnx_file.to_onnx(model, target, opset), Path("model.onnx"))
    return verify.ExportedFile(Path("model.onnx"), model, target, opset, 1e-4)


@pytest.mark.parametrize("io", ("tokens", "ids", "dense"))
@pytest.mark.parametrize("precision", FEWER)
def test_every_precision_in_every_form_is_verified_and_measured(checkpoint: Path, precision: str, io: str) -> None:
    exported = export(checkpoint, "model.onnx", io=io, precision=precision, min_overlap=0)
    names = [name for name, _ in exported.checks]
    assert names == ["well formed", "equals torch", "CUDA kernels", "keeps fp32's ranking"]
    assert "over 1000 random histories; NDCG needs --histories" in exported.checks[-1][1]
    metadata = {entry.key: entry.value for entry in onnx.load("model.onnx").metadata_props}
    assert metadata["precision"] == precision


# Odd sizes: int4 packs two units to a byte and 32 to a block.
@pytest.mark.parametrize(
    ("hidden", "units", "latent_tanh"), [(7, 5, False), (None, 5, False), (None, 5, True), (33, 3, False)]
)
@pytest.mark.parametrize("precision", FEWER)
def test_every_shape_and_opset(precision: str, hidden: int | None, units: int, latent_tanh: bool) -> None:
    model = random_model(30, hidden, units, latent_tanh)
    for io, opset in (("ids", 16), ("dense", 17), ("tokens", 18)):
        verify.verify(written(model, io, precision, opset), lambda name, figures: None)


def test_size_is_a_half_a_quarter_and_an_eighth() -> None:
    model = random_model(2000, 600, 200)
    sizes = {}
    for precision in quantise.PRECISIONS:
        onnx_file.write(onnx_file.to_onnx(model, Target("ids", precision)), Path("model.onnx"))
        sizes[precision] = Path("model.onnx").stat().st_size
    ratios = [sizes[precision] / sizes["fp32"] for precision in FEWER]
    assert ratios == pytest.approx([0.5, 0.25, 0.15], abs=0.012)


@pytest.mark.parametrize("precision", FEWER)
def test_golden_cases_hold_in_every_precision(precision: str) -> None:
    # The last two items have equal weights: they tie in every precision, and the lower id comes first.
    file = written(golden.model(), "tokens", precision)
    for name, scores, expected in golden_answers(file.session, golden.model()):
        if precision != "int4":
            np.testing.assert_allclose(scores, expected, atol=0.2, err_msg=name)


def test_a_user_s_int8_ranking_does_not_depend_on_the_batch() -> None:
    model = random_model(50, 16, 4)
    file = written(model, "ids", "int8")
    history = np.random.default_rng(0).integers(1, 51, (8, 5))
    together = file.run(verify.Case("together", history, 50))
    for n, row in enumerate(history):
        alone = file.run(verify.Case("alone", row[None], 50))
        np.testing.assert_array_equal(alone[0][0], together[0][n])
        np.testing.assert_allclose(alone[1][0], together[1][n], atol=1e-5)


def test_int8_products_fit_the_registers_of_processors_without_vnni() -> None:
    stored = quantise.decoder(np.random.default_rng(0).normal(size=(600, 50)).astype(np.float32), "int8")
    assert 2 * 255 * np.abs(stored.values.astype(int)).max() < 2**15


@pytest.mark.parametrize("precision", FEWER)
def test_stored_weights_are_near_the_originals(precision: str) -> None:
    weight = np.random.default_rng(0).normal(size=(64, 40)).astype(np.float32)
    weight[:, 3] = 0
    steps = {"fp16": 2**-10, "int8": 1 / 64, "int4": 1 / 8}[precision]
    for stored in (
        quantise.table(weight, precision),
        quantise.hidden(weight, precision),
        quantise.decoder(weight, precision),
    ):
        assert stored.widened.shape == weight.shape
        assert np.abs(stored.widened - weight).max() <= steps * np.abs(weight).max()
        assert (stored.widened[:, 3] == 0).all()


@pytest.mark.parametrize("broken", ["scale", "mask", "repeats", "order"])
def test_wrong_file_in_fewer_bits_is_not_written(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    change = {
        "scale": ("Mul(item_scaled, row_divisor)", "Mul(item_scaled, one_float)"),
        "mask": ("Where(seen, minus_infinity, logits)", "Where(seen, logits, logits)"),
        "repeats": ("counts = And(is_last, is_known)", "counts = And(is_known, is_known)"),
        "order": ("largest: int = 1", "largest: int = 0"),
    }[broken]
    change_nodes(monkeypatch, *change)
    with pytest.raises(VerificationError, match=r"expected|where torch has"):
        export(checkpoint, "model.onnx", precision="int8", min_overlap=0)
    assert not list(Path().glob("*.onnx"))


def test_a_file_that_says_another_precision_is_refused() -> None:
    model = random_model(20, None, 4)
    file = written(model, "ids", "int8")
    file.target = replace(file.target, precision="int4")
    with pytest.raises(VerificationError, match="metadata"):
        verify.check_structure(file)


@pytest.fixture
def inter() -> str:
    """Ten users with ten of the twenty items each, one of them unknown to the model, and a column more."""
    rows = [f"4\tu{u}\ti{(u + 2 * n) % 20 if n else 99}" for u in range(10) for n in range(11)]
    Path("histories.inter").write_text("\n".join(["rating:float\tuser_id:token\titem_id:token", *rows]) + "\n")
    return "histories.inter"


def test_histories_give_ndcg_of_both(checkpoint: Path, inter: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--precision", "int8", "--io", "ids", "--histories", inter, "--min-overlap", "0.5")
    assert main([str(checkpoint), "model.onnx", *flags]) == 0
    out = capsys.readouterr().out
    figures = re.search(
        r"keeps fp32's ranking: [\d.]+% of fp32's top 10, NDCG@100 (0\.\d+) \(fp32 (0\.\d+), .*over 10 users", out
    )
    assert figures, out
    assert float(figures[1]) == pytest.approx(float(figures[2]), abs=0.1)
    assert "--io ids, int8" in out


def test_a_history_is_shown_in_part_and_nothing_of_it_is_lost(inter: str) -> None:
    histories = cost.read_histories(inter, ("[PAD]", *(f"i{n}" for n in range(20))), Layout())
    assert histories.held is not None
    assert [(len(seen), len(held)) for seen, held in zip(histories.seen, histories.held, strict=True)] == [(8, 2)] * 10
    for seen, held in zip(histories.seen, histories.held, strict=True):
        assert not set(seen) & set(held)


def test_ndcg_and_overlap_by_hand() -> None:
    assert cost._ndcg(np.array([1, 2, 3]), np.array([1, 2])) == pytest.approx(1)
    assert cost._ndcg(np.array([1, 9, 2]), np.array([1, 2])) == pytest.approx(1.5 / (1 + 1 / np.log2(3)))
    assert cost._overlap(np.array([1, 2, 0, 0]), np.array([2, 3, 0, 0])) == 0.5
    assert cost._overlap(np.array([0, 0]), np.array([0, 0])) == 1


def test_fp32_costs_nothing() -> None:
    file = written(random_model(40, 8, 4), "dense", "fp32")
    assert cost.measure(file, cost.some_histories(41)).overlap == 1


def test_too_costly_a_file_is_refused_and_the_old_file_stays(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("model.onnx").write_text("what stood here before")
    monkeypatch.setattr(exporter, "measure", lambda file, histories: cost.Cost(1000, 0.5))
    assert main([str(checkpoint), "model.onnx", "--precision", "int4"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "int4 keeps less of fp32's ranking than --min-overlap=0.9 (50.00% of fp32's top 10, over" in error
    assert Path("model.onnx").read_text() == "what stood here before"
    assert not list(Path().glob(".multvae*"))
    export(checkpoint, "model.onnx", precision="int4", min_overlap=0.5)


def test_four_bits_of_noise_are_refused_by_measurement(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    # The proof compares a file with the weights that it stores. That they are all 0 shows only in the cost of fewer bits.
    original = quantise.table

    def coarse(weight: np.ndarray, precision: str) -> quantise.Stored:
        stored = original(weight, precision)
        return replace(stored, values=stored.values * 0, widened=stored.widened * 0)

    monkeypatch.setattr(quantise, "table", coarse)
    with pytest.raises(PrecisionError, match="than --min-overlap=1 "):
        export(checkpoint, "model.onnx", precision="int8", min_overlap=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int2"}, "--precision=int2 is not known: expected fp32, fp16, int8, int4"),
        ({"precision": "int8", "min_overlap": 1.5}, "--min-overlap=1.5 is not allowed: expected a share from 0 to 1"),
        ({"precision": "int8", "min_overlap": float("nan")}, "--min-overlap=nan is not allowed"),
        ({"precision": "int8", "min_overlap": 0.5, "check": False}, "--no-verify measures nothing"),
        ({"min_overlap": 0.5}, "--histories and --min-overlap are about what fewer bits cost"),
        ({"histories": "x.inter"}, "--histories and --min-overlap are about what fewer bits cost"),
    ],
)
def test_options_out_of_range(checkpoint: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        export(checkpoint, "model.onnx", **options)
    assert not Path("model.onnx").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read histories.inter: .*No such file"),
        ("", "has no column user_id:token: expected a RecBole .inter file, found ''"),
        ("user_id:token,item_id:token\nu,i1\n", "has no column user_id:token"),
        ("user_id:token\titem_id:token\nu\n", "line 2 of histories.inter has 1 fields, expected 2"),
        ("user_id:token\titem_id:token\nu\ti1\nv\tx\n", "no user of histories.inter has two items that the model knows"),
    ],
)
def test_histories_that_do_not_fit(checkpoint: Path, text: str | None, message: str) -> None:
    if text is not None:
        Path("histories.inter").write_text(text)
    with pytest.raises(HistoriesError, match=message) as caught:
        export(checkpoint, "model.onnx", precision="int8", histories="histories.inter")
    assert "\n" not in str(caught.value)
    assert not Path("model.onnx").exists()


def test_a_cuda_session_is_told_what_stays_on_the_cpu() -> None:
    model = random_model(20, None, 4)
    assert "MatMulInteger: int8 is for CPUs" in verify.check_cuda(written(model, "ids", "int8"))
    for precision in ("fp16", "int4"):
        assert verify.check_cuda(written(model, "ids", precision)).endswith("0 string look-ups stay on the CPU")


@pytest.mark.skipif("CUDAExecutionProvider" not in onnxruntime.get_available_providers(), reason="no CUDA provider")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", quantise.PRECISIONS)
def test_cuda_ranks_as_the_cpu_does(precision: str) -> None:
    file = written(random_model(500, 64, 16), "ids", precision)
    case = verify.Case("cuda", np.random.default_rng(0).integers(1, 501, (16, 20)), 500)
    _, scores = file.run(case)
    cuda = onnxruntime.InferenceSession(file.path, providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    _, cuda_scores = cuda.run(None, {"history": case.history, "k": np.array([500])})
    finite = np.isfinite(scores)
    np.testing.assert_array_equal(np.isfinite(cuda_scores), finite)
    np.testing.assert_allclose(cuda_scores[finite], scores[finite], atol=0.01 * np.ptp(scores[finite]))
