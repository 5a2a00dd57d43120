"""What a protocol of evaluation is to the data set and to the loaders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from recbole.data.interaction import Interaction
from scipy.sparse import csr_matrix


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
            in training.

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
    return dataset
