"""A trained model: an architecture with its weights, and the names and metrics that its checkpoint has."""

from __future__ import annotations

from dataclasses import dataclass

from multvae_export import architectures
from multvae_export.architectures import Architecture
from multvae_export.checkpoint.contents import Checkpoint, token_digest
from multvae_export.errors import SpecError, UnsupportedModelError


@dataclass(frozen=True)
class Model:
    """A trained model, ready to be written as a graph.

    Attributes:
        name: the class of the model.
        architecture: its inference, with the weights.
        tokens: the data set's item tokens in RecBole's order of ids, C of them; the padding item's comes first.
        dataset: the name of the data set.
        metrics: the checkpoint's validation score by name.
    """

    name: str
    architecture: Architecture
    tokens: tuple[str, ...]
    dataset: str
    metrics: dict[str, float]

    @property
    def n_items(self) -> int:
        """C, the catalogue with the padding item."""
        return self.architecture.n_items

    @property
    def token_digest(self) -> str:
        """SHA-256 of the item tokens in order, each followed by a line feed."""
        return token_digest(self.tokens)


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """The model of a checkpoint, without its tokens.

    Raises:
        UnsupportedModelError: no architecture takes it.
        SpecError: it is of the plugin's, and has no description.
        FormatVersionError: the plugin that wrote it is newer.
        ExportError: see :meth:`.Architecture.from_checkpoint`.
    """
    checkpoint.check_format()
    model, description = checkpoint.model, checkpoint.description
    if description is None and architectures.is_described(model):
        raise SpecError(
            f"the checkpoint of {model} has no description of its model: train it again with a newer recbole-multvae."
        )
    name = str(description["architecture"]) if description else None
    architecture = architectures.find(model, name)
    if architecture is None:
        subject = f"{model} with the architecture {name!r}" if name else model
        reason = architectures.reason_against(model)
        because = f", because {reason}" if reason else ""
        raise UnsupportedModelError(
            f"{subject} cannot be exported{because}: expected one of {', '.join(architectures.exportable())}."
        )
    return architecture.from_checkpoint(checkpoint)


def model_of(checkpoint: Checkpoint) -> Model:
    """The model of a checkpoint.

    Raises:
        TokensError: the tokens are missing or do not fit.
        ExportError: see :func:`architecture_of`.
    """
    architecture = architecture_of(checkpoint)
    tokens = checkpoint.item_tokens(architecture.n_items)
    return Model(checkpoint.model, architecture, tokens, str(checkpoint.config.get("dataset")), checkpoint.metrics)
