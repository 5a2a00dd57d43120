"""One split of a checkpoint's data set into training, validation and test, and RecBole's model made from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from recbole.utils import get_model, init_seed
from torch import Tensor

from recbole_multvae.data.trained_on import tokens
from recbole_multvae.errors import DataError, MultVAEError
from recbole_multvae.evaluation.revalidation import Revalidation
from recbole_multvae.rebuild.data import disable_pickle_caches, split_dataset

NAME_IT = "name the folder of the data it was trained on"


class Split:
    """A data set as RecBole reads and splits it with the configuration of a checkpoint.

    Args:
        checkpoint: the contents of a checkpoint, as RecBole's own objects.
        times: see :func:`.split_dataset`.

    Attributes:
        loaders: RecBole's, for training, validation and test.
        train: RecBole's data set for training.

    Raises:
        DataError: RecBole cannot use the data set.
    """

    def __init__(self, checkpoint: dict[str, Any], times: type[np.floating] = np.float64) -> None:
        self.checkpoint, self.config = checkpoint, checkpoint["config"]
        with self._recbole():
            self.loaders = split_dataset(self.config, times)
        self.train = self.loaders[0]._dataset

    @contextmanager
    def _recbole(self) -> Iterator[None]:
        """RecBole with the configuration of the checkpoint. Whatever fails in RecBole becomes one sentence."""
        with disable_pickle_caches(self.config):
            try:
                yield
            except MultVAEError:
                raise
            # RecBole fails in many ways on a configuration or weights that do not fit the data.
            except Exception as error:
                reason = str(error).strip().split("\n")[0] or type(error).__name__
                raise DataError(f"RecBole cannot use {self.where}: {reason}") from error

    @property
    def where(self) -> str:
        """The data set and its folder, for a sentence."""
        return f"the data set {self.config['dataset']} in {self.config['data_path']}"

    def refused(self, difference: str, advice: str = NAME_IT) -> DataError:
        """The error for a data set that is another one. ``difference`` is a clause about "it", the data set."""
        return DataError(f"{self.where} is not the one that the checkpoint was trained on, as {difference}: {advice}.")

    def tokens(self, field: str) -> list[str]:
        """The tokens of a field in order of RecBole's ids, the padding token first."""
        return tokens(self.train, field)

    def training(self) -> tuple[np.ndarray, np.ndarray]:
        """The users and the items of the training clicks, int64 [N] each."""
        columns = (self.train.inter_feat[field] for field in (self.train.uid_field, self.train.iid_field))
        users, items = (column.numpy().astype(np.int64) for column in columns)
        return users, items

    def clicks(self) -> Any:
        """The training clicks as a matrix of scipy.sparse, [users, items]. Repeated clicks add up."""
        return self.train.inter_matrix(form="csr")

    def batch_counts(self) -> Tensor:
        """How many batches of the first epoch each item is in, int64 [items]: what Pop learns in RecBole's own script."""
        counts = torch.zeros(self.train.item_num, dtype=torch.long)
        for batch in self.loaders[0]:
            counts[batch[self.train.iid_field].unique()] += 1
        return counts

    @cached_property
    def model(self) -> Any:
        """The model of :meth:`make_model`, made once: some models take long."""
        return self.make_model()

    def make_model(self) -> Any:
        """RecBole's model, made from the training data, with the weights of the checkpoint, in evaluation mode.

        Raises:
            DataError: the data set has other numbers of users and items than the checkpoint, or RecBole cannot make it.
        """
        weights = self.checkpoint["state_dict"]
        with self._recbole():
            init_seed(self.config["seed"], self.config["reproducibility"])
            model = get_model(self.config["model"])(self.config, self.train)
            for name, parameter in model.state_dict().items():
                if name in weights and weights[name].shape != parameter.shape:
                    raise self.refused(self._other_sizes(name, parameter.shape, weights[name].shape))
            model.load_state_dict(weights)
            model.load_other_parameter(self.checkpoint.get("other_parameter"))
            return model.eval()

    def _other_sizes(self, name: str, expected: torch.Size, saved: torch.Size) -> str:
        sizes = f"it has {self.train.user_num - 1} users and {self.train.item_num - 1} items"
        return f"{sizes}, for which the weights {name} are {list(expected)} and not {list(saved)}"

    def validation(self) -> float | None:
        """The score of the model on the validation part, as RecBole's ``Trainer`` computes it; None where it cannot be."""
        model = self.model
        with self._recbole():
            return Revalidation(self.config, model, self.loaders[0]).score(self.loaders[1])
