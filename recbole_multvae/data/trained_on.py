"""Which data a model was trained on, so that other data under the same name are noticed.

A model knows users and items by RecBole's ids, which follow the order of the rows in the data file. When a row is added,
removed or moved, an id may become another user or another item, and the weights no longer fit. A checkpoint therefore
holds the tokens of users and items in the order of their ids, and a digest of the training clicks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from typing import Any

import torch

from recbole_multvae.clicks import Clicks
from recbole_multvae.data.csr import click_matrix
from recbole_multvae.errors import DataError

#: Characters of a token in a message.
_LONGEST = 60


@dataclass(frozen=True)
class TrainedOn:
    """The data of a training.

    Attributes:
        user_tokens: in the order of RecBole's ids, the padding user's first.
        item_tokens: likewise.
        clicks: the number of different pairs of user and item in training.
        item_clicks: how many of them each item has, in the order of RecBole's ids, without padding.
        digest: SHA-256 of these pairs by id, 64 hexadecimal digits. The order of the rows does not matter.
        rated: whether the digest is of ratings too.
    """

    user_tokens: list[str]
    item_tokens: list[str]
    clicks: int
    item_clicks: list[int]
    digest: str
    rated: bool = False

    @classmethod
    def of(cls, dataset: Any) -> TrainedOn:
        """The data of RecBole's data set for training."""
        users, items = (tokens(dataset, field) for field in (dataset.uid_field, dataset.iid_field))
        return cls.of_clicks(users, items, Clicks.from_csr(click_matrix(dataset)))

    @classmethod
    def of_clicks(cls, user_tokens: list[str], item_tokens: list[str], clicks: Clicks) -> TrainedOn:
        """The data of these users, items and clicks."""
        counts = torch.bincount(clicks.columns, minlength=len(item_tokens) - 1).tolist()
        return cls(user_tokens, item_tokens, len(clicks.columns), counts, digest(clicks), clicks.values is not None)

    def saved(self) -> dict[str, Any]:
        """The entries of a checkpoint: plain values. A user or an item takes some 8 bytes more than its token."""
        return {
            "item_tokens": self.item_tokens,
            "user_tokens": self.user_tokens,
            "training_clicks": self.clicks,
            "item_clicks": self.item_clicks,
            "training_sha256": self.digest,
        }

    def difference(self, saved: Mapping[str, Any]) -> str | None:
        """How these data differ from those of a checkpoint; None where they are the same.

        Args:
            saved: the entries of :meth:`saved`, of which an older checkpoint has fewer. They may be of any type.

        Returns:
            A clause about "it", the data set.
        """
        for kind, current in (("item", self.item_tokens), ("user", self.user_tokens)):
            previous = saved.get(f"{kind}_tokens")
            if previous is not None and previous != current:
                return _difference_of_tokens(kind, current, previous)
        if saved.get("training_sha256") in (None, self.digest):
            return None
        clicks = saved.get("training_clicks")
        count = f", {self.clicks} and not {clicks}" if isinstance(clicks, int) and clicks != self.clicks else ""
        what = "clicks or ratings" if self.rated else "clicks"
        return f"it has the same users and items, and other {what} in its training part{count}"

    def check(self, name: str, saved: Mapping[str, Any]) -> None:
        """Refuse a data set that is not the one of a checkpoint. Where this cannot be checked, log it.

        Args:
            name: the name of the data set.
            saved: see :meth:`difference`.

        Raises:
            DataError: it is another data set.
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
    """The tokens of a field in the order of RecBole's ids."""
    return [str(token) for token in dataset.field2id_token[field]]


def digest(clicks: Clicks) -> str:
    """SHA-256 of the training clicks, a row for each user with sorted columns."""
    sha = hashlib.sha256(clicks.offsets.cpu().numpy().astype("<i8").tobytes() + b"\0")
    sha.update(clicks.columns.cpu().numpy().astype("<i4").tobytes())
    if clicks.values is not None:
        sha.update(b"\0" + clicks.values.cpu().numpy().astype("<f4").tobytes())
    return sha.hexdigest()


def _difference_of_tokens(kind: str, current: Sequence[str], saved: Any) -> str:
    if not isinstance(saved, list):
        return f"the checkpoint has no list of {kind} tokens"
    if len(current) != len(saved):
        return f"it has {len(current) - 1} {kind}s and not {len(saved) - 1}"
    number = next(n for n, (token, before) in enumerate(zip(current, saved, strict=True)) if token != before)
    return f"its {kind} number {number} is {_shortened(current[number])} and not {_shortened(saved[number])}"


def _shortened(token: Any) -> str:
    return repr(token if not isinstance(token, str) or len(token) <= _LONGEST else f"{token[:_LONGEST]}...")
