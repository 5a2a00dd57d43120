"""The inverse propensities of clicks: the weights of metrics that correct for what users could see.

A click is observed only where the user saw the item. Its propensity is the probability of that: known from the log of the
system that showed the items, as a column of the data, or estimated from popularity, as in

* Yang, Cui, Xuan, Wang, Belongie, Estrin: "Unbiased Offline Recommender Evaluation for Missing-Not-At-Random Implicit
  Feedback", RecSys 2018, where it is proportional to ``n_i ** ((gamma + 1) / 2)``, gamma between 1.5 and 3;
* Saito, Yaginuma, Nishino, Sakata, Nakata: "Unbiased Recommender Learning from Missing-Not-At-Random Implicit Feedback",
  WSDM 2020, where it is ``(n_i / max n) ** 0.5``, the default here;

with ``n_i`` the clicks on item i in training. An item without clicks counts as one with a single click.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.utils import FeatureSource
from scipy.sparse import csr_matrix

from recbole_multvae.config.run_settings import POPULARITY, RunSettings
from recbole_multvae.errors import ConfigurationError, DataError


class InversePropensities:
    """The weights of pairs of user and item, by the keys ``propensity``, ``propensity_exponent`` and ``propensity_clip``.

    Args:
        config: RecBole's.
        train: the data set of training.

    Raises:
        ConfigurationError: ``propensity`` is no loaded column of numbers.
        DataError: a value of the column is no probability.
    """

    def __init__(self, config: Any, train: Any) -> None:
        self._settings = RunSettings.from_config(config)
        self._of_items: np.ndarray | None = None
        self._of_pairs: csr_matrix | None = None
        field = self._settings.propensity
        if field == POPULARITY:
            counts = np.bincount(train.inter_feat[train.iid_field].numpy(), minlength=train.item_num)[1:]
            shares = np.maximum(counts, 1) / max(1, counts.max())
            self._of_items = self._weights(np.r_[1.0, shares**self._settings.propensity_exponent], train)
        elif train.item_feat is not None and field in train.item_feat:
            values = _numbers(train, train.item_feat, field)
            self._of_items = self._weights(np.r_[1.0, values[1:]], train)
        else:
            _numbers(train, train.inter_feat, field)

    def of_part(self, loader: Any) -> None:
        """Read the weights of the clicks of a validation or of a test, if they are those of single interactions.

        Args:
            loader: of the part.

        Raises:
            ConfigurationError: the lists are not one for each user.
            DataError: a value of the column is no probability.
        """
        if self._of_items is not None:
            return
        field, data = self._settings.propensity, loader.dataset
        if not isinstance(loader, FullSortEvalDataLoader) or hasattr(data, "sequences"):
            raise ConfigurationError(
                f"propensity={field!r} is a column of the interactions, which needs a test that ranks all items for each "
                "user: take eval_args mode full and a model that is not sequential, or a column of the items."
            )
        weights = self._weights(_numbers(data, data.inter_feat, field), data)
        users, items = (data.inter_feat[name].numpy() for name in (data.uid_field, data.iid_field))
        shape = (data.user_num, data.item_num)
        sums, counts = (csr_matrix((values, (users, items)), shape=shape) for values in (weights, np.ones(len(users))))
        sums.data /= counts.data  # The same entries in the same order: a pair that is there twice has the mean.
        self._of_pairs = sums

    def __call__(self, users: np.ndarray, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
        """The weights of clicks of the part, float64 [N].

        Args:
            users: of a batch, int64 [B]; with sampled items a batch has others.
            rows: the row in ``users`` of each click, int64 [N].
            items: the item of each click, int64 [N].
        """
        if self._of_pairs is None:
            assert self._of_items is not None
            return self._of_items[items]
        return np.asarray(self._of_pairs[users[rows], items], dtype=np.float64).ravel()

    def _weights(self, propensities: np.ndarray, data: Any) -> np.ndarray:
        """1 / max(propensity, propensity_clip)."""
        clipped = np.maximum(propensities, self._settings.propensity_clip)
        wrong = ~((propensities >= 0) & (propensities <= 1) & (clipped > 0))
        if wrong.any():
            raise DataError(
                f"The column {self._settings.propensity} of the data set {data.dataset_name} has "
                f"{propensities[wrong][0]:g}, and propensity reads probabilities above 0 and up to 1: correct the column; "
                "propensity_clip=0.01 takes small ones, and 0, as 0.01."
            )
        weights: np.ndarray = 1 / clipped
        return weights


def _numbers(data: Any, features: Any, field: str) -> np.ndarray:
    """A column of one number for each item or interaction, float64."""
    source = {FeatureSource.INTERACTION: "inter", FeatureSource.ITEM: "item"}.get(data.field2source.get(field), "")
    if field not in features or not source or data.field2type[field].value != "float":
        raise ConfigurationError(
            f"propensity={field!r} is not allowed: expected {POPULARITY}, or a column of numbers of the items or of the "
            f"interactions, which load_col loads, such as load_col={{'inter': ['user_id', 'item_id', {field!r}]}}."
        )
    return features[field].numpy().astype(np.float64).reshape(len(features), -1)[:, 0]
