"""A trained model: an architecture with its weights, and the names and metrics that its checkpoint has."""

from __future__ import annotations

from dataclasses import dataclass

from multvae_export.architectures import Architecture, kind_of
from multvae_export.checkpoint.contents import Checkpoint, token_digest
from multvae_export.checkpoint.identity import UNKNOWN, Identity


@dataclass(frozen=True)
class Model:
    """A trained model, ready to be written as a graph.

    Attributes:
        name: the class of the model.
        architecture: its inference, with the weights.
        tokens: the data set's item tokens in RecBole's order of ids, C of them; the padding item's comes first.
        dataset: the name of the data set.
        metrics: the checkpoint's validation score by name.
        identity: the training that it comes from.
    """

    name: str
    architecture: Architecture
    tokens: tuple[str, ...]
    dataset: str
    metrics: dict[str, float]
    identity: Identity = UNKNOWN

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
        ExportError: see :func:`.architectures.kind_of` and :meth:`.Architecture.from_checkpoint`.
    """
    return kind_of(checkpoint).from_checkpoint(checkpoint)


def model_of(checkpoint: Checkpoint) -> Model:
    """The model of a checkpoint.

    Raises:
        TokensError: the tokens are missing or do not fit.
        ExportError: see :func:`architecture_of`.
    """
    architecture = architecture_of(checkpoint)
    tokens = checkpoint.item_tokens(architecture.n_items)
    name = architecture.title or checkpoint.model
    dataset = str(checkpoint.config.get("dataset"))
    return Model(name, architecture, tokens, dataset, checkpoint.metrics, checkpoint.identity)
