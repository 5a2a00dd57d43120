"""Whether a data set is the one that a checkpoint was trained on.

A model knows users and items by RecBole's ids, which follow the order of the rows in the data file: with a row more or less,
the file of an export would give its answers to other users, or name other items. ``multvae-train`` saves the tokens and a
digest of the clicks in training, and these are compared. RecBole's own script saves neither. Then what the model has kept of
its training is compared with the same thing made from the data set, whatever the model is called:

* ``interaction_matrix`` (EASE, SLIMElastic): the clicks in training, and nothing has to be concluded;
* ``w`` and ``pred_mat`` (ItemKNN): the similarities, and their product with the clicks;
* ``restore_user_e`` and ``restore_item_e`` (LightGCN and other graph models): what the graph of the clicks makes of the
  weights, a vector for every user and item;
* ``item_cnt`` (Pop): the number of batches of training that an item was in. Many items may have the same.

All but the last prove ids. Names they do not prove: a token that was renamed in the whole file is not noticed. All other
models keep weights only. What is left for them, and for Pop, is ``best_valid_score``. After rows have moved it comes out
otherwise, unless very little has moved: that it comes out the same is strong evidence, and no proof. The command says which
of these it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from multvae_export.errors import TokensError

#: How far, of the largest, what is computed again may be from what was saved: sums of float32 in another order.
TOLERANCE = 1e-5
NAME_IT = "name the folder of the data it was trained on"
NO_NAMES = "which has no names: a token that was renamed since then is not noticed"
OR_TRAIN = f"{NAME_IT}, or, if it is this one and RecBole's own script read or split it otherwise, train with multvae-train"
TRUST = "if you are sure that it is, say so with --trust-dataset"


class Data(Protocol):
    """What is compared: see :class:`.dataset.Rebuilt`."""

    @property
    def checkpoint(self) -> dict[str, Any]:
        """What it holds, as RecBole's own objects."""

    @property
    def where(self) -> str:
        """The data set, for a sentence."""

    def clicks(self) -> Any:
        """The clicks in training, a matrix of scipy.sparse, [users, items]; one that is repeated counts as often."""

    def batch_counts(self) -> Tensor:
        """For each item, how many batches of the first epoch it is in, int64 [items]."""

    def model(self) -> Any:
        """RecBole's model with the weights of the checkpoint."""

    def validation(self) -> float | None:
        """The validation score of the model; None where it cannot be computed again."""


@dataclass(frozen=True)
class Proof:
    """Why a data set is taken for the one of the training.

    Attributes:
        reason: a clause.
        trusted: whether the user alone vouches for it.
    """

    reason: str
    trusted: bool = False


#: Of a checkpoint that names its users, its items and a digest of its clicks.
NAMED = Proof("has the users, the items and the training clicks that the checkpoint names")
#: Of an older one, which names its items only, and whose model needs no more.
ITEMS_NAMED = Proof("has the items that the checkpoint names")


def prove(data: Data, trusted: bool = False, progress: Callable[[str], None] = lambda message: None) -> Proof:
    """Compare a data set with what a checkpoint without names has kept of its training.

    Args:
        data: made from the data set.
        trusted: whether the user vouches for the data set where nothing else does.
        progress: called with a sentence before what may take long.

    Raises:
        TokensError: it is another data set, or there is nothing to tell by.
    """
    extra = data.checkpoint.get("other_parameter")
    kept = extra if isinstance(extra, Mapping) else {}
    for name, compare in KEPT.items():
        if kept.get(name) is not None:
            progress("Comparing the data set with what the model has kept of its training")
            if difference := compare(data, kept):
                raise refused(data, difference, OR_TRAIN)
            if name not in WEAK:
                return Proof(f"gives the {name} that the checkpoint holds, {NO_NAMES}")
    if trusted:
        return Proof("is not proved to be the one of the training: --trust-dataset vouches for it", trusted=True)
    return _by_score(data, progress)


def refused(data: Data, difference: str, advice: str = NAME_IT) -> TokensError:
    """The error for a data set that is another one: a clause about "it" says how it differs."""
    return TokensError(f"{data.where} is not the one that the checkpoint was trained on, as {difference}: {advice}.")


def _by_score(data: Data, progress: Callable[[str], None]) -> Proof:
    config, score = data.checkpoint["config"], data.checkpoint.get("best_valid_score")
    metric, saved = str(config["valid_metric"]), float(score) if isinstance(score, (int, float, np.number)) else math.nan
    if math.isfinite(saved):
        progress(f"Comparing {metric} of the validation part with the checkpoint's")
    found = data.validation() if math.isfinite(saved) else None
    if found is None:
        raise TokensError(
            f"nothing in the checkpoint tells whether {data.where} is the one that it was trained on, as it holds no tokens "
            f"and no validation of all items: train with multvae-train, which saves the tokens, or, {TRUST}."
        )
    places = config["metric_decimal_place"] or 4
    if abs(found - saved) > 1.01 * 10**-places:
        difference = f"{metric} of its validation part, as it is read and split now, is {found:g} and not {saved:g}"
        raise refused(data, difference, f"{NAME_IT}, or, {TRUST}")
    return Proof(f"gives {metric} {found:g} in validation, as the checkpoint says, {NO_NAMES}")


def _matrix(data: Data, kept: Mapping[str, Any]) -> str | None:
    return _of_matrices("clicks in training", data.clicks(), kept["interaction_matrix"])


def _product(data: Data, kept: Mapping[str, Any]) -> str | None:
    clicks, similarity = data.clicks(), kept.get("w")
    if getattr(similarity, "shape", None) != (clicks.shape[1],) * 2:
        return _of_shapes(["items"], clicks.shape[1:], getattr(similarity, "shape", ())[:1])
    return _of_matrices("scores", clicks.astype(np.float32) @ similarity, kept["pred_mat"])


def _of_matrices(what: str, found: Any, saved: Any) -> str | None:
    """How two matrices of scipy.sparse differ, as a clause; None where they do not."""
    if not hasattr(saved, "tocsr") or saved.shape != found.shape:
        return _of_shapes(["users", "items"], found.shape, getattr(saved, "shape", ()))
    found, saved = found.tocsr(), saved.tocsr()
    far = abs(found - saved).data > TOLERANCE * max(1.0, abs(saved).max())
    if not far.any():
        return None
    return f"{int(far.sum())} of its {what} are others (it has {found.nnz}, and the checkpoint {saved.nnz})"


def _of_shapes(kinds: Sequence[str], found: Sequence[int], saved: Sequence[int]) -> str:
    its, theirs = (
        " and ".join(f"{size - 1} {kind}" for size, kind in zip(sizes, kinds, strict=False)) for sizes in (found, saved)
    )
    return f"it has {its}, and the checkpoint {theirs or 'something else'}"


def _counts(data: Data, kept: Mapping[str, Any]) -> str | None:
    found, saved = data.batch_counts(), torch.as_tensor(kept["item_cnt"]).flatten()
    if len(found) != len(saved):
        return _of_shapes(["items"], found.shape, saved.shape)
    different = int((found != saved).sum())
    return f"{different} of its {len(found) - 1} items are clicked more or less often" if different else None


def _vectors(data: Data, kept: Mapping[str, Any]) -> str | None:
    model = data.model()
    model.restore_user_e = model.restore_item_e = None
    with torch.no_grad():
        model.full_sort_predict({model.USER_ID: torch.ones(1, dtype=torch.long)})
    for kind in ("user", "item"):
        found, saved = getattr(model, f"restore_{kind}_e"), kept.get(f"restore_{kind}_e")
        if not isinstance(saved, Tensor) or found.shape != saved.shape:
            return _of_shapes([f"{kind}s"], found.shape[:1], getattr(saved, "shape", ())[:1])
        far = (found - saved).abs().amax(dim=1) > TOLERANCE * saved.abs().max()
        if far.any():
            return f"its clicks give {int(far.sum())} of {len(found) - 1} {kind}s other vectors"
    return None


#: By what a model keeps in RecBole's ``other_parameter``: how the data set differs from it, as a clause; None where not.
KEPT: dict[str, Callable[[Data, Mapping[str, Any]], str | None]] = {
    "interaction_matrix": _matrix,
    "pred_mat": _product,
    "restore_user_e": _vectors,
    "item_cnt": _counts,
}
#: What is not enough alone.
WEAK = ("item_cnt",)
