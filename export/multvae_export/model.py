"""What a checkpoint says about its model, in one form for every model that can be exported."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multvae_export.errors import (
    FormatVersionError,
    NotACheckpointError,
    TokensError,
    UnsupportedModelError,
    WeightsError,
)
from multvae_export.reader import Record
from multvae_export.scorer import Layer, Scorer

#: The newest format of the plugin's part of a checkpoint that is known here.
FORMAT_VERSION = 1
#: MultVAE and MultDAE are the plugin's, MultiVAE and MultiDAE RecBole's own.
SUPPORTED = ("MultVAE", "MultDAE", "MultiVAE", "MultiDAE")


@dataclass(frozen=True)
class Model:
    """A trained model, ready to be written as a graph.

    Attributes:
        name: the class of the model.
        scorer: its inference, with the weights.
        tokens: the data set's item tokens in RecBole's order of ids, C of them; the padding item's comes first.
        dataset: the name of the data set.
        metrics: the checkpoint's validation score by name.
    """

    name: str
    scorer: Scorer
    tokens: tuple[str, ...]
    dataset: str
    metrics: dict[str, float]

    @property
    def sizes(self) -> list[int]:
        """The units from the items to the items: [C - 1, ..., K, ..., C - 1]."""
        layers = [*self.scorer.encoder, *self.scorer.decoder]
        return [len(layers[0][0]), *(len(bias) for _, bias in layers)]

    @property
    def token_digest(self) -> str:
        """SHA-256 of the item tokens in order, each followed by a line feed."""
        return hashlib.sha256("".join(f"{token}\n" for token in self.tokens).encode()).hexdigest()


def from_checkpoint(checkpoint: Any, tokens: Callable[[], Sequence[str]] | None = None) -> Model:
    """Make the model of what :func:`.reader.read` returned.

    Args:
        checkpoint: the contents of the file.
        tokens: called for the item tokens if the checkpoint has none.

    Raises:
        NotACheckpointError: it is something else that torch.save wrote.
        UnsupportedModelError: the model has no exporter.
        FormatVersionError: the plugin that wrote it is newer.
        WeightsError: the weights do not fit.
        TokensError: the tokens are missing or do not fit.
    """
    config = checkpoint.get("config") if isinstance(checkpoint, dict) else None
    keys = config.state.get("final_config_dict") if isinstance(config, Record) else None
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(keys, dict) or not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise NotACheckpointError("the file has no config and state_dict: it is not a checkpoint of RecBole's Trainer")
    name = keys.get("model")
    if name not in SUPPORTED:
        raise UnsupportedModelError(f"{name} cannot be exported: expected one of {', '.join(SUPPORTED)}.")
    extra = checkpoint.get("other_parameter") or {}
    own = name in ("MultVAE", "MultDAE")
    if own:
        _check_format(extra)
    encoder, decoder = (_layers(state, part, keys, own) for part in ("encoder", "decoder"))
    if name in ("MultVAE", "MultiVAE"):
        encoder[-1] = (_mean_half(encoder[-1][0]), _mean_half(encoder[-1][1]))
    _check_sizes(encoder, decoder)
    scorer = Scorer(tuple(encoder), tuple(decoder), latent_tanh=name in ("MultDAE", "MultiDAE"))
    found = extra.get("item_tokens") if own else (tokens() if tokens else None)
    score = checkpoint.get("best_valid_score")
    metrics = {str(keys.get("valid_metric")).lower(): float(score)} if isinstance(score, (int, float)) else {}
    return Model(name, scorer, _check_tokens(found, scorer.n_items, name), str(keys.get("dataset")), metrics)


def _check_format(extra: Any) -> None:
    version = extra.get("format_version") if isinstance(extra, dict) else None
    if not isinstance(version, int):
        raise FormatVersionError("the checkpoint has no format_version: it was not written by recbole-multvae.")
    if version > FORMAT_VERSION:
        raise FormatVersionError(
            f"the checkpoint is of format {version}, this exporter knows up to {FORMAT_VERSION}: update multvae-export."
        )


def _layers(state: dict[str, Any], part: str, keys: dict[str, Any], own: bool) -> list[Layer]:
    """The linear layers of a network in order, as ([d_in, d_out], [d_out]), without RecBole's padding item."""
    names = [name.removesuffix(".weight") for name in state if name.startswith(f"{part}.") and name.endswith(".weight")]
    hidden = keys.get("mlp_hidden_size")
    expected = len(hidden) + 1 if isinstance(hidden, list) else None
    if len(names) != expected:
        raise WeightsError(f"the {part} has {len(names)} layers, mlp_hidden_size={hidden!r} needs {expected}.")
    layers = []
    for name in names:
        weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
        if not (isinstance(weight, Tensor) and isinstance(bias, Tensor) and (weight.dim(), bias.dim()) == (2, 1)):
            raise WeightsError(f"{name} is not a linear layer: expected a matrix and a vector.")
        if not (weight.isfinite().all() and bias.isfinite().all()):
            raise WeightsError(f"{name} holds numbers that are not finite: the training diverged.")
        # The plugin's first layer is stored by item, as [d_in, d_out].
        sparse = own and name == "encoder.first"
        layers.append(((weight if sparse else weight.T).float(), bias.float()))
    if not own and part == "encoder":
        layers[0] = (layers[0][0][1:], layers[0][1])
    if not own and part == "decoder":
        layers[-1] = (layers[-1][0][:, 1:], layers[-1][1][1:])
    return layers


def _mean_half(tensor: Tensor) -> Tensor:
    """The columns of the mean: the log-variance has no part in inference."""
    return tensor[..., : tensor.shape[-1] // 2]


def _check_sizes(encoder: list[Layer], decoder: list[Layer]) -> None:
    layers = encoder + decoder
    for n, (weight, bias) in enumerate(layers):
        after = layers[n + 1][0].shape[0] if n + 1 < len(layers) else encoder[0][0].shape[0]
        if not 0 < weight.shape[1] == bias.shape[0] == after:
            raise WeightsError(
                f"layer {n + 1} of {len(layers)} gives {weight.shape[1]} units with {bias.shape[0]} biases, "
                f"and what follows takes {after}."
            )


def _check_tokens(tokens: Any, n_items: int, name: str) -> tuple[str, ...]:
    if tokens is None:
        raise TokensError(f"a checkpoint of {name} has no item tokens: name the folder of its data set with --dataset-path.")
    if not isinstance(tokens, (list, tuple)) or not all(isinstance(token, str) for token in tokens):
        raise TokensError("the item tokens are not a list of strings.")
    if len(tokens) != n_items:
        raise TokensError(f"there are {len(tokens)} item tokens with padding, and the model has {n_items} items.")
    if len(set(tokens)) != len(tokens) or "" in tokens[1:]:
        raise TokensError("the item tokens are not distinct, or one of them is empty.")
    try:
        "".join(tokens).encode()
    except UnicodeEncodeError as error:
        raise TokensError(f"an item token is not Unicode text: {error}.") from error
    return tuple(tokens)


def load_tokens(checkpoint_path: str, dataset_path: str) -> list[str]:
    """The item tokens in RecBole's order, read with RecBole from the data set that a checkpoint names.

    Raises:
        TokensError: RecBole is not installed, or cannot read the data set there.
    """
    try:
        from recbole.data import create_dataset

        from recbole_multvae.checkpoint import load
    except ImportError as error:
        raise TokensError("--dataset-path needs RecBole: pip install recbole-multvae") from error
    config = load(checkpoint_path, map_location="cpu")["config"]
    config["device"] = torch.device("cpu")
    folder = Path(dataset_path)
    config["data_path"] = str(folder / config["dataset"] if (folder / config["dataset"]).is_dir() else folder)
    try:
        dataset = create_dataset(config)
    except (ValueError, OSError) as error:
        raise TokensError(
            f"RecBole cannot read the data set {config['dataset']} in {config['data_path']}: {error}"
        ) from error
    return [str(token) for token in dataset.field2id_token[dataset.iid_field]]
