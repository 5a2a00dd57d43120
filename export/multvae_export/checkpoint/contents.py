"""The parts of a checkpoint of RecBole's ``Trainer``, checked. :mod:`multvae_export.architectures` reads models from it."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from multvae_export.checkpoint.dataset import DataSet
from multvae_export.checkpoint.identity import UNKNOWN, Identity
from multvae_export.checkpoint.records import Record, read
from multvae_export.errors import FormatVersionError, NotACheckpointError, TokensError, UnsupportedModelError, WeightsError
from multvae_export.reading import FORMAT_VERSION


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint, checked as far as they do not depend on the model.

    Attributes:
        model: the name of the model's class.
        config: RecBole's configuration keys.
        weights: the ``state_dict``, whose values need not be tensors.
        other_parameter: what the model saves beside its weights.
        trained_on: what the training command adds for RecBole's own models: tokens, and a digest of the training clicks.
        best_valid_score: of any type; None where there is none.
        data: the data set, from which a plugin makes RecBole's model again; None where the user names none.
        identity: the training that it comes from.
    """

    model: str
    config: dict[str, Any]
    weights: dict[str, Any]
    other_parameter: dict[str, Any]
    trained_on: dict[str, Any]
    best_valid_score: Any = None
    data: DataSet | None = None
    identity: Identity = UNKNOWN

    @classmethod
    def of(cls, contents: Any, data: DataSet | None = None) -> Checkpoint:
        """Check what :func:`.records.read` returned.

        Raises:
            NotACheckpointError: torch.save wrote it, but not RecBole's ``Trainer``.
            UnsupportedModelError: it names no model.
        """
        parts = _dict(contents)
        config = parts["config"].state.get("final_config_dict") if isinstance(parts.get("config"), Record) else None
        weights = parts.get("state_dict")
        if not isinstance(config, dict) or not isinstance(weights, dict) or not all(isinstance(n, str) for n in weights):
            raise NotACheckpointError("the file has no config and state_dict: it is not a checkpoint of RecBole's Trainer")
        model = config.get("model")
        if not isinstance(model, str):
            raise UnsupportedModelError("the checkpoint's configuration names no model.")
        other_parameter, trained_on = (_dict(parts.get(name)) for name in ("other_parameter", "recbole_multvae"))
        identity = Identity.of(parts, config)
        return cls(model, config, weights, other_parameter, trained_on, parts.get("best_valid_score"), data, identity)

    @property
    def description(self) -> dict[str, Any] | None:
        """How the plugin describes the inference of its model; None for RecBole's own models."""
        spec = self.other_parameter.get("spec")
        return spec if isinstance(spec, dict) and "architecture" in spec else None

    @property
    def metrics(self) -> dict[str, float]:
        """The validation score by the name of its metric."""
        name = str(self.config.get("valid_metric")).lower()
        return {name: float(self.best_valid_score)} if isinstance(self.best_valid_score, (int, float)) else {}

    def check_format(self) -> None:
        """Refuse a checkpoint that a newer recbole-multvae wrote. RecBole's own script writes no format.

        Raises:
            FormatVersionError: the format is not known.
        """
        for part in (self.other_parameter, self.trained_on):
            version = part.get("format_version", FORMAT_VERSION)
            if not isinstance(version, int) or isinstance(version, bool):
                raise FormatVersionError(f"the checkpoint's format_version is {version!r}, expected a whole number.")
            if version > FORMAT_VERSION:
                raise FormatVersionError(
                    f"the checkpoint is of format {version}, this exporter knows up to {FORMAT_VERSION}: "
                    "update multvae-export."
                )

    def tensor(self, name: str, dims: int) -> Tensor:
        """A weight as float32.

        Raises:
            WeightsError: it is missing, has another number of dimensions, or holds numbers that are not finite.
        """
        return checked(self.weights.get(name), name, dims)

    def layer(self, name: str) -> tuple[Tensor, Tensor]:
        """A linear layer of torch's as [d_in, d_out] and [d_out]. Errors are those of :meth:`tensor`."""
        return self.tensor(f"{name}.weight", 2).T, self.tensor(f"{name}.bias", 1)

    def item_tokens(self, n_items: int) -> tuple[str, ...]:
        """The data set's item tokens in order of RecBole's ids, C of them; the padding item's comes first.

        Raises:
            TokensError: there are none, or they do not fit the model.
        """
        tokens = self.other_parameter.get("item_tokens")
        if tokens is None:
            tokens = self._tokens_of_recbole_model()
        if tokens is None:
            raise TokensError(
                f"this checkpoint of {self.model} has no item tokens: name the folder of its data set with --dataset-path."
            )
        return check_tokens(tokens, n_items, "item")

    def item_clicks(self, n_items: int) -> np.ndarray | None:
        """How often each item was clicked in training, float64 [C - 1]; None where the checkpoint does not say it.

        Raises:
            WeightsError: they do not fit the model.
        """
        clicks = self.other_parameter.get("item_clicks", self.trained_on.get("item_clicks"))
        if clicks is None:
            return None
        whole = isinstance(clicks, list) and all(type(count) is int and 0 <= count < 2**53 for count in clicks)
        if not whole or len(clicks) != n_items - 1:
            raise WeightsError(f"the checkpoint's item_clicks are not {n_items - 1} whole numbers: save it again.")
        return np.array(clicks, np.float64)

    def _tokens_of_recbole_model(self) -> Any:
        """The tokens that the training command added, which the data set must have too; else those of the data set."""
        tokens = self.trained_on.get("item_tokens")
        if self.data is None:
            return tokens
        self.data.read()
        return self.data.item_tokens if tokens is None else tokens


def load(path: Any, data: DataSet | None = None) -> Checkpoint:
    """Read a ``.pth`` without executing it. Raises what :func:`.records.read` and :meth:`Checkpoint.of` raise."""
    digest = hashlib.sha256()
    checkpoint = Checkpoint.of(read(path, digest), data)
    return replace(checkpoint, identity=replace(checkpoint.identity, checkpoint_sha256=digest.hexdigest()))


def _dict(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def checked(value: Any, name: str, dims: int) -> Tensor:
    """A weight as float32.

    Raises:
        WeightsError: it is no tensor, has another number of dimensions, or holds numbers that are not finite.
    """
    if not isinstance(value, Tensor) or value.dim() != dims:
        kind = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise WeightsError(f"the weights {name} are {kind}, expected a tensor of {dims} dimensions.")
    if not value.isfinite().all():
        raise WeightsError(f"the weights {name} hold numbers that are not finite: the training diverged.")
    return value.float()


def check_tokens(tokens: Any, count: int, kind: str) -> tuple[str, ...]:
    """The tokens of the items or of the users, the padding token first.

    Raises:
        TokensError: they are not ``count`` different strings, or one is empty or not Unicode.
    """
    if not isinstance(tokens, (list, tuple)) or not all(isinstance(token, str) for token in tokens):
        raise TokensError(f"the {kind} tokens are not a list of strings.")
    if len(tokens) != count:
        raise TokensError(f"there are {len(tokens)} {kind} tokens with padding, and the model has {count} {kind}s.")
    if "" in tokens[1:]:
        raise TokensError(
            f"the {kind} with id {tokens.index('', 1)} has an empty token: name it in the data set and train again."
        )
    if len(set(tokens)) != len(tokens):
        twice = next(token for token, times in Counter(tokens).items() if times > 1)
        padding = ", which is RecBole's name for padding" if twice == tokens[0] else ""
        raise TokensError(
            f"two {kind}s have the token {twice!r}{padding}: rename one of them in the data set and train again."
        )
    try:
        "".join(tokens).encode()
    except UnicodeEncodeError as error:
        raise TokensError(f"{'an' if kind == 'item' else 'a'} {kind} token is not Unicode text: {error}.") from error
    return tuple(tokens)


def token_digest(tokens: tuple[str, ...]) -> str:
    """SHA-256 of the tokens in order, each followed by a line feed."""
    return hashlib.sha256("".join(f"{token}\n" for token in tokens).encode()).hexdigest()
