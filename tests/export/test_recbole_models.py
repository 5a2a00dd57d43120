"""RecBole's own models: exported, they rank as RecBole does for every user; what is wrong in their files is one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import recbole
import torch
from multvae_export.checkpoint import contents as checkpoints
from multvae_export.errors import ExportError, TokensError, UnsupportedModelError, WeightsError
from multvae_export.exporter import export
from multvae_export.trained_model import architecture_of
from recbole.utils.case_study import full_sort_scores

from tests.archive import changed
from tests.conftest import QUIET, Experiment
from tests.export.conftest import assert_as_good_as_recbole, blocks_folder, checkpoint_of

#: ml-100k lies in RecBole's own package.
DATA = Path(recbole.__path__[0]) / "dataset_example"
FAST = {**QUIET, "epochs": 1, "eval_batch_size": 10**7}
BY_USER: dict[str, Any] = {"train_neg_sample_args": None}
#: Every model with the settings that make it another form.
MODELS: dict[str, dict[str, Any]] = {
    "EASE": {},
    "SLIMElastic": {"alpha": 1.0, "l1_ratio": 0.1},  # Its defaults take half a minute.
    "ADMMSLIM": {"k": 3},
    "ADMMSLIM, centred": {"k": 3, "center_columns": True},
    "ItemKNN": {},
    "ItemKNN, few neighbours": {"k": 20},
    "Pop": {},
    "RecVAE": BY_USER,
    "MacridVAE": BY_USER,
    "MacridVAE, no hidden layer": {**BY_USER, "encoder_hidden_size": [], "kfac": 3, "nogb": True},
}


@pytest.mark.parametrize("name", MODELS)
def test_ranking_is_recbole_s_for_every_user(name: str) -> None:
    experiment = Experiment(name.split(",")[0], "ml-100k", FAST, **MODELS[name])
    experiment.fit()
    experiment.model.eval()
    export(experiment.trainer.saved_model_file, "model.onnx", dataset_path=str(DATA), check=False)
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    tokens, data = experiment.dataset.field2id_token["item_id"], experiment.valid_data
    # In validation RecBole masks what was seen in training, which is the history that the model reads.
    users = data.uid_list.numpy()
    assert len(users) > 900
    rows = [tokens[seen.numpy()] for seen in data.uid2history_item[list(users)]]
    history = np.full((len(users), max(map(len, rows))), "", dtype=object)
    for n, row in enumerate(rows):
        history[n, : len(row)] = row
    items, scores = session.run(None, {"history": history, "k": np.array([10])})
    recbole_scores = full_sort_scores(users, experiment.model, data).detach().float()
    assert_as_good_as_recbole(items, scores, recbole_scores, tokens, atol=3e-5)  # Sums in another order.
    assert len({tuple(row) for row in items.tolist()}) > (1 if name == "Pop" else 100)


SMALL = ("EASE", "SLIMElastic", "ItemKNN", "Pop", "RecVAE", "MacridVAE", "ADMMSLIM")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each model on the block-structured data, by model."""
    sizes = {"hidden_dimension": 6, "encoder_hidden_size": [6], "embedding_size": 4, "kfac": 2}
    with blocks_folder(tmp_path_factory, "small"):
        keys = {model: {**BY_USER, **sizes} if "VAE" in model else {"k": 3} for model in SMALL}
        return {model: checkpoint_of(Experiment(model, **keys[model], epochs=1), model) for model in SMALL}


@pytest.mark.parametrize("model", SMALL)
def test_tokens_come_from_the_data_set_or_the_file(model: str, small: dict[str, Path]) -> None:
    if model != "ADMMSLIM":
        with pytest.raises(TokensError, match="has no item tokens: name the folder of its data set with --dataset-path"):
            export(small[model], "model.onnx")
    exported = export(small[model], "model.onnx", dataset_path=str(small[model].parent))
    assert sorted(exported.model.tokens) == sorted(["[PAD]", *(f"i{n}" for n in range(20))])
    added = {"format_version": 2, "dataset": "blocks", "item_tokens": list(exported.model.tokens)}
    path = changed(small[model], Path("x.pth"), lambda c: c.update(recbole_multvae=added))
    again = export(path, "again.onnx", dataset_path=str(small[model].parent) if model == "ADMMSLIM" else None)
    assert again.model.tokens == exported.model.tokens


@pytest.mark.parametrize("precision", ["fp16", "int8", "int4"])
@pytest.mark.parametrize("model", ["EASE", "RecVAE", "MacridVAE"])
def test_fewer_bits_are_measured(model: str, precision: str, small: dict[str, Path]) -> None:
    exported = export(
        small[model], "model.onnx", precision=precision, min_overlap=0, atol=0.01, dataset_path=str(small[model].parent)
    )
    assert "of fp32's top 10, over 1000 random histories" in exported.checks[-1][1]


def _extra(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda contents: contents["other_parameter"].update({name: value})


def _attribute(name: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda contents: vars(contents["other_parameter"][name]).update(values)


def _weight(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda contents: contents["state_dict"].update({name: value})


def _key(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda contents: contents["config"].final_config_dict.update({name: value})


FAR, NAN = np.array([10**6] * 3, np.int32), np.full((21, 21), np.nan, np.float32)
SPARSE, DAMAGED = "are not a square matrix of scipy.sparse", "are a damaged matrix of scipy.sparse"


@pytest.mark.parametrize(
    ("model", "change", "error", "message"),
    [
        ("EASE", lambda c: c["other_parameter"].pop("item_similarity"), WeightsError, "item_similarity are not a square"),
        ("EASE", lambda c: c.pop("other_parameter"), WeightsError, "item_similarity are not a square matrix"),
        ("EASE", _extra("item_similarity", "text"), WeightsError, "are not a square matrix of numbers"),
        ("EASE", _extra("item_similarity", np.zeros((3, 4))), WeightsError, "are not a square matrix of numbers"),
        ("EASE", _extra("item_similarity", np.array([["a"]])), WeightsError, "are not a square matrix of numbers"),
        ("EASE", _extra("item_similarity", NAN), WeightsError, "hold numbers that are not finite"),
        (
            "EASE",
            _extra("item_similarity", np.zeros((7, 7))),
            TokensError,
            "21 item tokens with padding, and the model",
        ),
        ("EASE", _extra("item_similarity", np.zeros((0, 0))), WeightsError, "are not a square matrix of numbers"),
        (
            "ItemKNN",
            _key("knn_method", "user"),
            UnsupportedModelError,
            "knn_method=user cannot be exported, because",
        ),
        ("ItemKNN", _extra("w", torch.zeros(21, 21)), WeightsError, "are not a square matrix of numbers"),
        ("ItemKNN", _attribute("w", _shape=(10**12, 10**12)), WeightsError, DAMAGED),
        ("ItemKNN", _attribute("w", _shape=(21, 22)), WeightsError, SPARSE),
        ("ItemKNN", _attribute("w", _shape="text"), WeightsError, SPARSE),
        ("ItemKNN", _attribute("w", data=None), WeightsError, SPARSE),
        ("ItemKNN", _attribute("w", indices=FAR), WeightsError, DAMAGED),
        ("ItemKNN", _attribute("w", indptr=np.arange(22, dtype=np.int32)[::-1].copy()), WeightsError, DAMAGED),
        ("ItemKNN", _attribute("w", indptr=np.zeros(22)), WeightsError, DAMAGED),
        ("Pop", _extra("item_cnt", None), WeightsError, "item_cnt are a NoneType, expected a tensor of 2 dimensions"),
        ("Pop", _extra("item_cnt", torch.zeros(21, 1)), WeightsError, "are no clicks of two or more items"),
        ("Pop", _extra("item_cnt", torch.ones(21, 2)), WeightsError, "of shape \\[21, 2\\] are no clicks"),
        ("RecVAE", lambda c: c["state_dict"].pop("encoder.fc3.bias"), WeightsError, "encoder.fc3.bias are a NoneType"),
        ("RecVAE", _weight("encoder.ln2.weight", torch.zeros(7)), WeightsError, "layers of RecVAE have the shapes"),
        ("RecVAE", _weight("encoder.fc2.weight", torch.zeros(6, 7)), WeightsError, "layers of RecVAE have the shapes"),
        ("RecVAE", _weight("decoder.weight", torch.zeros(0, 0)), WeightsError, "layers of RecVAE have the shapes"),
        ("MacridVAE", _key("tau", "eval"), WeightsError, "says tau='eval', expected a number above 0"),
        ("MacridVAE", _key("tau", 0), WeightsError, "says tau=0"),
        ("MacridVAE", _key("tau", float("nan")), WeightsError, "says tau=nan"),
        ("MacridVAE", _weight("k_embedding.weight", torch.zeros(2, 5)), WeightsError, "items and facets of different sizes"),
        ("MacridVAE", _weight("encoder.0.weight", torch.zeros(6, 9)), WeightsError, "what follows takes"),
        ("MacridVAE", _weight("encoder.0.bias", torch.zeros(9)), WeightsError, "with 9 biases"),
        ("ADMMSLIM", lambda c: None, WeightsError, "ADMMSLIM lacks its similarity: name the folder of its data set"),
    ],
)
def test_a_wrong_file_is_one_sentence(
    model: str,
    change: Callable[[dict[str, Any]], Any],
    error: type[ExportError],
    message: str,
    small: dict[str, Path],
    tmp_path: Path,
) -> None:
    path = changed(small[model], Path("wrong.pth"), change)
    folder = None if model == "ADMMSLIM" else str(small[model].parent)
    with pytest.raises(error, match=message) as caught:
        export(path, "model.onnx", dataset_path=folder)
    assert "\n" not in str(caught.value)
    assert {entry.name for entry in tmp_path.iterdir()} == {"wrong.pth"}


def test_a_model_that_has_a_sparse_similarity_says_so(small: dict[str, Path]) -> None:
    spec = architecture_of(checkpoints.load(small["ItemKNN"])).spec()
    assert spec == {"sizes": [20, 20], "similarity": "dense"}
