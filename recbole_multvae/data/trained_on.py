"""What a model was trained on, so that other data under the same name are noticed.

A model knows users and items by RecBole's ids, which follow the order of the rows in the data file. When a row is added,
removed or moved, an id may be another user or another item, and the same weights then speak of others. A checkpoint thus
holds the tokens of users and items in order of their ids, and a digest of the clicks in training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from typing import Any

import numpy as np

from recbole_multvae.errors import DataError

#: Characters of a token in a message.
_LONGEST = 60


@dataclass(frozen=True)
class TrainedOn:
    """The data of a training.

    Attributes:
        user_tokens: in order of RecBole's ids, the padding user's first.
        item_tokens: likewise.
        clicks: how many pairs of user and item training has; a pair counts once.
        digest: SHA-256 of these pairs by id, 64 hexadecimal digits. The order of the rows does not matter.
        rated: whether it is of ratings too.
    """

    user_tokens: list[str]
    item_tokens: list[str]
    clicks: int
    digest: str
    rated: bool = False

    @classmethod
    def of(cls, dataset: Any) -> TrainedOn:
        """The data of RecBole's data set for training."""
        clicks = dataset.inter_matrix(form="csr")
        clicks.sort_indices()
        users, items = (tokens(dataset, field) for field in (dataset.uid_field, dataset.iid_field))
        return cls(users, items, clicks.nnz, digest(clicks.indptr, clicks.indices - 1))

    def saved(self) -> dict[str, Any]:
        """What a checkpoint holds of it: plain values, some 8 bytes more than its token for a user or an item."""
        return {
            "item_tokens": self.item_tokens,
            "user_tokens": self.user_tokens,
            "training_clicks": self.clicks,
            "training_sha256": self.digest,
        }

    def difference(self, saved: Mapping[str, Any]) -> str | None:
        """How these data differ from those that a checkpoint says it was trained on; None where they are the same.

        Args:
            saved: the entries of :meth:`saved`, of which an older checkpoint has fewer; nobody vouches for them.

        Returns:
            A clause about "it", the data set.
        """
        for kind, own in (("item", self.item_tokens), ("user", self.user_tokens)):
            theirs = saved.get(f"{kind}_tokens")
            if theirs is not None and theirs != own:
                return _of_tokens(kind, own, theirs)
        if saved.get("training_sha256") in (None, self.digest):
            return None
        then = saved.get("training_clicks")
        count = f", {self.clicks} and not {then}" if isinstance(then, int) and then != self.clicks else ""
        what = "clicks or ratings" if self.rated else "clicks"
        return f"it has the same users and items, and other {what} in its training part{count}"

    def check(self, name: str, saved: Mapping[str, Any]) -> None:
        """Refuse a data set that is not the one of a checkpoint, and log where that cannot be told.

        Args:
            name: the data set's.
            saved: see :meth:`difference`.

        Raises:
            DataError: it is another one.
        """
        if "user_tokens" not in saved:
            getLogger().warning(
                "The checkpoint does not say which users and clicks it was trained on, as RecBole's own script or an older "
                "version of this package wrote it: whether they are still the same is not checked."
            )
        if difference := self.difference(saved):
            raise DataError(
                f"The data set {name} is not the one that the checkpoint was trained on, as {difference}; take the data of "
                "that training, split as they were then."
            )


def tokens(dataset: Any, field: str) -> list[str]:
    """The tokens of a field in order of RecBole's ids."""
    return [str(token) for token in dataset.field2id_token[field]]


def digest(offsets: np.ndarray, columns: np.ndarray, values: np.ndarray | None = None) -> str:
    """SHA-256 of a :class:`.History`: a row for each user, an item's column is its id less one, and columns are sorted."""
    whole = hashlib.sha256(offsets.astype("<i8").tobytes() + b"\0")
    whole.update(columns.astype("<i4").tobytes())
    if values is not None:
        whole.update(b"\0" + values.astype("<f4").tobytes())
    return whole.hexdigest()


def _of_tokens(kind: str, own: Sequence[str], saved: Any) -> str:
    if not isinstance(saved, list):
        return f"the checkpoint has no list of {kind} tokens"
    if len(own) != len(saved):
        return f"it has {len(own) - 1} {kind}s and not {len(saved) - 1}"
    place = next(n for n, (ours, theirs) in enumerate(zip(own, saved, strict=True)) if ours != theirs)
    return f"its {kind} number {place} is {_shown(own[place])} and not {_shown(saved[place])}"


def _shown(token: Any) -> str:
    return repr(token if not isinstance(token, str) or len(token) <= _LONGEST else f"{token[:_LONGEST]}...")
