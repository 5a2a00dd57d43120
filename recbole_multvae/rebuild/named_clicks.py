"""The clicks of a training with the names of users and items: from a data set, or from a linear model's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from recbole_multvae.clicks import Clicks
from recbole_multvae.data.csr import distinct_clicks, ones
from recbole_multvae.data.trained_on import digest, tokens
from recbole_multvae.errors import CheckpointError


@dataclass(frozen=True)
class NamedClicks:
    """Who clicked what.

    Attributes:
        users: tokens in the order of RecBole's ids, the padding user's first.
        items: likewise.
        matrix: int8 ones, [users, items].
    """

    users: list[str]
    items: list[str]
    matrix: csr_matrix

    @classmethod
    def of(cls, dataset: Any) -> NamedClicks:
        """The clicks of RecBole's data set."""
        users, items = (tokens(dataset, field) for field in (dataset.uid_field, dataset.iid_field))
        return cls(users, items, distinct_clicks(dataset))

    @classmethod
    def of_checkpoint(cls, path: str, parameters: Mapping[str, Any]) -> NamedClicks:
        """The training clicks that a linear model saves.

        Args:
            path: of the checkpoint, for the message.
            parameters: its ``other_parameter``, which is not trusted.

        Raises:
            CheckpointError: there are none, or they are not those of the training.
        """
        if "clicks" not in parameters:
            raise CheckpointError(
                f"{path} does not hold the clicks of its training, as an older version of this package wrote it: train the "
                "model once more."
            )
        try:
            named = cls._of_saved(parameters)
            intact = digest(Clicks.from_csr(named.matrix)) == parameters["training_sha256"]
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):
            intact = False
        if not intact:
            raise CheckpointError(
                f"The clicks in {path} are not those that its model was computed from, so that the file is damaged: take "
                "another copy of it, or train the model once more."
            )
        return named

    @classmethod
    def _of_saved(cls, parameters: Mapping[str, Any]) -> NamedClicks:
        clicks = Clicks(**parameters["clicks"])
        users, items = parameters["user_tokens"], parameters["item_tokens"]
        entries = np.ones(len(clicks.columns), np.int8), clicks.ids.numpy(), clicks.offsets.numpy()
        matrix = csr_matrix(entries, (len(users), len(items)))
        matrix.check_format(full_check=True)  # SciPy's C functions would read outside of the memory of a wrong one.
        return cls(users, items, matrix)

    def joined(self, other: NamedClicks) -> NamedClicks:
        """All clicks of both. Ids stay as they are here, and new users and items come last."""
        users, rows = _joined(self.users, other.users)
        items, columns = _joined(self.items, other.items)
        mine, theirs = self.matrix.copy(), other.matrix.tocoo()
        mine.resize((len(users), len(items)))
        added = csr_matrix((theirs.data, (rows[theirs.row], columns[theirs.col])), mine.shape)
        return NamedClicks(users, items, ones(mine + added))

    def dataset(self, other: Any) -> Any:
        """RecBole's data set of these clicks, with the configuration of another one."""
        clicks = self.matrix.tocoo()
        dataset = other.copy(pd.DataFrame({other.uid_field: clicks.row, other.iid_field: clicks.col}))
        names = {other.uid_field: self.users, other.iid_field: self.items}
        dataset.field2id_token = other.field2id_token | {field: np.array(names[field], object) for field in names}
        dataset.field2token_id = other.field2token_id | {
            field: {token: place for place, token in enumerate(names[field])} for field in names
        }
        return dataset


def _joined(first: Sequence[str], second: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The different tokens of both in order, and the place of each of the second among them, int64."""
    places = {token: place for place, token in enumerate(first)}
    for token in second:
        places.setdefault(token, len(places))
    return list(places), np.array([places[token] for token in second])
