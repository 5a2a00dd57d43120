"""Options of an export, on a small model of each architecture: proved against torch, off by default, some refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from multvae_export import golden
from multvae_export.architectures import Architecture
from multvae_export.architectures.auto_encoder import AutoEncoder, usual_activations
from multvae_export.cli import main
from multvae_export.errors import OptionError, VerificationError
from multvae_export.exporter import export
from multvae_export.graph import onnx_file
from multvae_export.graph.onnx_file import to_onnx
from multvae_export.nodes.quantise import PRECISIONS
from multvae_export.target import NONE, Options, Target
from multvae_export.trained_model import Model
from multvae_export.verification import checks as verification
from multvae_export.verification.exported_file import Case

from recbole_multvae import checkpoint
from tests.conftest import Experiment
from tests.export.conftest import change_nodes, checkpoint_of
from tests.export.test_kinds import KINDS, auto_encoder, layers, linear, random, summed
from tests.export.test_users import synthetic

N = 61
ALL = Options(filters=True, reasons=True, posterior=True)


def with_posterior(items: int, *hidden: int, units: int = 3) -> AutoEncoder:
    between = (hidden[-1] if hidden else items, units)
    network = layers(items, *hidden, units, *hidden[::-1], items)
    latent = len(hidden) + 1
    activations = usual_activations(len(network), latent, latent_tanh=False)
    return AutoEncoder(network, activations, True, latent, (random(*between, seed=5) / 3, random(units, seed=6)))


def single_with_norm(items: int) -> AutoEncoder:
    return AutoEncoder(layers(items, items), ("none",), norm=True, latent=1)


MORE: dict[str, Callable[[int], Architecture]] = {
    **KINDS,
    "posterior": lambda items: with_posterior(items, 7),
    "posterior of a layer in the middle": lambda items: with_posterior(items, 7, 5),
    "posterior of the first layer": with_posterior,
    "posterior of the first layer, even": lambda items: with_posterior(items, units=4),
    "one layer with a norm": single_with_norm,
    "sum with posteriors": lambda items: summed(
        with_posterior(items, 7), with_posterior(items, units=4), linear(items), auto_encoder(items)
    ),
}


def model(kind: str) -> Model:
    return synthetic() if kind == "users" else Model("MultVAE", MORE[kind](N), tokens(N), "made", {})


def tokens(items: int) -> tuple[str, ...]:
    return ("[PAD]", *(f"i{n}" for n in range(items)))


def fitting(small: Model, io: str, options: Options = ALL) -> Options:
    """Those of some options that fit a model and a form."""
    fitting_options = {}
    for name in options.names:
        try:
            onnx_file.check_options(small, Target(io, options=Options(**{name: True})))
            fitting_options[name] = True
        except OptionError:
            pass
    return Options(**fitting_options)


def written(small: Model, io: str, options: Options, precision: str = "fp32", opset: int = 18) -> verification.ExportedFile:
    target = Target(io, precision, options)
    onnx_file.write(to_onnx(small, target, opset), Path("model.onnx"))
    return verification.ExportedFile(Path("model.onnx"), small, target, opset, 1e-4)


@pytest.mark.parametrize("kind", [*MORE, "users"])
@pytest.mark.parametrize("together", [True, False])
def test_every_architecture_is_proved(kind: str, together: bool) -> None:
    small = model(kind)
    for precision in PRECISIONS if together else ("fp32",):
        for io, opset in (("tokens", 18), ("ids", 16), ("dense", 17)) if kind != "users" else (("users", 18),):
            options = fitting(small, io)
            for some in [options] if together else [Options(**{name: True}) for name in options.names]:
                checks: list[str] = []
                file = written(small, io, some, precision, opset)
                verification.verify(file, lambda name, figures, checks=checks: checks.append(name))
                assert len(checks) == len(verification.CHECKS) + len(some.names)


def test_what_has_which_options() -> None:
    names_by_kind = {kind: fitting(model(kind), "users" if kind == "users" else "ids").names for kind in [*MORE, "users"]}
    with_a_posterior = {kind for kind, names in names_by_kind.items() if "posterior" in names}
    assert with_a_posterior == {kind for kind in MORE if "posterior" in kind or "recvae" in kind}
    without_reasons = {kind for kind in MORE if "popularity" in kind} | {"users"}
    assert {kind for kind, names in names_by_kind.items() if "reasons" not in names} == without_reasons
    assert all("filters" in names for names in names_by_kind.values())


def test_a_file_without_options_is_of_version_1_and_one_with_them_says_which() -> None:
    small = model("posterior")
    plain, every = (to_onnx(small, Target(options=options)) for options in (NONE, ALL))
    assert plain.SerializeToString(deterministic=True) == to_onnx(small, Target()).SerializeToString(deterministic=True)
    metadata = [{entry.key: entry.value for entry in proto.metadata_props} for proto in (plain, every)]
    assert (metadata[0]["contract_version"], "options" in metadata[0]) == ("1", False)
    assert (metadata[1]["contract_version"], json.loads(metadata[1]["options"])) == (
        "2",
        ["filters", "reasons", "posterior"],
    )
    assert [value.name for value in every.graph.input] == ["history", "k", "exclude", "among", "noise"]
    assert [value.name for value in every.graph.output] == ["items", "scores", "reasons"]
    assert all(value.doc_string for value in (*every.graph.input, *every.graph.output))
    assert every.graph.input[-1].type.tensor_type.shape.dim[1].dim_value == 3


@pytest.mark.parametrize("kind", [kind for kind in MORE if "posterior" in kind] + ["recvae"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_no_noise_and_no_filters_give_the_plain_answer_to_the_last_bit(kind: str, precision: str) -> None:
    small = model(kind)
    history = np.random.default_rng(0).integers(0, N + 1, (5, 9))
    plain = written(small, "ids", NONE, precision).run(Case("plain", history, N))
    for options in (Options(posterior=True), Options(filters=True), ALL):
        answer = written(small, "ids", options, precision).run(Case("options", history, N))
        assert all(np.array_equal(*pair) for pair in zip(plain, answer[:2], strict=True)), options


def test_reasons_of_a_linear_model_are_its_weights() -> None:
    small = Model("EASE", linear(N), tokens(N), "made", {})
    (similarity, _), *_ = small.architecture.layers  # type: ignore[attr-defined]
    history = np.array([[5, 9, 33]])
    items, _, reasons = written(small, "ids", Options(reasons=True)).run(Case("linear", history, 10))
    np.testing.assert_allclose(reasons[0], similarity[history[0] - 1][:, items[0] - 1].T, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "io", "options", "message"),
    [
        ("popularity", "ids", {"reasons": True}, "--reasons does not fit MultVAE, because its scores are the same whatever"),
        (
            "linear",
            "ids",
            {"posterior": True},
            "--posterior does not fit MultVAE, for which no posterior is exported",
        ),
        ("linear", "dense", {"filters": True}, "--filters does not fit --io=dense, which returns all scores"),
        ("linear", "dense", {"reasons": True}, "--reasons does not fit --io=dense: expected tokens or ids"),
        ("users", "users", {"reasons": True}, "--reasons does not fit --io=users: expected tokens or ids"),
    ],
)
def test_a_combination_without_meaning_is_refused(kind: str, io: str, options: dict[str, bool], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        to_onnx(model(kind), Target(io, options=Options(**options)))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (("Greater(position_or_excluded, min", "Greater(position_of_item, min"), "some excluded: a score differs"),
        (("Or(is_among, ranks_all_items)", "Or(ranks_all_items, ranks_all_items)"), "among"),
        (("Gather(weight3, among_item)", "Gather(weight3, exclude_item)"), "among one"),
        (("Sub(sum_row, contribution)", "Sub(sum_row, sum_row)"), "raises the scores by"),
        (("Sub(number, click)", "Sub(number, zero_float)"), "raises the scores by"),
        (("Exp(half_log_variance)", "Exp(hidden_variance)"), "raises the scores by"),
        (("Expand(noise_row, noise_shape)", "Expand(zero_float, noise_shape)"), "raises the scores by"),
        (("Or(is_flawed, is_nan)", "Or(is_nan, is_nan)"), "noise of inf"),
    ],
)
def test_a_wrong_option_is_noticed(change: tuple[str, str], error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small = model("posterior")
    change_nodes(monkeypatch, *change)
    with pytest.raises(VerificationError, match=error):
        verification.verify(written(small, "ids", ALL), lambda name, figures: None)


@pytest.mark.parametrize("name", ["MultiVAE", "RecVAE"])
def test_a_sample_is_recbole_s(name: str, blocks: str) -> None:
    experiment = Experiment(name, train_neg_sample_args=None)
    path = checkpoint_of(experiment, name)
    export(path, "model.onnx", io="ids", options=Options(posterior=True), dataset_path=".")
    session = onnxruntime.InferenceSession("model.onnx")
    model = experiment.model.eval()
    model.load_state_dict(checkpoint.load(path)["state_dict"])
    units = session.get_inputs()[-1].shape[1]
    noise = torch.randn(4, units, generator=torch.Generator().manual_seed(0))
    model.reparameterize = lambda mean, log_variance: mean + torch.exp(0.5 * log_variance) * noise
    history = torch.randint(1, model.n_items, (4, 5), generator=torch.Generator().manual_seed(1))
    clicks = torch.zeros(4, model.n_items).scatter_(1, history, 1.0)
    with torch.no_grad():
        logits = model(clicks, *([0.0] if name == "RecVAE" else []))[0]
    expected = logits.masked_fill(clicks > 0, -torch.inf)
    expected[:, 0] = -torch.inf
    items, scores = session.run(None, {"history": history.numpy(), "k": np.array([5]), "noise": noise.numpy()})
    np.testing.assert_allclose(scores, expected.topk(5).values, atol=1e-4)
    np.testing.assert_allclose(np.take_along_axis(expected.numpy(), items, 1), scores, atol=1e-4)


def test_lists_for_all_rows_and_for_each() -> None:
    session = onnxruntime.InferenceSession(
        to_onnx(golden.model(), Target(options=Options(filters=True))).SerializeToString()
    )

    def best(exclude: list[list[str]], among: list[list[str]]) -> list[list[str]]:
        history = np.array([["7"], ["42"]], dtype=object)
        lists = {"exclude": exclude, "among": among}
        feed = {name: np.array(rows, dtype=object).reshape(len(rows), -1) for name, rows in lists.items()}
        return session.run(["items"], {"history": history, "k": np.array([2]), **feed})[0].tolist()

    assert best([[]], [["007", "a b", "x,y"]]) == best([[], []], [["007", "a b", "x,y"]] * 2)
    assert best([["007"]], [["007", "a b"]]) == [["a b", ""]] * 2
    assert best([[]], [["nobody"]]) == [["", ""]] * 2
    with pytest.raises(Exception, match="exclude"):
        best([["7"]] * 3, [[]])


def test_the_command_writes_and_proves_options(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(checkpoint), "model.onnx", "--filters", "--reasons", "--posterior", "--precision=int8"]) == 0
    out = capsys.readouterr().out
    for line in ("filters equal masking: 14 kinds", "reasons equal brute force: 10 histories", "samples equal torch: 16"):
        assert f"✓ {line}" in out
    assert len(onnx.load("model.onnx").graph.input) == 5
    assert main([str(checkpoint), "model.onnx", "--io=dense", "--reasons"]) == 1
    assert capsys.readouterr().err.startswith("error: --reasons does not fit --io=dense")
