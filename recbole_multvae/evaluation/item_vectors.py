"""A vector for each item, whose products are the similarities of items: by clicks, or by a feature."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from recbole.utils import FeatureType
from scipy.sparse import csr_matrix

from recbole_multvae.config.run_settings import CLICKS, RunSettings
from recbole_multvae.data.csr import distinct_clicks
from recbole_multvae.errors import ConfigurationError

#: The types of columns that have a direction: a single number has none.
TYPES = (FeatureType.TOKEN, FeatureType.TOKEN_SEQ, FeatureType.FLOAT_SEQ)


def item_vectors(config: Any, train: Any) -> csr_matrix:
    """The vectors that the key ``diversity_of`` names, of length 1, or 0 for an item without clicks or values.

    Args:
        config: RecBole's.
        train: the data set of training.

    Returns:
        float64 [I, number of users or of values], with a row of zeros for RecBole's padding item.

    Raises:
        ConfigurationError: ``diversity_of`` is no loaded column of the items.
    """
    field = RunSettings.from_config(config).diversity_of
    vectors = distinct_clicks(train).T.tocsr() if field == CLICKS else _of_feature(train, field)
    vectors = csr_matrix(vectors, dtype=np.float64)
    lengths = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
    return csr_matrix(scipy.sparse.diags(1 / np.where(lengths > 0, lengths, 1)) @ vectors)


def _of_feature(data: Any, field: str) -> csr_matrix:
    items = data.item_feat
    if items is None or field not in items or field == data.iid_field or data.field2type[field] not in TYPES:
        raise ConfigurationError(
            f"diversity_of={field!r} is not allowed: expected {CLICKS}, or a column of the items of type "
            f"{', '.join(kind.value for kind in TYPES)}, which load_col loads, such as load_col={{'item': ['item_id', "
            f"{field!r}]}}."
        )
    values = items[field].numpy().reshape(len(items), -1)
    if data.field2type[field] == FeatureType.FLOAT_SEQ:
        return csr_matrix(values)
    rows, places = np.nonzero(values)  # 0 is padding.
    ones = np.ones(len(rows))
    counts = csr_matrix((ones, (rows, values[rows, places])), shape=(len(items), int(values.max()) + 1))
    counts.data[:] = 1  # A value that is there twice counts once.
    return counts
