"""A digest of a split: two runs have the same digest if they train and test on the same clicks."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from recbole_multvae.data.csr import distinct_clicks


def digest(parts: list[Any]) -> str:
    """SHA-256 of the user tokens, the item tokens and the clicks of every part: 64 hexadecimal digits.

    It depends neither on the order of the clicks nor on RecBole's numbering of users and items.

    Args:
        parts: RecBole's data sets for training, validation and test.
    """
    whole = hashlib.sha256()
    ranks = []
    for field in (parts[0].uid_field, parts[0].iid_field):
        tokens = parts[0].field2id_token[field][1:].astype(str)
        order = np.argsort(tokens)
        ranks.append(np.argsort(order))
        whole.update("\n".join(tokens[order]).encode() + b"\0")
    for part in parts:
        for clicks in (distinct_clicks(part), getattr(part, "fold_in", None), getattr(part, "masked", None)):
            if clicks is not None:
                whole.update(_pairs(clicks, *ranks))
            whole.update(b"\0")
    return whole.hexdigest()


def _pairs(clicks: Any, user_ranks: np.ndarray, item_ranks: np.ndarray) -> bytes:
    pairs = clicks.tocoo()
    positions = user_ranks[pairs.row - 1].astype(np.int64) * len(item_ranks) + item_ranks[pairs.col - 1]
    return np.sort(positions).astype("<i8").tobytes()
