"""What a protocol of evaluation is to the data set and to the loaders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

import numpy as np
import torch
from pydantic import Field
from recbole.data.interaction import Interaction
from scipy.sparse import csr_matrix

from recbole_multvae.config.keys import did_you_mean
from recbole_multvae.config.settings import Settings
from recbole_multvae.errors import ConfigurationError

AnySettings = TypeVar("AnySettings", bound=Settings)
#: A seed of NumPy's, or None for RecBole's ``seed``.
Seed = Annotated[int, Field(ge=0, lt=2**32)] | None


class Protocol(ABC):
    """A way to hold data out. A subclass sets ``name``, its key in ``eval_args: {split: {name: arguments}}``.

    Attributes:
        new_users: whether users are evaluated who are not in training. Only models that score a user from a history can
            then be evaluated, and any other is refused before the data set is read.
    """

    name: ClassVar[str]
    new_users: ClassVar[bool] = False

    @abstractmethod
    def split(self, dataset: Any, arguments: Any) -> list[Any]:
        """Split the interactions.

        Args:
            dataset: the whole data set, its rows in the order of the file; :func:`part` makes a part of it.
            arguments: what the configuration says after the protocol's name.

        Returns:
            The data sets for training, validation and test, in this order. See :func:`fold_in` for users who are not
            in training, and :func:`mask` for what is not recommended.

        Raises:
            ConfigurationError: the arguments are not allowed.
            DataError: the data set has too little for this split.
        """


def part(dataset: Any, rows: np.ndarray) -> Any:
    """A data set of some of the interactions, by an integer array of their rows.

    RecBole's ``dataset.copy(dataset.inter_feat[rows])`` makes a Python list of the array first.
    """
    index = torch.from_numpy(rows)
    return dataset.copy(Interaction({name: values[index] for name, values in dataset.inter_feat.interaction.items()}))


def fold_in(dataset: Any, histories: csr_matrix) -> Any:
    """Give the model these histories in the evaluation of ``dataset``, in place of its users' training histories.

    The items of a history are not recommended, as those of training are not.

    Args:
        dataset: a part for validation or test: what is to be found.
        histories: what the model sees of each user, one entry a pair of user and item, [n_users, n_items].

    Returns:
        The data set.
    """
    dataset.fold_in = histories
    return mask(dataset, histories)


def mask(dataset: Any, clicks: csr_matrix) -> Any:
    """Keep these items, and no other ones, from being recommended in the evaluation of ``dataset``.

    RecBole's own choice are the items of training, and in the test those of validation too.

    Args:
        dataset: a part for validation or test: what is to be found, which is not masked.
        clicks: one entry a pair of user and item, [n_users, n_items].

    Returns:
        The data set.
    """
    dataset.masked = clicks
    return dataset


def keep_items_of(dataset: Any, rows: np.ndarray) -> np.ndarray:
    """Take the items that are in none of the ``rows`` out of the interactions, the tokens and the features.

    Args:
        dataset: the whole data set, changed in place.
        rows: which interactions decide, bool [interactions].

    Returns:
        The places of the interactions that are left, int64.
    """
    field = dataset.iid_field
    items = dataset.inter_feat[field].numpy()
    clicked = np.bincount(items[rows])
    clicked[0] = 1  # RecBole's padding item.
    kept = np.flatnonzero(clicked)
    ids = np.full(dataset.item_num, -1)
    ids[kept] = np.arange(len(kept))
    left = np.flatnonzero(ids[items] >= 0)
    dataset.inter_feat = part(dataset, left).inter_feat
    dataset.inter_feat[field] = torch.from_numpy(ids[dataset.inter_feat[field].numpy()])
    dataset.field2id_token[field] = dataset.field2id_token[field][kept]
    dataset.field2token_id[field] = {token: item for item, token in enumerate(dataset.field2id_token[field])}
    if dataset.item_feat is not None:
        dataset.item_feat = dataset.item_feat[kept]
        dataset.item_feat[field] = torch.arange(len(kept))
    return left


def read_arguments(settings_class: type[AnySettings], protocol: str, arguments: Any) -> AnySettings:
    """Read what the configuration says after the protocol's name; None takes the defaults.

    Raises:
        ConfigurationError: an argument is unknown or not allowed.
    """
    given = {} if arguments is None else arguments
    known = settings_class.model_fields
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"eval_args split {protocol}={given!r} is not allowed: expected a dictionary with some of {', '.join(known)}."
        )
    for name in given.keys() - known.keys():
        hint = did_you_mean(str(name), known, f": expected some of {', '.join(known)}.")
        raise ConfigurationError(f"eval_args split {protocol} has no argument {name!r}{hint}")
    return settings_class.from_config(given)


def check_mode(config: Any, protocol: str) -> None:
    """Refuse rankings of sampled items.

    Raises:
        ConfigurationError: ``eval_args`` has another mode than full.
    """
    for mode in config["eval_args"]["mode"].values():
        if mode != "full":
            raise ConfigurationError(
                f"eval_args mode={mode!r} does not go with split {protocol}, which ranks all items: take full."
            )
