"""RecBole's models that score a user from clicks alone, and how each is made to read clicks that are not in its training.

RecBole's models look up a user's clicks by the user's id, in a table that they made from the training data. Where users who
were not in training are evaluated (see :mod:`..data.protocols`), the users of a batch are numbered from 0 to B - 1, and a
table of their clicks replaces the model's for that batch. The model's code does the rest.

Models of RecBole 1.2.1 that are not here need more of a user than a set of clicks: a vector learnt for the user (BPR,
LightGCN, CDAE, ENMF and most others), similar users (ItemKNN with ``knn_method: user``), the order of the clicks, or
features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from scipy.sparse import csr_matrix

from recbole_multvae.data.loaders import UsersWithHistories


def _auto_encoder(model: Any, histories: csr_matrix) -> dict[str, Any]:
    """``AutoEncoderMixin.get_rating_matrix`` reads rows of item ids and of ones, padded with 0, [B, longest]."""
    counts = np.diff(histories.indptr)
    ids = np.zeros((len(counts), max(counts.max(initial=0), 1)), dtype=np.int64)
    ids[np.arange(ids.shape[1]) < counts[:, None]] = histories.indices
    items = torch.from_numpy(ids).to(model.device)
    return {"history_item_id": items, "history_item_value": (items > 0).float()}


def _linear(_: Any, histories: csr_matrix) -> dict[str, Any]:
    """``EASE``, ``SLIMElastic`` and ``ADMMSLIM`` multiply the rows of the users by a matrix of items and items."""
    return {"interaction_matrix": histories}


def _neighbours(model: Any, histories: csr_matrix) -> dict[str, Any]:
    """``ItemKNN`` looks up the product of all users' clicks and its similarities."""
    return {"pred_mat": (histories @ model.w).tocsr()}


def _popularity(_: Any, __: csr_matrix) -> dict[str, Any]:
    """``Pop`` scores everyone alike."""
    return {}


#: For each model, a function from histories, [B, n_items] of ones, to the attributes that replace those made in training.
READERS: dict[str, Callable[[Any, csr_matrix], dict[str, Any]]] = {
    **dict.fromkeys(("MultiVAE", "MultiDAE", "RecVAE", "MacridVAE", "RaCT"), _auto_encoder),
    **dict.fromkeys(("EASE", "SLIMElastic", "ADMMSLIM"), _linear),
    "ItemKNN": _neighbours,
    "Pop": _popularity,
}


def no_histories_because(model_class: type, knn_method: str | None) -> str | None:
    """Why a model of RecBole's cannot score people from clicks alone, as a clause; None where it can.

    Args:
        model_class: a model that is not of the family, RecBole's or derived from one of RecBole's.
        knn_method: the configuration key with which ItemKNN compares users, not items.
    """
    name = model_class.__name__
    if _reader(model_class) is None:
        return f"{name} needs more of a user than a set of clicks, such as a vector learnt in training"
    if knn_method == "user" and _reader(model_class) is _neighbours:
        return f"{name} with knn_method='user' compares the users of training"
    return None


def _reader(model_class: type) -> Callable[[Any, csr_matrix], dict[str, Any]] | None:
    return next((READERS[cls.__name__] for cls in model_class.__mro__ if cls.__name__ in READERS), None)


@contextmanager
def histories_of(users: UsersWithHistories, model: Any) -> Iterator[Interaction]:
    """Make a model of :data:`READERS` read the histories of a batch.

    Args:
        users: the users of the batch, B of them.
        model: RecBole's.

    Yields:
        The same users under the ids 0 to B - 1, by which the model finds the histories until the context ends.
    """
    reader = _reader(type(model))
    assert reader is not None  # The configuration was refused otherwise.
    items, offsets = users.histories.ids.cpu().numpy(), users.histories.offsets.cpu().numpy()
    histories = csr_matrix((np.ones(len(items), np.float32), items, offsets), shape=(len(users), model.n_items))
    replacements = reader(model, histories)
    originals = {name: vars(model)[name] for name in replacements}
    vars(model).update(replacements)
    try:
        yield Interaction({**users.interaction, model.USER_ID: torch.arange(len(users))})
    finally:
        vars(model).update(originals)
