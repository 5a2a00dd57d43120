"""The base of all models of the family: the adapter between RecBole and a model that scores the items for given clicks.

``B`` users in the batch, ``I`` items without the padding item, ``N`` clicks of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any, ClassVar

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from recbole_multvae.checkpoint import FORMAT_VERSION, check_format
from recbole_multvae.clicks import Clicks
from recbole_multvae.config.automatic import resolve_auto
from recbole_multvae.config.settings import RecommenderSettings, Settings
from recbole_multvae.data.cold_items import ColdItems
from recbole_multvae.data.csr import click_matrix
from recbole_multvae.data.loaders import ClickUserDataLoader
from recbole_multvae.data.memory import check_memory
from recbole_multvae.data.trained_on import TrainedOn, tokens
from recbole_multvae.data.training_clicks import TrainingClicks
from recbole_multvae.errors import ConfigurationError, DataError
from recbole_multvae.likelihoods import likelihoods


class ClickRecommender(GeneralRecommender):
    """A RecBole general recommender that scores every item for anyone whose clicks are known.

    A subclass sets ``settings_class`` and defines :meth:`forward`, :meth:`predict`, :meth:`calculate_loss` and
    :meth:`spec`. Methods that it overrides without a docstring are documented here.

    Attributes:
        training_clicks: the training data.
        update: number of training updates so far; saved, because the model may depend on it.
        updates_per_epoch: batches of the training loader; 0 until :meth:`attach_loader` counts them.
        generator: draws dropout masks and noise; its state is saved, so that a resumed run draws the same numbers as an
            unbroken one.
    """

    input_type = InputType.LISTWISE
    settings_class: ClassVar[type[RecommenderSettings]] = RecommenderSettings
    #: Why a training cannot go on from a checkpoint with other items, and what to do, as a clause; None where it can.
    no_warm_start: ClassVar[str | None] = "its layers are not those of an auto-encoder: take MultVAE, MultDAE or AutoRec"
    #: Why the weights of items cannot follow from their fields, and what to do, likewise.
    no_cold_items: ClassVar[str | None] = (
        "it has no weights of single items: take MultVAE, MultDAE, AutoRec, EDLAE or SparseEDLAE"
    )
    #: The loader of the training batches.
    training_loader: ClassVar[type[ClickUserDataLoader]] = ClickUserDataLoader
    #: DistributedDataParallel broadcasts buffers before every update; these never change.
    _ddp_params_and_buffers_to_ignore: ClassVar[tuple[str, ...]] = tuple(
        f"training_clicks.{name}" for name in ("offsets", "columns", "values")
    )

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        resolve_auto(config, dataset)  # For a script that splits the data itself, or under another configuration.
        self.settings = self.read_settings(config)
        self.training_clicks = TrainingClicks(self.training_matrix(dataset))
        self.cold_items: ColdItems | None = getattr(dataset, "cold_items", None)
        #: How many items, the first ones, training knows; no padding item is among them.
        self.n_trained = self.n_items - 1 - (self.cold_items.count if self.cold_items else 0)
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
        """The settings of the model and, if it has a choice of likelihoods, of its likelihood in one object.

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
        """The settings of the model and of a likelihood, by default the model's default; some models have no likelihoods."""
        settings = cls.settings_class
        if "likelihood" not in settings.model_fields:
            return settings
        chosen = likelihoods()[likelihood or settings.model_fields["likelihood"].default]
        return type(f"{cls.__name__}Settings", (chosen.settings_class, settings), {})

    @classmethod
    def no_histories_because(cls, settings: Any) -> str | None:
        """Why a model with these settings cannot score people from clicks alone, as a clause; None where it can."""
        return None

    @classmethod
    def dense_bytes(cls, n_users: int, n_items: int, n_clicks: int) -> int:
        """Bytes that training takes for matrices of all pairs of items; 0 for a model that has none.

        Args:
            n_users: without the padding user.
            n_items: without the padding item.
            n_clicks: the pairs of a user and an item in the training data.
        """
        return 0

    @staticmethod
    def training_matrix(dataset: Any, field: str | None = None) -> csr_matrix:
        """The training data, a row for each user, by RecBole's ids, [n_users, n_items].

        Args:
            dataset: the data set of training.
            field: a column of the interactions, such as the rating: the entries are its sums; None: the entries are the
                numbers of clicks.
        """
        return click_matrix(dataset, field)

    @property
    def title(self) -> str:
        """The name of the model for people."""
        return type(self).__name__

    @property
    def beta(self) -> float | None:
        """The weight of the KL term at the next update; None for a model without this term."""
        return None

    @cached_property
    def trained_on(self) -> TrainedOn:
        """The users, the items and the clicks of the training, with the ratings if the model reads them."""
        return TrainedOn.of_clicks(self.user_tokens, self.item_tokens, self.training_clicks.clicks)

    def sparse_parameters(self) -> list[nn.Parameter]:
        """The tables whose gradients are sparse, for RecBole's ``learner: sparse_adam``."""
        return []

    def histories(self, interaction: Any) -> Clicks:
        """The clicks by which the users of a batch are scored.

        The evaluation loader may pass them with the batch. Otherwise they are the users' clicks in training.
        """
        clicks: Clicks | None = getattr(interaction, "histories", None)
        return self.training_clicks(interaction[self.USER_ID]) if clicks is None else clicks

    def forward(self, clicks: Clicks) -> Tensor:
        """Score every item for each user. Returns [B, I]."""
        raise NotImplementedError

    @torch.no_grad()
    def score_into(self, clicks: Clicks, scores: Tensor) -> None:
        """Write the scores of :meth:`forward` into ``scores``, [B, I], whose memory the caller reuses for every batch."""
        scores.copy_(self(clicks))

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Score every item for each user. Returns the scores, [users * n_items], in RecBole's order of ids."""
        return self._with_padding(self(self.histories(interaction))).view(-1)

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
        training = self.training
        scores = self.eval()(Clicks.from_lists(rows, self.device))
        self.train(training)
        return self._with_padding(scores)

    @staticmethod
    def _with_padding(scores: Tensor) -> Tensor:
        # The lowest finite number: never recommended, and the caller's arithmetic does not make NaN or infinity of it.
        return nn.functional.pad(scores, (1, 0), value=torch.finfo(scores.dtype).min)

    def fill_cold_items(self) -> None:
        """Give the items that are unseen in training the weights that follow from those of the others.

        A closed form does this once, when it is computed.
        """

    def refit_keys(self) -> dict[str, Any]:
        """The configuration keys of a new training on more data that must differ for the model to be the same."""
        return {}

    def spec(self) -> dict[str, Any]:
        """The description from which ``multvae-export`` builds the model: plain numbers and strings."""
        raise NotImplementedError

    def attach_loader(self, train_data: Any) -> None:
        """Count the updates of an epoch, and save and restore the order of users with the model.

        The trainer calls this before training.

        Raises:
            TrainingError: the matrices of all pairs of items do not fit in memory.
        """
        if not self.update:
            self.check_memory()
        self.updates_per_epoch = len(train_data)
        self._order = train_data.generator
        if self._saved_order is not None:
            self._order.set_state(self._saved_order)
            self._saved_order = None

    def check_memory(self) -> None:
        """Refuse a training for which there is not enough memory.

        Raises:
            TrainingError: the matrices of all pairs of items do not fit.
        """
        n_items = self.n_items - 1
        if needed := self.dense_bytes(self.n_users - 1, n_items, len(self.training_clicks.columns)):
            check_memory(type(self).__name__, n_items, needed)

    def other_parameter(self) -> dict[str, Any]:
        """RecBole's hook: the values that its checkpoint holds besides the weights."""
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
        """RecBole's hook: restore the values of :meth:`other_parameter`.

        Raises:
            CheckpointError: a newer version of this package wrote the checkpoint.
            DataError: the checkpoint was trained on other users, items or clicks than those of the data set.
        """
        if para is None:
            return
        check_format(para["format_version"])
        self.trained_on.check(self.dataset_name, para)
        self.update = para["update"]
        self.generator.set_state(para["generator"].cpu())
        if self.rank != 0:  # Rank 0 continues from the saved state; the others must not draw the same numbers.
            drawn = torch.randint(2**62, (), generator=self.generator, device=self.device)
            self.generator.manual_seed(int(drawn) + self.rank)
        self._saved_order = None if para["order"] is None else para["order"].cpu()
