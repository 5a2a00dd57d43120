"""Whether a data set is the one that a checkpoint was trained on.

A model knows users and items by RecBole's ids, which follow the order of the rows in the data file. With a row more or less,
an exported file would answer for other users, or name other items. ``multvae-train`` saves the tokens and a digest of the
training clicks, and these are compared. RecBole's own script saves neither. Then what the model kept of its training is
compared with the same thing made from the data set, whatever the model is called:

* ``interaction_matrix`` (EASE, SLIMElastic): the training clicks themselves;
* ``w`` and ``pred_mat`` (ItemKNN): the similarities, and their product with the clicks;
* ``restore_user_e`` and ``restore_item_e`` (LightGCN and other graph models): the vectors of users and items, computed from
  the weights and the graph of the clicks;
* ``item_cnt`` (Pop): the training clicks of each item, or, by RecBole's own script, its training batches. Many items may
  have the same number.

All but the last prove ids. They do not prove names: a token that was renamed in the whole file is not noticed. All other
models keep weights only. For them and for Pop only ``best_valid_score`` is left. It changes when rows have moved, unless
very few have: the same score is strong evidence, but no proof. The command says which of these it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_multvae.data.trained_on import TrainedOn
from recbole_multvae.errors import DataError
from recbole_multvae.rebuild.split import NAME_IT, Split

#: Largest difference of a recomputed value from the saved one, relative to the largest: float32 sums in another order.
TOLERANCE = 1e-5
NO_NAMES = "which has no names: a token that was renamed since then is not noticed"
OR_TRAIN = f"{NAME_IT}, or, if it is this one and RecBole's own script read or split it otherwise, train with multvae-train"
TRUST = "if you are sure that it is, say so with --trust-dataset"


@dataclass(frozen=True)
class Proof:
    """Why a data set is taken for the one of the training.

    Attributes:
        reason: a clause whose subject is the data set.
        trusted: whether only the user vouches for it.
    """

    reason: str
    trusted: bool = False


#: For a checkpoint with the tokens of users and items and a digest of the clicks.
NAMED = Proof("has the users, the items and the training clicks that the checkpoint names")
#: For an older one with the tokens of items only. It is enough for a model that needs no more.
ITEMS_NAMED = Proof("has the items that the checkpoint names")


def compare_names(split: Split) -> Proof | None:
    """Compare a data set with the tokens and the digest that a checkpoint holds; None where it holds none.

    Raises:
        DataError: they differ.
    """
    for part in ("recbole_multvae", "other_parameter"):
        saved = split.checkpoint.get(part)
        if isinstance(saved, dict) and "item_tokens" in saved:
            if difference := TrainedOn.of(split.train).difference(saved):
                raise split.refused(difference)
            return NAMED if {"user_tokens", "training_sha256"} <= saved.keys() else ITEMS_NAMED
    return None


def prove(split: Split, trusted: bool, progress: Callable[[str], None]) -> Proof:
    """Compare a data set with what a checkpoint without names kept of its training.

    Args:
        split: the data set.
        trusted: whether the user vouches for the data set where nothing else does.
        progress: called with a sentence before each step that may take long.

    Raises:
        DataError: it is another data set, or the checkpoint holds nothing to compare.
    """
    parameters = split.checkpoint.get("other_parameter")
    kept = parameters if isinstance(parameters, Mapping) else {}
    for name, compare in COMPARISONS.items():
        if kept.get(name) is not None:
            progress("Comparing the data set with what the model has kept of its training")
            if difference := compare(split, kept):
                raise split.refused(difference, OR_TRAIN)
            if name not in WEAK:
                return Proof(f"gives the {name} that the checkpoint holds, {NO_NAMES}")
    if trusted:
        return Proof("is not proved to be the one of the training: --trust-dataset vouches for it", trusted=True)
    return _prove_by_score(split, progress)


def _prove_by_score(split: Split, progress: Callable[[str], None]) -> Proof:
    metric, best = str(split.config["valid_metric"]), split.checkpoint.get("best_valid_score")
    saved = float(best) if isinstance(best, (int, float, np.number)) else math.nan
    score = None
    if math.isfinite(saved):
        progress(f"Comparing {metric} of the validation part with the checkpoint's")
        score = split.validation()
    if score is None:
        raise DataError(
            f"nothing in the checkpoint tells whether {split.where} is the one that it was trained on, as it holds no "
            f"tokens and no validation of all items: train with multvae-train, which saves the tokens, or, {TRUST}."
        )
    places = split.config["metric_decimal_place"] or 4
    if abs(score - saved) > 1.01 * 10**-places:
        difference = f"{metric} of its validation part, as it is read and split now, is {score:g} and not {saved:g}"
        raise split.refused(difference, f"{NAME_IT}, or, {TRUST}")
    return Proof(f"gives {metric} {score:g} in validation, as the checkpoint says, {NO_NAMES}")


def _compare_clicks(split: Split, kept: Mapping[str, Any]) -> str | None:
    return _compare_matrices("training clicks", split.clicks(), kept["interaction_matrix"])


def _compare_products(split: Split, kept: Mapping[str, Any]) -> str | None:
    clicks, similarity = split.clicks(), kept.get("w")
    if getattr(similarity, "shape", None) != (clicks.shape[1],) * 2:
        return _other_shapes(["items"], clicks.shape[1:], getattr(similarity, "shape", ())[:1])
    return _compare_matrices("scores", clicks.astype(np.float32) @ similarity, kept["pred_mat"])


def _compare_matrices(entries: str, rebuilt: Any, saved: Any) -> str | None:
    """How two matrices of scipy.sparse differ, as a clause; None where they do not. ``entries`` says what they hold."""
    if not hasattr(saved, "tocsr") or saved.shape != rebuilt.shape:
        return _other_shapes(["users", "items"], rebuilt.shape, getattr(saved, "shape", ()))
    rebuilt, saved = rebuilt.tocsr(), saved.tocsr()
    different = int((abs(rebuilt - saved).data > TOLERANCE * max(1.0, abs(saved).max())).sum())
    if not different:
        return None
    return f"{different} of its {entries} are others (it has {rebuilt.nnz}, and the checkpoint {saved.nnz})"


def _other_shapes(kinds: Sequence[str], rebuilt: Sequence[int], saved: Sequence[int]) -> str:
    dataset, checkpoint = (
        " and ".join(f"{size - 1} {kind}" for size, kind in zip(sizes, kinds, strict=False)) for sizes in (rebuilt, saved)
    )
    return f"it has {dataset}, and the checkpoint {checkpoint or 'something else'}"


def _compare_counts(split: Split, kept: Mapping[str, Any]) -> str | None:
    saved, clicked = torch.as_tensor(kept["item_cnt"]).flatten(), torch.from_numpy(split.training()[1])
    counts = torch.bincount(clicked, minlength=split.train.item_num)
    if len(counts) != len(saved):
        return _other_shapes(["items"], counts.shape, saved.shape)
    if not torch.equal(counts, saved):
        counts = split.batch_counts()  # Of RecBole's own script.
    different = int((counts != saved).sum())
    return f"{different} of its {len(counts) - 1} items are clicked more or less often" if different else None


def _compare_vectors(split: Split, kept: Mapping[str, Any]) -> str | None:
    model = split.make_model()
    model.restore_user_e = model.restore_item_e = None
    with torch.no_grad():
        model.full_sort_predict({model.USER_ID: torch.ones(1, dtype=torch.long)})
    for kind in ("user", "item"):
        vectors, saved = getattr(model, f"restore_{kind}_e"), kept.get(f"restore_{kind}_e")
        if not isinstance(saved, Tensor) or vectors.shape != saved.shape:
            return _other_shapes([f"{kind}s"], vectors.shape[:1], getattr(saved, "shape", ())[:1])
        different = int(((vectors - saved).abs().amax(dim=1) > TOLERANCE * saved.abs().max()).sum())
        if different:
            return f"its clicks give {different} of {len(vectors) - 1} {kind}s other vectors"
    return None


#: For each entry of RecBole's ``other_parameter`` that a model may keep: how the data set differs from it, as a clause; None
#: where it does not.
COMPARISONS: dict[str, Callable[[Split, Mapping[str, Any]], str | None]] = {
    "interaction_matrix": _compare_clicks,
    "pred_mat": _compare_products,
    "restore_user_e": _compare_vectors,
    "item_cnt": _compare_counts,
}
#: Entries that prove too little alone.
WEAK = ("item_cnt",)
