"""RecBole's models that score a user from a history alone, and how each is made to read another one.

RecBole's models look a user's clicks up by the user's id, in something that they made from the training data. For users who
were not in training (see :mod:`..data.protocols`) the users of an evaluation batch are numbered 0 to B - 1, and for that
batch the model finds their histories in the place of what it made. Its own code does the rest.

Models of RecBole 1.2.1 that are not here know a user by more than a set of clicks: by a vector learnt for the user (BPR,
LightGCN, CDAE, ENMF and most others), by similar users (ItemKNN with ``knn_method: user``), by the order of the clicks or
by features.
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
from recbole_multvae.errors import NotApplicableError


def _auto_encoder(model: Any, histories: csr_matrix) -> dict[str, Any]:
    """What ``AutoEncoderMixin.get_rating_matrix`` reads: rows of item ids and of ones, padded with 0, [B, longest]."""
    counts = np.diff(histories.indptr)
    ids = np.zeros((len(counts), max(counts.max(initial=0), 1)), dtype=np.int64)
    ids[np.arange(ids.shape[1]) < counts[:, None]] = histories.indices
    items = torch.from_numpy(ids).to(model.device)
    return {"history_item_id": items, "history_item_value": (items > 0).float()}


def _linear(_: Any, histories: csr_matrix) -> dict[str, Any]:
    """``EASE``, ``SLIMElastic`` and ``ADMMSLIM`` multiply the rows of the users by a matrix of items and items."""
    return {"interaction_matrix": histories}


def _neighbours(model: Any, histories: csr_matrix) -> dict[str, Any]:
    """``ItemKNN`` looks up a product that it made of all users' clicks."""
    return {"pred_mat": (histories @ model.w).tocsr()}


def _popularity(_: Any, __: csr_matrix) -> dict[str, Any]:
    """``Pop`` scores everyone alike."""
    return {}


#: For each model, which of its attributes take the place of those made in training, from histories [B, n_items] of ones.
READERS: dict[str, Callable[[Any, csr_matrix], dict[str, Any]]] = {
    **dict.fromkeys(("MultiVAE", "MultiDAE", "RecVAE", "MacridVAE", "RaCT"), _auto_encoder),
    **dict.fromkeys(("EASE", "SLIMElastic", "ADMMSLIM"), _linear),
    "ItemKNN": _neighbours,
    "Pop": _popularity,
}


def check_reads_histories(model_class: type, knn_method: str | None, protocol: str) -> None:
    """Refuse a model of RecBole's that cannot score users who are not in training.

    Args:
        model_class: a model that is not of the family, RecBole's or derived from one of RecBole's.
        knn_method: the configuration key that makes ItemKNN compare users rather than items.
        protocol: the name of the protocol in ``eval_args``, for the message.

    Raises:
        NotApplicableError: it cannot; the message says why.
    """
    name = model_class.__name__
    if _reader(model_class) is None:
        why = f"{name} needs more of a user than a set of clicks, such as a vector learnt in training"
    elif knn_method == "user" and _reader(model_class) is _neighbours:
        why = f"{name} with knn_method='user' compares the users of training"
    else:
        return
    raise NotApplicableError(
        f"eval_args split {protocol} evaluates users who are not in training, and {why}: take split RS, a model of this "
        f"package, or one of {', '.join(READERS)}."
    )


def _reader(model_class: type) -> Callable[[Any, csr_matrix], dict[str, Any]] | None:
    return next((READERS[cls.__name__] for cls in model_class.__mro__ if cls.__name__ in READERS), None)


@contextmanager
def histories_of(users: UsersWithHistories, model: Any) -> Iterator[Interaction]:
    """Let a model of :data:`READERS` read the histories of a batch.

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
    replaced = reader(model, histories)
    kept = {name: vars(model)[name] for name in replaced}
    vars(model).update(replaced)
    try:
        yield Interaction({**users.interaction, model.USER_ID: torch.arange(len(users))})
    finally:
        vars(model).update(kept)
