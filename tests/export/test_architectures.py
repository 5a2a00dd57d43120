"""An architecture is one new file, and a network is built from its description."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from multvae_export import architectures
from multvae_export.architectures import Architecture
from multvae_export.checkpoint.contents import load
from multvae_export.cli import main
from multvae_export.errors import ExportError, SpecError, UnsupportedModelError, WeightsError
from multvae_export.exporter import export
from multvae_export.trained_model import architecture_of

from tests.archive import changed, parts_of, with_pickle, without_description
from tests.conftest import Experiment
from tests.export.conftest import checkpoint_of

TOY = '''
"""Every item's score is its number of clicks in training, whatever the history."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from multvae_export.architectures.base import HistoryModel
from multvae_export.nodes import filters
from multvae_export.nodes.nodes import Nodes


@dataclass(frozen=True)
class Toy(HistoryModel):
    name: ClassVar[str] = "toy"
    models: ClassVar[tuple[str, ...]] = ("ToyModel",)
    scores: torch.Tensor

    @classmethod
    def from_checkpoint(cls, checkpoint):
        return cls(checkpoint.tensor("toy.scores", 1))

    @property
    def n_items(self):
        return len(self.scores)

    def logits(self, clicks):
        scores = self.scores.clone()
        scores[0] = -torch.inf
        return scores.expand(clicks.shape)

    def rounded(self, precision):
        return self

    def graph(self, target, output):
        text = f"    all = Shape({'x' if target.dense else 'seen'})\\n    {output} = Expand(toy_scores, all)"
        scores = self.logits(torch.zeros(1, self.n_items))[0].numpy()
        return filters.masked(Nodes(text, {"toy_scores": scores}), target, output)

    def spec(self):
        return {"sizes": [self.n_items - 1]}
'''


@pytest.fixture
def toy(tmp_path: Path, checkpoint: Path) -> Iterator[Path]:
    """A checkpoint of a model whose architecture is a file dropped into the package."""
    (tmp_path / "dropped").mkdir()
    (tmp_path / "dropped" / "toy.py").write_text(TOY)
    architectures.__path__.append(str(tmp_path / "dropped"))

    def change(contents: dict[str, Any]) -> None:
        without_description(contents)
        contents["config"].final_config_dict.update(model="ToyModel")
        contents["state_dict"] = {"toy.scores": torch.arange(21.0)}

    yield changed(checkpoint, tmp_path / "toy.pth", change)
    architectures.__path__.pop()
    Architecture.known.pop("toy", None)
    sys.modules.pop("multvae_export.architectures.toy", None)


@pytest.mark.parametrize("io", ["tokens", "ids", "dense"])
def test_a_new_architecture_is_one_file(toy: Path, io: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(toy), "model.onnx", "--io", io]) == 0
    out = capsys.readouterr().out
    assert "ToyModel 20, trained on blocks" in out
    assert "equals torch: 92 histories" in out


def test_new_items_for_an_architecture_without_rows_are_refused(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sides = "".join(f"i{n}\t{'left' if n < 10 else 'right'}\n" for n in range(20))
    Path("blocks.item").write_text(f"item_id:token\tside:token\n{sides}")
    Path("new.item").write_text("item_id:token\tside:token\nx\tleft\n")
    assert main([str(toy), "model.onnx", "--add-items=new.item", "--dataset-path=."]) == 1
    assert "--add-items does not fit the architecture toy, which has no method with_items" in capsys.readouterr().err
    assert not Path("model.onnx").exists()


def test_a_new_architecture_is_offered(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "ToyModel" in capsys.readouterr().out


def test_a_user_model_is_refused_with_its_reason_and_what_there_is(checkpoint: Path) -> None:
    path = changed(
        checkpoint, Path("cdae.pth"), lambda c: without_description(c) or c["config"].final_config_dict.update(model="CDAE")
    )
    with pytest.raises(
        UnsupportedModelError, match=r"CDAE cannot be exported, because it has a weight for every user.*Mult"
    ):
        export(path, "model.onnx")


def described(contents: dict[str, Any]) -> None:
    """Describe the network of a checkpoint of MultVAE, [20-6-4-6-20]."""
    rest = [("encoder.rest.1.0", 4, "none"), ("decoder.0", 6, "tanh"), ("decoder.2", 20, "none")]
    first = {"weight": "encoder.first.weight", "bias": "encoder.first.bias", "stored": "in_out", "units": 6}
    contents["other_parameter"]["spec"] = {
        "model": "MultVAE",
        "architecture": "auto_encoder",
        "n_items": 21,
        "mlp_hidden_size": [6],
        "latent_dimension": 4,
        "input": "l2",
        "layers": [
            {**first, "activation": "tanh"},
            *(
                {"weight": f"{name}.weight", "bias": f"{name}.bias", "stored": "out_in", "units": units, "activation": act}
                for name, units, act in rest
            ),
        ],
        "latent": 2,
    }


def with_spec(source: Path, change: Callable[[dict[str, Any]], Any] = lambda spec: None) -> Path:
    """A checkpoint whose description was changed by a function."""

    def both(contents: dict[str, Any]) -> None:
        described(contents)
        change(contents["other_parameter"]["spec"])

    return changed(source, Path("described.pth"), both)


def test_the_plugin_describes_its_model(checkpoint: Path) -> None:
    plugin, ours = (torch.load(path, weights_only=False)["other_parameter"] for path in (checkpoint, with_spec(checkpoint)))
    shared = plugin["spec"].keys() & ours["spec"].keys()
    assert {"architecture", "n_items", "input", "layers", "latent"} <= shared
    assert {key: plugin["spec"][key] for key in shared} == {key: ours["spec"][key] for key in shared}


def test_the_class_of_a_described_model_does_not_matter(checkpoint: Path) -> None:
    path = with_spec(checkpoint)
    changed(path, path, lambda c: c["config"].final_config_dict.update(model="SomebodysModel"))
    assert export(path, "model.onnx").model.name == "SomebodysModel"


@pytest.mark.parametrize("io", ["tokens", "ids", "dense"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_other_inputs_and_activations_are_followed(checkpoint: Path, io: str, precision: str) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["input"] = "none"
        for layer, activation in zip(spec["layers"], ("relu", "sigmoid", "tanh"), strict=False):
            layer["activation"] = activation

    path = with_spec(checkpoint, change)
    export(path, "model.onnx", io=io, precision=precision, min_overlap=None if precision == "fp32" else 0)
    assert "'activations': ['relu', 'sigmoid', 'tanh', 'none']" in str(architecture_of(load(path)).spec())


@pytest.mark.parametrize("model", ["MultVAE", "MultDAE"])
def test_the_activation_of_a_configuration_is_exported(model: str, blocks: str) -> None:
    path = checkpoint_of(Experiment(model, hid_activation="none"), "linear")
    export(path, "model.onnx")  # Which compares the file with torch.
    assert "'activations': ['none', 'none', 'none', 'none']" in str(architecture_of(load(path)).spec())


@pytest.mark.parametrize("io", ["tokens", "ids", "dense"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
def test_a_single_layer_is_a_network_too(checkpoint: Path, io: str, precision: str) -> None:
    def single(contents: dict[str, Any]) -> None:
        described(contents)
        weights = torch.randn(20, 20, generator=torch.Generator().manual_seed(0))
        contents["state_dict"] = {"w": weights, "b": torch.zeros(20)}
        layer = {"weight": "w", "bias": "b", "stored": "in_out", "units": 20, "activation": "none"}
        contents["other_parameter"]["spec"].update(input="none", layers=[layer], latent=1)

    path = changed(checkpoint, Path("single.pth"), single)
    export(path, "model.onnx", io=io, precision=precision, min_overlap=None if precision == "fp32" else 0)


def _layer(number: int, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda spec: spec["layers"][number].update(values)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s.pop("layers"), SpecError, "has no list of layers"),
        (lambda s: s.update(layers=[]), SpecError, "has no list of layers"),
        (lambda s: s.update(layers=["x"]), SpecError, "has no list of layers"),
        (lambda s: s.update(layers={"a": 1}), SpecError, "has no list of layers"),
        (lambda s: s.update(input="l1"), SpecError, "says input='l1', expected one of l2, none"),
        (lambda s: s.update(input=["l2"]), SpecError, "says input="),
        (lambda s: s.pop("latent"), SpecError, "says latent=None, expected a number of layers from 1 to 4"),
        (lambda s: s.update(latent=0), SpecError, "says latent=0"),
        (lambda s: s.update(latent=5), SpecError, "says latent=5"),
        (lambda s: s.update(latent=True), SpecError, "says latent=True"),
        (lambda s: s.update(n_items=7), SpecError, "says n_items=7"),
        (lambda s: s.update(n_items=None), SpecError, "says n_items=None"),
        (_layer(0, weight="nothing"), SpecError, "layer 1 names the weights 'nothing', which the checkpoint does not have"),
        (_layer(0, weight=None), SpecError, "layer 1 names the weights None"),
        (_layer(0, bias=["x"]), SpecError, "layer 1 names the weights \\['x'\\]"),
        (_layer(1, bias="encoder.first.weight"), WeightsError, "encoder.first.weight are a tensor of shape \\[20, 6\\]"),
        (_layer(0, activation="eval"), SpecError, "says activation='eval', expected one of tanh, relu, sigmoid, none"),
        (_layer(3, activation="tanh"), SpecError, "the last layer has the activation tanh"),
        (_layer(0, stored="diagonal"), SpecError, "says stored='diagonal'"),
        (_layer(0, stored="out_in"), WeightsError, "layer 1 gives 20 units with 6 biases"),
        (_layer(0, units=-1), WeightsError, "takes -1"),
        (_layer(0, units=10**30), WeightsError, "takes 10000"),
        (_layer(0, units="6"), WeightsError, "takes '6'"),
        (_layer(1, units=3), WeightsError, "layer 2 of 4 gives 3 units, and what follows takes 4"),
        (
            lambda s: s.update(architecture="tree"),
            UnsupportedModelError,
            "with the architecture 'tree' cannot be exported: exp",
        ),
        (lambda s: s.update(architecture=["x"]), UnsupportedModelError, "cannot be exported"),
    ],
)
def test_a_wrong_description_is_one_sentence(
    checkpoint: Path, change: Callable[[dict[str, Any]], Any], error: type[ExportError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        export(with_spec(checkpoint, change), "model.onnx")
    assert "\n" not in str(caught.value)
    assert not Path("model.onnx").exists()


def test_a_described_model_runs(checkpoint: Path) -> None:
    export(with_spec(checkpoint), "model.onnx")
    onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("model", ["MultVAE", "MultDAE"])
def test_a_model_of_the_plugin_without_a_description_is_refused(trained: dict[str, Path], model: str) -> None:
    path = changed(trained[model], Path("bare.pth"), without_description)
    with pytest.raises(SpecError, match=f"^the checkpoint of {model} has no description of its model: train it again with"):
        export(path, "model.onnx")


def test_a_layer_that_recbole_s_own_model_lacks_is_named(trained: dict[str, Path]) -> None:
    names = [name for name in torch.load(trained["MultiVAE"], weights_only=False)["state_dict"] if "decoder" in name]
    path = changed(trained["MultiVAE"], Path("lacking.pth"), lambda contents: contents["state_dict"].pop(names[0]))
    with pytest.raises(WeightsError, match="the decoder has 1 layers, mlp_hidden_size=\\[6\\] needs 2"):
        export(path, "model.onnx", dataset_path=str(path.parent))


def test_flipped_bytes_of_a_description_never_crash(checkpoint: Path) -> None:
    # The check sums are right: the attacker chooses the description.
    rng = random.Random(0)
    path = with_spec(checkpoint)
    pickled = next(value for name, value in parts_of(path).items() if name.endswith("/data.pkl"))
    begin = pickled.index(b"auto_encoder")
    refused = written = 0
    for _ in range(300):
        flipped = bytearray(pickled)
        for _ in range(rng.choice((1, 1, 2, 4))):
            flipped[rng.randrange(begin, begin + 700)] ^= 1 << rng.randrange(8)
        try:
            export(with_pickle(path, bytes(flipped), Path("flipped.pth")), "model.onnx", check=False)
            written += 1
        except ExportError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 50
    assert written > 5
