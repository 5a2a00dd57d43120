"""What all models of the family share: the adapter between RecBole and a scorer of click histories.

``B`` users in the batch, ``I`` items without the padding item, ``N`` interactions of the batch. A *history* is what a model
is given of the users of a batch: columns int64 [N], offsets int64 [B + 1] and, where a model reads ratings, their values
float32 [N].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any, ClassVar

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_multvae.checkpoint import FORMAT_VERSION
from recbole_multvae.config import automatic
from recbole_multvae.config.settings import RecommenderSettings, Settings
from recbole_multvae.data.history import History
from recbole_multvae.data.trained_on import TrainedOn, digest, tokens
from recbole_multvae.errors import CheckpointError, ConfigurationError, DataError
from recbole_multvae.likelihoods import likelihoods


class ClickRecommender(GeneralRecommender):
    """A RecBole general recommender that maps the history of anyone to a score for every item.

    A subclass sets ``settings_class`` and defines :meth:`forward`, :meth:`score_into`, :meth:`predict`,
    :meth:`calculate_loss` and :meth:`spec`.

    Attributes:
        update: training updates made so far; saved, because what a model does may depend on it.
        updates_per_epoch: batches of the training loader; 0 until :meth:`attach_loader` counts them.
        generator: draws dropout masks and noise; its state is saved, so that a resumed run draws what an unbroken one
            would have.
    """

    input_type = InputType.LISTWISE
    settings_class: ClassVar[type[RecommenderSettings]] = RecommenderSettings
    #: Whether what the model is trained on are items, each with the users who clicked it, in place of users.
    by_item: ClassVar[bool] = False
    #: DistributedDataParallel broadcasts buffers before every update; these never change.
    _ddp_params_and_buffers_to_ignore: ClassVar[tuple[str, ...]] = ("history.offsets", "history.columns", "history.values")

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        automatic.resolve_auto(config, dataset)  # For loaders that were saved, RecBole does not build the data set.
        self.settings = self.read_settings(config)
        self.history = History(dataset, self.by_item)
        self.item_tokens, self.user_tokens = tokens(dataset, self.ITEM_ID), tokens(dataset, self.USER_ID)
        self.dataset_name = config["dataset"]
        self.update = 0
        self.updates_per_epoch = 0
        self.rank = config["local_rank"] + (config["offset"] or 0)
        self.generator = torch.Generator(device=self.device).manual_seed(config["seed"] + self.rank)
        self._order: torch.Generator | None = None
        self._saved_order: Tensor | None = None

    @classmethod
    def read_settings(cls, config: Mapping[str, Any]) -> Any:
        """The settings of the model and, if it has a choice of them, of its likelihood in one object.

        Raises:
            ConfigurationError: a key is out of range, or there is no such likelihood.
        """
        name = getattr(cls.settings_class.from_config(config), "likelihood", None)
        if name is not None and name not in likelihoods():
            raise ConfigurationError(f"likelihood={name!r} is not allowed: expected {' or '.join(sorted(likelihoods()))}.")
        return cls.all_settings(name).from_config(config)

    @classmethod
    @cache
    def all_settings(cls, likelihood: str | None = None) -> type[Settings]:
        """The settings of the model together with those of a likelihood, by default its own; some models have no choice."""
        own = cls.settings_class
        if "likelihood" not in own.model_fields:
            return own
        chosen = likelihoods()[likelihood or own.model_fields["likelihood"].default]
        return type(f"{cls.__name__}Settings", (chosen.settings_class, own), {})

    @classmethod
    def check_new_users(cls, settings: Any, protocol: str) -> None:
        """Refuse a protocol that evaluates users who are not in training, where the model cannot score them.

        Args:
            settings: the model's.
            protocol: its name in ``eval_args``, for the message.

        Raises:
            NotApplicableError: it cannot; the message says why.
        """

    @property
    def beta(self) -> float | None:
        """The weight of the KL term at the next update; None for a model without this term."""
        return None

    @cached_property
    def trained_on(self) -> TrainedOn:
        """The data of the training, of which the clicks, and the ratings that the model reads, are those of its history."""
        offsets, columns, values = self.history.offsets, self.history.columns, self.history.values
        read = None if values is None else values.cpu().numpy()
        whole = digest(offsets.cpu().numpy(), columns.cpu().numpy(), read)
        return TrainedOn(self.user_tokens, self.item_tokens, len(columns), whole, values is not None)

    def sparse_parameters(self) -> list[nn.Parameter]:
        """The tables whose gradients are sparse, for RecBole's ``learner: sparse_adam``."""
        return []

    def histories(self, interaction: Any) -> tuple[Tensor, ...]:
        """The history of the users of a batch.

        The evaluation loader may hand it over with the batch. Otherwise it is the users' training history.
        """
        given = getattr(interaction, "histories", None)
        return self.history(interaction[self.USER_ID]) if given is None else given

    def forward(self, *history: Tensor) -> Tensor:
        """The scores of every item, [B, I], for a history."""
        raise NotImplementedError

    def score_into(self, *history: Tensor, scores: Tensor) -> None:
        """Write the scores of every item into ``scores``, [B, I], for a history.

        The caller owns the memory of ``scores``, and reuses it from batch to batch.
        """
        raise NotImplementedError

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Score every item for each user. Returns the scores, [users * n_items], in RecBole's order of ids."""
        return self._with_padding(self(*self.histories(interaction))).view(-1)

    @torch.no_grad()
    def score_histories(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """Score every item for people who need not be in the data set.

        Args:
            histories: for each person, RecBole item ids; padding and repeats are ignored.

        Returns:
            Scores, [len(histories), n_items], in evaluation mode.

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
    def _with_padding(scores: Tensor) -> Tensor:
        # The lowest finite number: never recommended, and never NaN or infinite in what the caller does with it.
        return nn.functional.pad(scores, (1, 0), value=torch.finfo(scores.dtype).min)

    def spec(self) -> dict[str, Any]:
        """The description of the model in inference, from which ``multvae-export`` builds it: plain numbers and strings."""
        raise NotImplementedError

    def attach_loader(self, train_data: Any) -> None:
        """Count the updates of an epoch, and save and restore the order of users with the model.

        The trainer calls this before training.
        """
        self.updates_per_epoch = len(train_data)
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
            **self.trained_on.saved(),
            "update": self.update,
            "generator": self.generator.get_state(),
            "order": None if self._order is None else self._order.get_state(),
        }

    def load_other_parameter(self, para: dict[str, Any] | None) -> None:
        """RecBole's hook: take up what :meth:`other_parameter` saved.

        Raises:
            CheckpointError: a newer version of this package wrote the checkpoint.
            DataError: the checkpoint was trained on other users, items or clicks than the data set has.
        """
        if para is None:
            return
        if para["format_version"] > FORMAT_VERSION:
            raise CheckpointError(
                f"The checkpoint is of format {para['format_version']}, and this version knows up to {FORMAT_VERSION}: "
                "update recbole-multvae."
            )
        self.trained_on.check(self.dataset_name, para)
        self.update = para["update"]
        self.generator.set_state(para["generator"].cpu())
        if self.rank != 0:  # The noise of rank 0 goes on as it was; the others must not draw the same.
            drawn = torch.randint(2**62, (), generator=self.generator, device=self.device)
            self.generator.manual_seed(int(drawn) + self.rank)
        self._saved_order = None if para["order"] is None else para["order"].cpu()
