"""What every checkpoint of RecBole's ``Trainer`` has, checked and named, for :mod:`.architectures` to read a model from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from multvae_export.checkpoint.dataset import DataSet
from multvae_export.checkpoint.records import FORMAT_VERSION, Record, read
from multvae_export.errors import FormatVersionError, NotACheckpointError, TokensError, UnsupportedModelError, WeightsError


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint: as much as can be trusted without knowing the model.

    Attributes:
        model: the name of the model's class.
        config: RecBole's configuration keys.
        weights: the ``state_dict``; what it holds under a name need not be a tensor.
        extra: RecBole's ``other_parameter``.
        data: its data set, from which a plugin makes RecBole's model again; None where none is named.
    """

    model: str
    config: dict[str, Any]
    weights: dict[str, Any]
    extra: dict[str, Any]
    score: Any = None
    added: Any = None
    data: DataSet | None = None

    @classmethod
    def of(cls, contents: Any, data: DataSet | None = None) -> Checkpoint:
        """Check what :func:`.reader.read` returned.

        Raises:
            NotACheckpointError: it is something else that torch.save wrote.
            UnsupportedModelError: it names no model.
        """
        whole = contents if isinstance(contents, dict) else {}
        config = whole["config"].state.get("final_config_dict") if isinstance(whole.get("config"), Record) else None
        weights = whole.get("state_dict")
        if not isinstance(config, dict) or not isinstance(weights, dict) or not all(isinstance(n, str) for n in weights):
            raise NotACheckpointError("the file has no config and state_dict: it is not a checkpoint of RecBole's Trainer")
        model, extra = config.get("model"), whole.get("other_parameter")
        if not isinstance(model, str):
            raise UnsupportedModelError("the checkpoint's configuration names no model.")
        extra = extra if isinstance(extra, dict) else {}
        return cls(model, config, weights, extra, whole.get("best_valid_score"), whole.get("recbole_multvae"), data)

    @property
    def description(self) -> dict[str, Any] | None:
        """The plugin's description of the model's inference; None where there is none (format 1, RecBole's own models)."""
        spec = self.extra.get("spec")
        return spec if isinstance(spec, dict) and "architecture" in spec else None

    @property
    def metrics(self) -> dict[str, float]:
        """The validation score by the name of its metric."""
        name = str(self.config.get("valid_metric")).lower()
        return {name: float(self.score)} if isinstance(self.score, (int, float)) else {}

    def check_format(self) -> None:
        """Refuse what a newer recbole-multvae wrote.

        Raises:
            FormatVersionError: the format is not known.
        """
        for part in (self.extra, self.added if isinstance(self.added, dict) else {}):
            version = part.get("format_version", 1)
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

    def item_tokens(self, n_items: int) -> tuple[str, ...]:
        """The data set's item tokens in order of RecBole's ids, C of them; the padding item's comes first.

        Raises:
            TokensError: there are none, or they do not fit the model.
        """
        tokens = self.extra.get("item_tokens")
        if tokens is None:
            tokens = self._tokens_of_recbole_model()
        if tokens is None:
            raise TokensError(
                f"this checkpoint of {self.model} has no item tokens: name the folder of its data set with --dataset-path."
            )
        return check_tokens(tokens, n_items, "item")

    def _tokens_of_recbole_model(self) -> Any:
        """The tokens that the training command added, which the data set must have too; else those of the data set."""
        added = self.added.get("item_tokens") if isinstance(self.added, dict) else None
        if self.data is None:
            return added
        self.data.read()
        return self.data.item_tokens if added is None else added


def load(path: Any, data: DataSet | None = None) -> Checkpoint:
    """Read a ``.pth`` without executing it. Raises what :func:`.reader.read` and :meth:`Checkpoint.of` raise."""
    return Checkpoint.of(read(path), data)


def checked(value: Any, name: str, dims: int) -> Tensor:
    """A weight as float32.

    Raises:
        WeightsError: it is no tensor, has another number of dimensions, or holds numbers that are not finite.
    """
    if not isinstance(value, Tensor) or value.dim() != dims:
        found = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise WeightsError(f"the weights {name} are {found}, expected a tensor of {dims} dimensions.")
    if not value.isfinite().all():
        raise WeightsError(f"the weights {name} hold numbers that are not finite: the training diverged.")
    return value.float()


def check_tokens(tokens: Any, count: int, kind: str) -> tuple[str, ...]:
    """The tokens of a catalogue or of the users, the padding's first.

    Raises:
        TokensError: they are not ``count`` different texts.
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
