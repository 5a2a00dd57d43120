"""A trained model with items that nobody has clicked yet, as ``multvae-export --add-items`` writes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from multvae_export.architectures.base import HistoryModel
from multvae_export.checkpoint import contents
from multvae_export.errors import ExportError
from multvae_export.histories import padded
from multvae_export.new_items import Extended, NewItems
from multvae_export.ranking import multi_hot
from multvae_export.trained_model import model_of
from torch import Tensor

from recbole_multvae.errors import DataError


class WithNewItems:
    """Scores as :meth:`..models.ClickRecommender.score_histories` does, and those of new items after them.

    Attributes:
        title: the name of the model.
        item_tokens: in order of the ids; the padding item's first, those of new items last.
    """

    def __init__(self, path: str, title: str, file: str, fields: str | None, dataset_path: str) -> None:
        """Read the model again, with new items.

        Args:
            path: a checkpoint of a model that reads a history.
            title: its name.
            file: an ``.item`` file of the new items.
            fields: those to compare, with commas between; None: all of the file.
            dataset_path: the folder of the data set.

        Raises:
            DataError: the new items do not fit the model or the data set.
        """
        try:
            new, checkpoint = NewItems.named(file, fields, None), contents.load(path)
            assert new
            model = Extended.of(model_of(checkpoint), checkpoint, new, dataset_path).model
        except ExportError as error:
            raise DataError(str(error)) from error
        assert isinstance(model.architecture, HistoryModel)  # As all models of the family.
        self.title, self.item_tokens, self._architecture = title, list(model.tokens), model.architecture

    @torch.no_grad()
    def score_histories(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """The scores of all items for histories of item ids, float32 [B, C]."""
        rows = torch.from_numpy(padded([np.array(history, np.int64) for history in histories]))
        scores = self._architecture.logits(multi_hot(rows, len(self.item_tokens)))
        scores[:, 0] = torch.finfo(scores.dtype).min
        return scores
