"""What the models of the family share: the adapter between RecBole and a network of sparse click vectors.

``B`` users in the batch, ``I`` items without the padding item, ``K`` latent dimensions, ``N`` interactions of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_multvae.checkpoint import FORMAT_VERSION
from recbole_multvae.data.history import History
from recbole_multvae.errors import DataError
from recbole_multvae.layers import SparseEncoder
from recbole_multvae.likelihoods.multinomial import multinomial_nll, sample_items
from recbole_multvae.settings import Settings
from recbole_multvae.training.hardware import product_dtype


class ClickAutoEncoder(GeneralRecommender):
    """A RecBole general recommender that maps a user's click vector to a score for every item.

    A subclass sets ``settings_class``, builds an ``encoder`` and a ``decoder``, and defines :meth:`encode` and
    :meth:`calculate_loss`.

    Attributes:
        sparse: whether the gradients of the tables are sparse, for RecBole's ``learner: sparse_adam``.
        update: training updates made so far; saved, because the KL weight depends on it.
        generator: draws dropout masks and noise; its state is saved, so that a resumed run draws what an unbroken one
            would have.
    """

    input_type = InputType.LISTWISE
    settings_class: ClassVar[type[Settings]]
    encoder: SparseEncoder
    decoder: nn.Sequential
    #: DistributedDataParallel broadcasts buffers before every update; these never change.
    _ddp_params_and_buffers_to_ignore: ClassVar[tuple[str, ...]] = ("history.offsets", "history.columns")

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.settings = self.settings_class.from_config(config)
        self.sparse = config["learner"].lower() == "sparse_adam"
        self.history = History(dataset)
        self.item_tokens = [str(token) for token in dataset.field2id_token[self.ITEM_ID]]
        self.dataset_name = config["dataset"]
        self.update = 0
        self.dtype = product_dtype(self.settings.precision, self.device)
        self.rank = config["local_rank"] + (config["offset"] or 0)
        self.generator = torch.Generator(device=self.device).manual_seed(config["seed"] + self.rank)
        self._order: torch.Generator | None = None
        self._saved_order: Tensor | None = None

    def encode(self, items: Tensor, offsets: Tensor) -> Tensor:
        """The latent representation used to rank, [B, K], of the histories ``items`` [N], ``offsets`` [B + 1]."""
        raise NotImplementedError

    def negative_log_likelihood(self, z: Tensor, items: Tensor, offsets: Tensor) -> Tensor:
        """The multinomial's, the mean over users, of latent representations [B, K]. Counts one more update."""
        self.update += 1
        output: Any = self.decoder[-1]
        weight, bias = output.weight, output.bias
        if self.settings.sampled_softmax:
            columns, shift, items = sample_items(items, len(weight), self.settings.sampled_softmax, self.generator)
            weight = nn.functional.embedding(columns, weight, sparse=self.sparse)
            bias = bias[columns] + shift
        memory = self.settings.train_memory * 2**20
        return multinomial_nll(self.decoder[:-1](z), weight, bias, items, offsets, self.dtype, memory)

    def sparse_parameters(self) -> list[nn.Parameter]:
        """The tables whose gradients are sparse: a row for each item that occurred in the batch."""
        if not self.sparse:
            return []
        output: Any = self.decoder[-1]
        return [self.encoder.first.weight, *([output.weight] if self.settings.sampled_softmax else [])]

    def forward(self, items: Tensor, offsets: Tensor) -> Tensor:
        """The logits f(z_u), [B, I], of the histories ``items`` [N], ``offsets`` [B + 1]."""
        return self.decoder(self.encode(items, offsets))

    def predict(self, interaction: Any) -> Tensor:
        """Score pairs of a user and an item. Returns the logits, [number of pairs]; the padding item scores lowest."""
        users, pair_user = interaction[self.USER_ID].unique(return_inverse=True)
        items = interaction[self.ITEM_ID]
        hidden = self.decoder[:-1](self.encode(*self.history(users)))
        output: Any = self.decoder[-1]
        column = (items - 1).clamp(min=0)
        scores = (hidden[pair_user] * output.weight[column]).sum(dim=1) + output.bias[column]
        return scores.masked_fill(items == 0, torch.finfo(scores.dtype).min)

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Score every item for each user. Returns the logits, [users * n_items], in RecBole's order of ids."""
        return self._with_padding(self(*self.history(interaction[self.USER_ID]))).view(-1)

    @torch.no_grad()
    def score_into(self, interaction: Any, scores: Tensor) -> None:
        """Write the logits of every item for each user into ``scores``, [users, I]: memory that is used again and again."""
        items, offsets = self.history(interaction[self.USER_ID])
        output: Any = self.decoder[-1]
        hidden = self.decoder[:-1](self.encode(items, offsets))
        torch.addmm(output.bias, hidden, output.weight.t(), out=scores)

    @torch.no_grad()
    def score_histories(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """Score every item for people who need not be in the data set.

        Args:
            histories: for each person, RecBole item ids; padding and repeats are ignored.

        Returns:
            Logits, [len(histories), n_items], in evaluation mode.

        Raises:
            DataError: an item id is outside the catalogue.
        """
        rows = [sorted(set(history) - {0}) for history in histories]
        unknown = [item for row in rows for item in row if not 0 < item < self.n_items]
        if unknown:
            raise DataError(f"Item id {unknown[0]} is not in the catalogue: expected 1 to {self.n_items - 1}.")
        lengths = torch.tensor([0] + [len(row) for row in rows], device=self.device)
        items = torch.tensor([item - 1 for row in rows for item in row], dtype=torch.long, device=self.device)
        training = self.training
        scores = self.eval()(items, lengths.cumsum(0))
        self.train(training)
        return self._with_padding(scores)

    @staticmethod
    def _with_padding(logits: Tensor) -> Tensor:
        # The lowest finite number: never recommended, and never NaN or infinite in what the caller does with it.
        return nn.functional.pad(logits, (1, 0), value=torch.finfo(logits.dtype).min)

    def spec(self) -> dict[str, Any]:
        """What a program needs to rebuild the network: plain numbers, strings and lists."""
        return {
            "model": type(self).__name__,
            "n_items": self.n_items,
            "mlp_hidden_size": list(self.settings.mlp_hidden_size),
            "latent_dimension": self.settings.latent_dimension,
        }

    def follow(self, train_data: Any) -> None:
        """Save and restore the order of users with the model. RecBole's ``Trainer.fit`` calls this before training."""
        self._order = train_data.generator
        if self._saved_order is not None:
            self._order.set_state(self._saved_order)
            self._saved_order = None

    def other_parameter(self) -> dict[str, Any]:
        """RecBole's hook: what its checkpoint holds besides the weights."""
        return {
            "format_version": FORMAT_VERSION,
            "spec": self.spec(),
            "dataset": self.dataset_name,
            "item_tokens": self.item_tokens,
            "update": self.update,
            "generator": self.generator.get_state(),
            "order": None if self._order is None else self._order.get_state(),
        }

    def load_other_parameter(self, para: dict[str, Any] | None) -> None:
        """RecBole's hook: take up what :meth:`other_parameter` saved.

        Raises:
            DataError: the checkpoint was trained on other items than the data set has.
        """
        if para is None:
            return
        if para["item_tokens"] != self.item_tokens:
            raise DataError(
                f"The checkpoint was trained on {len(para['item_tokens']) - 1} items of {para['dataset']}, the data set "
                f"{self.dataset_name} has {self.n_items - 1} or other ones: load it with the data it was trained on."
            )
        self.update = para["update"]
        self.generator.set_state(para["generator"].cpu())
        if self.rank != 0:  # The noise of rank 0 goes on as it was; the others must not draw the same.
            drawn = torch.randint(2**62, (), generator=self.generator, device=self.device)
            self.generator.manual_seed(int(drawn) + self.rank)
        self._saved_order = None if para["order"] is None else para["order"].cpu()
