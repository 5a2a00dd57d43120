"""Models with one vector for each user and one for each item, ranked by their product: RecBole's BPR, LightGCN, SimpleX, ...

Such a file answers for the users of the training data, by name, and masks the items they have in training. Users, their
history and the vectors come from RecBole's model, rebuilt from the data set: the last product that it computes for a user is
the score that it ranks by. A model whose scores are not that product for every user is refused.

``U`` users and ``C`` items with RecBole's padding, ``D`` of a vector, ``N`` interactions of the training data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.overrides import TorchFunctionMode

from multvae_export.architectures.base import UserModel
from multvae_export.architectures.layered import Layered
from multvae_export.checkpoint.contents import Checkpoint, check_tokens, token_digest
from multvae_export.errors import UnsupportedModelError, WeightsError
from multvae_export.nodes import layers
from multvae_export.nodes.factors import Factors
from multvae_export.nodes.first_layer import first
from multvae_export.nodes.layers import Layer, RowsOfNew, StoredNetwork
from multvae_export.nodes.nodes import Nodes
from multvae_export.target import Target

PRODUCTS = (torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__)
#: The most scores of a batch of users, and the allowed difference from the product, as a share of the largest score.
BATCH_SCORES, TOLERANCE = 2**24, 1e-5

#: The training history of each user, cut out of the list of all: [B, longest]. An unknown user, id 0, has none.
HISTORY = """
    begin = Gather(first_click_of_user, user_id)
    length = Gather(number_of_clicks, user_id)
    longest = ReduceMax <keepdims: int = 0> (length)
    place = Range(zero, longest, one)
    begin_column = Unsqueeze(begin, axis1)
    place_in_list = Add(begin_column, place)
    valid_place = Min(place_in_list, last_place)
    click32 = Gather(table_history, valid_place)
    click64 = Cast <to: int = 7> (click32)
    length_column = Unsqueeze(length, axis1)
    is_of_user = Less(place, length_column)
    ids = Where(is_of_user, click64, zero)
"""


@dataclass(frozen=True)
class Vectors(Layered, UserModel):
    """A model of vectors, and the training history that it masks.

    Attributes:
        layers: the users' vectors, [U - 1, D], and the items', [D, C - 1], each with a bias of 0.
        begin: where a user's items begin in ``history``, int64 [U + 1].
        history: the item ids of every user in training, int64 [N].
        user_tokens: by RecBole's user id, the padding user's first.
    """

    name: ClassVar[str] = "vectors"
    models: ClassVar[tuple[str, ...]] = (
        "BPR", "DGCF", "LINE", "LightGCN", "NCEPLRec", "NCL", "NGCF", "SGL", "SimpleX", "SpectralCF",
    )  # fmt: skip
    refused: ClassVar[dict[str, str]] = dict.fromkeys(
        ("ConvNCF", "DMF", "ENMF", "FISM", "GCMC", "NAIS", "NNCF", "NeuMF"),
        "its scores are not the product of a user's vector and an item's",
    )
    no_reasons_because = "it ranks by a user's vector, whatever the history"

    layers: tuple[Layer, ...]
    begin: Tensor
    history: Tensor
    user_tokens: tuple[str, ...]

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Vectors:
        """Rebuild RecBole's model and take its vectors."""
        if checkpoint.data is None:
            raise WeightsError(
                f"a checkpoint of {checkpoint.model} lacks its users and their training history: name its data set's folder "
                "with --dataset-path."
            )
        model = checkpoint.data.proved_model()
        users, items = (part - 1 for part in (model.n_users, model.n_items))
        left, right = vectors(model, checkpoint.model)
        owners, history = checkpoint.data.training()
        order = np.unique(owners * (items + 1) + history)
        owners, history = order // (items + 1), order % (items + 1)
        begin = torch.from_numpy(np.searchsorted(owners, np.arange(users + 2)))
        zeros = torch.zeros(left.shape[1]), torch.zeros(items)
        tokens = check_tokens(checkpoint.data.user_tokens, users + 1, "user")
        return cls(((left, zeros[0]), (right[:, 1:], zeros[1])), begin, torch.from_numpy(history), tokens)

    @property
    def n_items(self) -> int:
        """C, the catalogue with the padding item."""
        return self.layers[1][0].shape[1] + 1

    def answer(self, request: Tensor) -> Tensor:
        """The scores for users by RecBole's id, with what they have in training at -inf: int64 [B] -> float32 [B, C].

        An unknown user's are all -inf.
        """
        known = (request > 0) & (request < len(self.user_tokens))
        rows = self.layers[0][0][(request - 1).where(known, 0)]
        weight, bias = self.layers[1]
        scores = pad(rows @ weight + bias, (1, 0), value=-torch.inf).masked_fill(~known[:, None], -torch.inf)
        for row, user in zip(scores, request.where(known, 0).tolist(), strict=True):
            row[self.history[self.begin[user] : self.begin[user + 1]]] = -torch.inf
        return scores

    def rounded(self, precision: str) -> Vectors:
        return replace(self, layers=layers.rounded(self.layers, precision))

    def with_items(self, rows: RowsOfNew) -> Vectors:
        return replace(self, layers=(self.layers[0], layers.with_columns(self.layers[1], rows)))

    def shifted(self, shift: Tensor) -> Vectors:
        return replace(self, layers=layers.shifted(self.layers, shift))

    def training_history(self) -> Nodes:
        begin = self.begin.numpy()
        constants = {
            "first_click_of_user": begin[:-1],
            "number_of_clicks": np.diff(begin),
            # One entry more: never empty.
            "table_history": np.append(self.history.numpy(), 0).astype(np.int32),
            "last_place": np.array([len(self.history)]),
        }
        return Nodes(HISTORY, constants)

    def stored(self, target: Target) -> StoredNetwork:
        return StoredNetwork(target, layers.store(self.layers, target))

    def first(self, network: StoredNetwork) -> Nodes:
        """The user's row of the table, as a history of one item."""
        user = Nodes("""
    user_column = Unsqueeze(user_id, axis1)
    is_known_user = Greater(user_column, zero)
""")
        return user + first(network.layers[0], network.target, norm=False, item="user_column", counts="is_known_user")

    def middle(self, network: StoredNetwork) -> tuple[Nodes, str]:
        return Nodes(), "hidden0"

    def last(self, network: StoredNetwork, source: str, output: str) -> Nodes:
        nodes = super().last(network, source, "product_scores")
        return nodes + f"    {output} = Where(is_known_user, product_scores, minus_infinity)\n"

    def listed_scores(self, network: StoredNetwork, source: str, ids: str) -> Nodes:
        nodes = super().listed_scores(network, source, ids)
        nodes = nodes.renamed("", {"listed_scores": "listed_product_scores"})
        return nodes + "    listed_scores = Where(is_known_user, listed_product_scores, minus_infinity)\n"

    def factors(self) -> Factors:
        factors = super().factors()
        return factors if self.layers[1][1].any() else replace(factors, bias=None)

    def spec(self) -> dict[str, Any]:
        units = self.layers[0][0].shape[1]
        sizes = [len(self.user_tokens) - 1, units, self.n_items - 1]
        return {"sizes": sizes, "users": len(self.user_tokens) - 1, "user_tokens_sha256": token_digest(self.user_tokens)}

    def eager(self, device: str) -> Callable[[Tensor], Tensor]:
        table, items = (weight.to(device) for weight, _ in self.layers)
        bias = self.layers[1][1].to(device)
        begin, history = self.begin.to(device), self.history.to(device)
        length = begin.diff()

        def scores(users: Tensor) -> Tensor:
            logits = pad(torch.addmm(bias, table[users - 1], items), (1, 0), value=-torch.inf)
            clicks = length[users]
            row = torch.repeat_interleave(torch.arange(len(users), device=device), clicks)
            place = torch.arange(len(row), device=device) - torch.repeat_interleave(clicks.cumsum(0) - clicks, clicks)
            logits[row, history[begin[users][row] + place]] = -torch.inf
            return logits

        return scores


class _Watch(TorchFunctionMode):
    """Keeps every product of two matrices while it is active: (left [B, D], right [D, C], product)."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[tuple[Tensor, Tensor, Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in PRODUCTS and all(isinstance(part, Tensor) and part.dim() == 2 for part in args):
            self.products.append((*args, result))
        return result


def vectors(model: Any, name: str) -> tuple[Tensor, Tensor]:
    """The users' and the items' vectors of a model of RecBole's, [U - 1, D] and [D, C].

    Raises:
        UnsupportedModelError: its scores are not their product for every user.
    """
    users = torch.arange(1, model.n_users)
    rows, common = [], None
    for batch in users.split(max(1, BATCH_SCORES // model.n_items)):
        left, right = _factors(model, batch, name)
        if common is not None and not torch.equal(right, common):
            raise _no_product(name)
        rows.append(left)
        common = right
    if common is None:
        raise WeightsError(f"the checkpoint of {name} has no users.")
    left, right = torch.cat(rows).detach().float(), common.detach().float()
    if not (left.isfinite().all() and right.isfinite().all()):
        raise WeightsError(f"the vectors of {name} hold numbers that are not finite: the training diverged.")
    return left.contiguous(), right.contiguous()


@torch.no_grad()
def _factors(model: Any, users: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """The two factors whose product is the scores of a batch of users."""
    with _Watch() as watch:
        try:
            scores = model.full_sort_predict({model.USER_ID: users}).view(len(users), -1)
        except NotImplementedError:
            raise _no_product(name) from None
    atol = TOLERANCE * float(scores.abs().max())
    for left, right, product in reversed(watch.products):
        if product.shape == scores.shape and torch.allclose(left @ right, scores, rtol=0, atol=atol):
            return left, right
    raise _no_product(name)


def _no_product(name: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{name} cannot be exported with --io=users: its scores are not the product of a user's vector and an item's."
    )
