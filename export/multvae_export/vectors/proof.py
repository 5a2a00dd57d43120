"""The proof that the vectors give the model's scores: brute force over the written files beside torch.

Each check returns its figures, or raises :class:`VerificationError` with both values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from multvae_export.architectures.base import HistoryModel, UserModel
from multvae_export.errors import VerificationError
from multvae_export.ranking import best, multi_hot
from multvae_export.trained_model import Model
from multvae_export.vectors.fold_in import FoldIn
from multvae_export.vectors.items import ARRAY, TABLE, read_items
from multvae_export.verification.comparison import head
from multvae_export.verification.exported_file import Case, ExportedFile

#: The users in training on whom a fold-in is compared with the trained vectors, and the length of the lists.
USERS, TOP = 1000, 10


def check_items(folder: Path, tokens: tuple[str, ...], vectors: np.ndarray) -> str:
    """Both files of the items hold the same vectors, finite ones, and the tokens are the model's in order."""
    array, names, rows = read_items(folder)
    if not (np.array_equal(array, vectors) and np.array_equal(rows, vectors) and np.isfinite(array).all()):
        raise VerificationError(f"{ARRAY} or {TABLE} hold other vectors than the model: {head(array)}")
    if names != list(tokens):
        raise VerificationError(f"{TABLE} has the tokens {names[:5]}, expected {list(tokens[:5])}")
    return f"{len(array)} items, {array.shape[1]} dimensions"


def check_products(
    file: ExportedFile, vectors: np.ndarray, scores: Callable[[Tensor], Tensor], cases: Iterable[Case]
) -> str:
    """The products of a file's vectors and the items' equal torch's scores of every item, where those are finite.

    Args:
        file: one that gives vectors.
        vectors: the items', [C - 1, d].
        scores: torch's, of the requests of a case, [B, C].
        cases: the requests.
    """
    (request,) = file.session.get_inputs()
    tokens = file.request_tokens if request.name == "user" else file.item_tokens
    worst, count = 0.0, 0
    for case in cases:
        found = file.session.run(None, {request.name: tokens[case.history]})[0] @ vectors.T
        expected = scores(torch.from_numpy(case.history))[:, 1:].numpy()
        difference = np.abs(np.where(np.isfinite(expected), found - expected, 0 * found))
        if not (difference <= file.tolerance(case, expected)).all():  # NaN is no difference within bounds.
            raise VerificationError(
                f"{case.name}: a product of vectors differs by {difference.max():.2e} from torch's score: "
                f"found {head(found)}, expected {head(expected)}"
            )
        worst, count = max(worst, float(difference.max(initial=0))), count + len(found)
    return f"{count} {'users' if request.name == 'user' else 'histories'}, largest score difference {worst:.1e}"


def scores_of(model: Model) -> Callable[[Tensor], Tensor]:
    """Torch's scores of all items for requests, seen items included. Of a user's training items no score is known: -inf."""
    architecture = model.architecture
    if isinstance(architecture, HistoryModel):
        return lambda history: architecture.logits(multi_hot(history, model.n_items))
    return architecture.answer


def folded_in(model: Model, fold_in: FoldIn) -> str:
    """How much a fold-in of the users' training items agrees with their trained vectors: the overlap of the best items."""
    assert isinstance(model.architecture, UserModel)
    users = torch.arange(1, min(len(model.architecture.user_tokens), USERS + 1))
    shares: list[float] = []
    for batch in users.split(100):
        trained = model.architecture.answer(batch)
        seen = trained.isneginf()
        found = fold_in.scores(seen.float()).masked_fill(seen, -torch.inf)
        lists = zip(*(best(scores, TOP)[0].tolist() for scores in (trained, found)), strict=True)
        shares += [len({*one} & {*other} - {0}) / len({*one} - {0}) for one, other in lists if any(one)]
    share = sum(shares) / max(1, len(shares))
    return f"{share:.1%} of the trained vector's top {TOP}, over {len(shares)} users of the training"
