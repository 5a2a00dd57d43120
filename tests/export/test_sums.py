"""Sums of models: one file that ranks by the weighted sum of its members' scores; what is wrong in one is one sentence."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from multvae_export.benchmark import command as benchmark
from multvae_export.benchmark import measure
from multvae_export.checkpoint.contents import load
from multvae_export.cli import main
from multvae_export.errors import ExportError, OptionError, SpecError, UnsupportedModelError, WeightsError
from multvae_export.exporter import export
from multvae_export.target import Options
from multvae_export.trained_model import architecture_of

from tests.archive import changed, parts_of, with_pickle
from tests.conftest import Experiment
from tests.export.conftest import blocks_folder, checkpoint_of
from tests.export.sums import sum_checkpoint
from tests.export.test_kinds import linear, summed
from tests.export.test_options import ALL, with_posterior

BY_USER: dict[str, Any] = {"train_neg_sample_args": None}
#: The keys of each member.
KEYS: dict[str, dict[str, Any]] = {
    "MultVAE": {},
    "MultVAE:gaussian": {"likelihood": "gaussian", "mlp_hidden_size": [5], "latent_dimension": 3},
    "MultDAE": {},
    "EDLAE": {},
    "EASE": {},
    "ItemKNN": {"k": 3},
    "Pop": {},
    "RecVAE": {**BY_USER, "hidden_dimension": 6},
    "MacridVAE": {**BY_USER, "encoder_hidden_size": [6], "embedding_size": 4, "kfac": 2},
}
SUMS: dict[str, tuple[float, ...]] = {
    "MultVAE+EDLAE": (1.0, 2.5),
    "MultVAE+MultVAE:gaussian+EASE": (0.5, 3.0, 1.25),
    "ItemKNN+Pop+MultDAE": (2.0, 0.1, 1.0),
    "RecVAE+MacridVAE+MultVAE": (1.0, 2.0, 0.5),
}


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each member by name, all of the same data set, which lies beside them."""
    with blocks_folder(tmp_path_factory, "members"):
        return {
            name: checkpoint_of(Experiment(name.split(":")[0], **keys), name.replace(":", "-"))
            for name, keys in KEYS.items()
        }


@pytest.fixture
def make(members: dict[str, Path]) -> Callable[..., Path]:
    """Writes the checkpoint of a sum."""

    def made(name: str, *factors: float) -> Path:
        names = name.split("+")
        weights = factors or SUMS[name]
        return sum_checkpoint(Path("sum.pth"), [(m, members[m], f) for m, f in zip(names, weights, strict=True)])

    return made


def dense(path: Path, members: dict[str, Path]) -> np.ndarray:
    """The scores that the file of a checkpoint gives to some histories, one of them empty."""
    export(path, "dense.onnx", io="dense", dataset_path=str(members["EASE"].parent), check=False)
    x = (np.random.default_rng(0).random((5, 21)) < 0.3).astype(np.float32)
    x[0] = 0
    (scores,) = onnxruntime.InferenceSession("dense.onnx").run(None, {"x": x})
    return scores


@pytest.mark.parametrize("name", SUMS)
def test_scores_are_the_sum_of_the_members_files(name: str, make: Callable[..., Path], members: dict[str, Path]) -> None:
    export(make(name), "model.onnx")
    expected = sum(factor * dense(members[m], members) for m, factor in zip(name.split("+"), SUMS[name], strict=True))
    found = dense(Path("sum.pth"), members)
    assert np.isneginf(found[:, 0]).all() and np.isfinite(found[:, 1:]).all()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("io", ["tokens", "ids"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
def test_a_file_has_all_options(io: str, precision: str, make: Callable[..., Path]) -> None:
    bound = None if precision == "fp32" else 0.0
    exported = export(
        make("MultVAE+MultVAE:gaussian+EASE"), "model.onnx", io=io, precision=precision, options=ALL, min_overlap=bound
    )
    names = [name for name, _ in exported.checks]
    assert names[3:6] == ["filters equal masking", "reasons equal brute force", "samples equal torch"]
    inputs = {value.name: value.shape for value in onnxruntime.InferenceSession("model.onnx").get_inputs()}
    assert inputs["noise"][1] == 4 + 3


def test_the_file_says_what_it_is(make: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(make("MultVAE+EDLAE")), "model.onnx"]) == 0
    described = "MultVAE+EDLAE 1 x MultVAE 20-6-4-6-20 + 2.5 x EDLAE 20-20, trained on blocks, mrr@10"
    assert described in capsys.readouterr().out
    proto = onnx.load("model.onnx")
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    spec = json.loads(metadata["model_spec"])
    assert (proto.graph.name, metadata["model"]) == ("MultVAE+EDLAE", "MultVAE+EDLAE")
    assert spec["sizes"] == [20, 6, 20]
    assert [(m["name"], m["factor"], m["weight"]) for m in spec["members"]] == [
        ("MultVAE", 1.0, 1 / 3.5), ("EDLAE", 2.5, 2.5 / 3.5)
    ]  # fmt: skip
    assert spec["members"][1]["spec"] == {"sizes": [20, 20], "similarity": "dense"}


def test_a_member_with_the_factor_0_is_left_out(make: Callable[..., Path], members: dict[str, Path]) -> None:
    path = make("MultVAE+EDLAE", 0, 2)
    # Whatever is wrong with it does not matter.
    changed(path, path, lambda contents: contents["state_dict"].pop("members.0.encoder.first.weight"))
    export(path, "model.onnx")
    read = {tensor.name for tensor in onnx.load("model.onnx").graph.initializer}
    assert read >= {"table0_of0", "factor0"} and not any("of1" in name for name in read)
    np.testing.assert_allclose(dense(path, members), 2 * dense(members["EDLAE"], members), atol=1e-6)
    tiny = make("MultVAE+EDLAE", 1e-300, 1)
    assert str(architecture_of(load(tiny))) == "1 x EDLAE 20-20"


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        (
            "MultVAE+Pop",
            {"options": Options(reasons=True)},
            r"--reasons does not fit MultVAE\+Pop, because its member Pop has none: its scores are the same whatever the",
        ),
        (
            "EDLAE+MultDAE",
            {"options": Options(posterior=True)},
            r"--posterior does not fit EDLAE\+MultDAE, for which no posterior",
        ),
        ("MultVAE+EDLAE", {"io": "users"}, r"--io=users does not fit MultVAE\+EDLAE: expected tokens, ids, dense"),
    ],
)
def test_what_a_member_lacks_is_refused_with_its_name(
    name: str, keys: dict[str, Any], message: str, make: Callable[..., Path]
) -> None:
    with pytest.raises(OptionError, match=message):
        export(make(name, 1, 1), "model.onnx", **keys)


@pytest.mark.parametrize("precision", ["fp16", "int8", "int4"])
def test_a_sum_of_all_kinds_takes_fewer_bits(precision: str, make: Callable[..., Path]) -> None:
    assert export(make("MultVAE+Pop", 1, 1), "model.onnx", precision=precision, min_overlap=0).checks


def test_noise_of_the_members_stands_side_by_side() -> None:
    first, second = with_posterior(8, 7, units=2), with_posterior(8, units=1)
    model = summed(first, linear(8), second)
    clicks = torch.tensor([[0, 1.0, 0, 1, 1, 0, 0, 0, 0]])
    noise = torch.tensor([[1.0, -2, 0.5]])
    expected = 1.0 * first.sampled(clicks, noise[:, :2]) + 0.5 * model.members[1].model.logits(clicks)
    expected += 0.25 * second.sampled(clicks, noise[:, 2:])
    torch.testing.assert_close(model.sampled(clicks, noise), expected)


def spec(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda contents: contents["other_parameter"]["spec"].update(values)


def listed(n: int, **values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda contents: contents["other_parameter"]["spec"]["members"][n].update(values)


def saved(n: int, **values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda contents: contents["other_parameter"]["members"][n].update(values)


def extra(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda contents: contents["other_parameter"].update(values)


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    return value


NO_LIST = r"^the checkpoint of MultVAE\+EDLAE has no list of members with a part for each: save it again\.$"
FACTOR = "expected a finite number, 0 or above"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (spec(members=[]), SpecError, NO_LIST),
        (spec(members=None), SpecError, NO_LIST),
        (spec(members={"a": 1}), SpecError, NO_LIST),
        (spec(members=["MultVAE", "EDLAE"]), SpecError, NO_LIST),
        (lambda c: c["other_parameter"]["spec"]["members"].pop(), SpecError, NO_LIST),
        (lambda c: c["other_parameter"].pop("members"), SpecError, NO_LIST),
        (extra(members=7), SpecError, NO_LIST),
        (extra(members=[None, None]), SpecError, NO_LIST),
        (listed(1, factor=-1.0), SpecError, f"^member 2 of the sum has the factor -1.0, {FACTOR}"),
        (listed(1, factor=-1), SpecError, f"^member 2 of the sum has the factor -1, {FACTOR}"),
        (listed(1, factor=float("nan")), SpecError, f"has the factor nan, {FACTOR}"),
        (listed(1, factor=float("inf")), SpecError, f"has the factor inf, {FACTOR}"),
        (listed(1, factor=1e39), SpecError, f"has the factor 1e\\+39, {FACTOR}"),
        (listed(1, factor=10**400), SpecError, f"has the factor of type int, {FACTOR}"),
        (listed(1, factor="1"), SpecError, f"has the factor of type str, {FACTOR}"),
        (listed(1, factor=True), SpecError, f"has the factor True, {FACTOR}"),
        (listed(1, factor=None), SpecError, f"has the factor None, {FACTOR}"),
        (listed(0, weight="a lot"), SpecError, "member 1 of the sum has the weight of type str"),
        (listed(0, name=["MultVAE"]), SpecError, "member 1 of the sum has of type list for a name"),
        (listed(0, name="a\nb"), SpecError, "for a name, expected"),
        (
            lambda c: listed(0, factor=0)(c) or listed(1, factor=0.0)(c),
            SpecError,
            "all members .* have the factor 0: expected",
        ),
        (saved(0, config=None), SpecError, "member 1 of the sum, MultVAE: its configuration names no model"),
        (saved(0, config={"model": 7}), SpecError, "member 1 of the sum, MultVAE: its configuration names no model"),
        (saved(0, other_parameter="text"), SpecError, "member 1 of the sum, MultVAE: its other_parameter is of type str"),
        (saved(0, other_parameter=None), SpecError, "member 1 of the sum, MultVAE: .* has no description of its model"),
        (saved(1, config={"model": "SASRec"}, other_parameter=None), UnsupportedModelError, "member 2 .*SASRec cannot be"),
        (
            saved(1, config={"model": "BPR"}, other_parameter=None),
            UnsupportedModelError,
            "^member 2 of the sum, EDLAE: BPR cannot be exported in a sum, because it answers for users by name",
        ),
        (
            saved(1, config={"model": "ADMMSLIM"}, other_parameter=None),
            UnsupportedModelError,
            "ADMMSLIM cannot be exported in a sum, because the checkpoint of a sum lacks its similarity",
        ),
        (
            saved(1, other_parameter={"spec": {"architecture": "sum", "members": []}}),
            UnsupportedModelError,
            "EDLAE cannot be exported in a sum, because it is a sum itself",
        ),
        (
            saved(1, config={"model": "EASE"}, other_parameter={"item_similarity": np.zeros((7, 7))}),
            SpecError,
            "^member 2 of the sum, EDLAE: it has 7 items with padding, and the sum 21",
        ),
        (spec(n_items=20), SpecError, "member 1 of the sum, MultVAE: it has 21 items with padding, and the sum 20"),
        (spec(n_items="20"), SpecError, "it has 21 items with padding, and the sum of type str"),
        (spec(n_items=10**400), SpecError, "it has 21 items with padding, and the sum of type int"),
        (
            lambda c: c["state_dict"].pop("members.1.similarity"),
            SpecError,
            "member 2 of the sum, EDLAE: the description says similarity='similarity', which are no weights",
        ),
        (
            lambda c: c["state_dict"]["members.1.similarity"].fill_(torch.nan),
            WeightsError,
            "member 2 of the sum, EDLAE: the weights similarity hold numbers that are not finite",
        ),
    ],
)
def test_a_wrong_sum_is_one_sentence(
    change: Callable[[dict[str, Any]], Any], error: type[ExportError], message: str, make: Callable[..., Path]
) -> None:
    path = make("MultVAE+EDLAE")
    with pytest.raises(error, match=message) as caught:
        export(changed(path, path, change), "model.onnx")
    assert "\n" not in str(caught.value)
    assert not Path("model.onnx").exists()


@pytest.mark.parametrize(
    "change",
    [listed(1, factor=deep()), listed(1, name=deep()), saved(1, other_parameter=deep()), spec(n_items=deep())],
)
def test_deep_entries_are_one_sentence(change: Callable[[dict[str, Any]], Any], make: Callable[..., Path]) -> None:
    checkpoint = load(make("MultVAE+EDLAE"))
    change({"other_parameter": checkpoint.other_parameter})
    with pytest.raises(SpecError, match="of type list"):
        architecture_of(checkpoint)


def test_flipped_bytes_of_the_members_never_crash(make: Callable[..., Path]) -> None:
    # The check sums are right: the attacker chooses the description.
    rng = random.Random(0)
    path = make("MultVAE+EDLAE")
    pickled = next(value for name, value in parts_of(path).items() if name.endswith("/data.pkl"))
    begin = pickled.index(b"architecture")
    refused = read = 0
    for _ in range(300):
        flipped = bytearray(pickled)
        for _ in range(rng.choice((1, 1, 2, 4))):
            flipped[rng.randrange(begin, begin + 300)] ^= 1 << rng.randrange(8)
        try:
            architecture_of(load(with_pickle(path, bytes(flipped), Path("flipped.pth"))))
            read += 1
        except ExportError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 50
    assert read > 5


def test_the_benchmark_measures_a_sum_beside_torch(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "LEAST", 1)
    monkeypatch.setattr(measure, "WARM_SECONDS", 0)
    path = make("MultVAE+EDLAE")
    export(path, "model.onnx", options=Options(filters=True))
    flags = ["--checkpoint", str(path), "--requests", "1", "--provider", benchmark.CPU, "--batch-size", "2"]
    assert benchmark.main(["model.onnx", *flags]) == 0
    assert [line.split(" | ")[0] for line in capsys.readouterr().out.splitlines()[2:]] == ["| model.onnx"] * 2 + [
        "| torch eager"
    ]
