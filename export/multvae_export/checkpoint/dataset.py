"""The data set of a checkpoint, read by a plugin. The exporter finds the plugin by its entry point and names none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from multvae_export.errors import OptionError, TokensError

#: The group of the entry points of functions that return a :class:`Rebuilt`.
GROUP = "multvae_export.datasets"

Answer = TypeVar("Answer")


class Proof(Protocol):
    """Why a data set is taken for the one of the training.

    Attributes:
        reason: a clause whose subject is the data set.
        trusted: whether only the user vouches for it.
    """

    reason: str
    trusted: bool


class Rebuilt(Protocol):
    """The data set of a checkpoint, read by a plugin. It answers only for the data set of the training.

    The plugin's function is called with the path of the checkpoint, the path of the data set, whether the user vouches for
    the data set, and a function to call with a sentence before each long step. It and its result raise a ``ValueError`` of
    one sentence for every mistake of the user.

    Attributes:
        item_tokens: in order of RecBole's ids, the padding item's first.
        user_tokens: in order of RecBole's ids, the padding user's first.
        proof: why it is the data set of the training; None while nothing has been compared.
    """

    item_tokens: Sequence[str]
    user_tokens: Sequence[str]
    proof: Proof | None

    def training(self) -> tuple[np.ndarray, np.ndarray]:
        """The users and the items of the training clicks, int64 [N] each."""

    def proved_model(self) -> Any:
        """RecBole's model with the weights of the checkpoint, in evaluation mode."""


class DataSet:
    """The data set of a checkpoint, read when it is first asked for.

    Every method and property raises a ``TokensError`` where no plugin is installed, the plugin cannot read the data set, or
    the checkpoint was trained on another one.

    Args:
        checkpoint_path: a checkpoint of RecBole's ``Trainer``; it is not executed.
        dataset_path: the folder of the data set, or the folder that holds that folder.
        trusted: whether the user vouches that it is the one of the training, where the checkpoint cannot tell.
        progress: called with a sentence before each step.
    """

    def __init__(
        self,
        checkpoint_path: str,
        dataset_path: str,
        trusted: bool = False,
        progress: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._checkpoint_path, self._dataset_path = checkpoint_path, dataset_path
        self._trusted, self._progress = trusted, progress
        self._rebuilt: Rebuilt | None = None

    @classmethod
    def named(cls, checkpoint_path: str, dataset_path: str | None, trusted: bool, **keys: Any) -> DataSet | None:
        """The data set that a command's options name; None where they name none.

        Raises:
            OptionError: the user vouches for a data set without naming it.
        """
        if trusted and not dataset_path:
            raise OptionError("--trust-dataset is about the data set of --dataset-path: name its folder.")
        return cls(checkpoint_path, dataset_path, trusted, **keys) if dataset_path else None

    def read(self) -> Rebuilt:
        """Read it, and compare it with the names that the checkpoint holds."""
        return self._ask(lambda rebuilt: rebuilt)

    @property
    def proof(self) -> Proof | None:
        """Why it is the data set of the training; None while nothing has been compared."""
        return self._rebuilt.proof if self._rebuilt else None

    @property
    def item_tokens(self) -> Sequence[str]:
        """The item tokens in order of RecBole's ids, the padding item's first."""
        return self._ask(lambda rebuilt: rebuilt.item_tokens)

    @property
    def user_tokens(self) -> Sequence[str]:
        """The user tokens in order of RecBole's ids, the padding user's first."""
        return self._ask(lambda rebuilt: rebuilt.user_tokens)

    def training(self) -> tuple[np.ndarray, np.ndarray]:
        """The users and the items of the training clicks, int64 [N] each."""
        return self._ask(lambda rebuilt: rebuilt.training())

    def proved_model(self) -> Any:
        """RecBole's model with the weights of the checkpoint, in evaluation mode."""
        return self._ask(lambda rebuilt: rebuilt.proved_model())

    def _ask(self, question: Callable[[Rebuilt], Answer]) -> Answer:
        try:
            if self._rebuilt is None:
                self._progress(f"Reading the data set in {self._dataset_path}")
                rebuild = _plugin()
                self._rebuilt = rebuild(self._checkpoint_path, self._dataset_path, self._trusted, self._progress)
            return question(self._rebuilt)
        except ValueError as error:
            raise TokensError(str(error)) from error


def _plugin() -> Callable[..., Rebuilt]:
    reason: ImportError | None = None
    for entry_point in _entry_points():
        try:
            plugin: Callable[..., Rebuilt] = entry_point.load()
        except ImportError as error:
            reason = error
            continue
        return plugin
    raise TokensError("--dataset-path needs RecBole: pip install recbole-multvae") from reason


def _entry_points() -> Iterator[EntryPoint]:
    yield from entry_points(group=GROUP)
    # In a bare clone, where nothing is installed, only pyproject.toml names them.
    project = Path(__file__).parents[3] / "pyproject.toml"
    text = project.read_text("utf-8") if project.is_file() else ""
    for value in re.findall(rf'\[project\.entry-points\."{re.escape(GROUP)}"\]\n\w+ = "(.+)"', text):
        yield EntryPoint("clone", value, GROUP)
