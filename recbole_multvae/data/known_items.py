"""What a model knows before its training begins: the items, and the number of clicks, of ``warm_start``'s checkpoint.

The configuration holds the tokens of the items as the attribute ``known_items``. A checkpoint has the configuration, so the
data set gets the same items when it is read again, whether the first checkpoint still exists or not. The number of clicks is
the key ``warm_start_clicks`` of a closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from typing import Any

import numpy as np

from recbole_multvae.config.run_settings import RunSettings
from recbole_multvae.data.csr import distinct_clicks
from recbole_multvae.data.interaction_counts import amount
from recbole_multvae.errors import DataError

#: With this share of the clicks that the checkpoint has learned from, or more, the data are taken for all clicks so far.
GROWN = 0.5


def known_items(config: Any) -> list[str]:
    """The tokens of the items that the model knows, without padding; empty without ``warm_start``."""
    tokens: list[str] = vars(config).get("known_items", [])
    return tokens


def known_ids(dataset: Any) -> np.ndarray:
    """RecBole's ids of those known items that the data set has, int64."""
    ids = dataset.field2token_id[dataset.iid_field]
    return np.array([ids[token] for token in known_items(dataset.config) if token in ids], dtype=np.int64)


def remap(original: Callable[[Any], None], dataset: Any) -> None:
    """RecBole's ``Dataset._remap_ID_all``, which gives tokens their ids; then :func:`add_known_items`."""
    original(dataset)
    add_known_items(dataset)


def add_known_items(dataset: Any) -> None:
    """Give the known items that no file of the data set has an id after the others, unless ``vanished_items`` is drop.

    Args:
        dataset: RecBole's, whose tokens have just got their ids.

    Raises:
        DataError: the data set has none of the known items.
    """
    known, field = known_items(dataset.config), dataset.iid_field
    before, ids = dataset.field2id_token[field], dataset.field2token_id[field]
    vanished = [token for token in known if token not in ids]
    if known and len(vanished) == len(known):
        raise DataError(
            f"None of the {amount(len(before) - 1, 'item')} of the data set {dataset.dataset_name} is one of "
            f"warm_start={dataset.config['warm_start']!r}, as its first item is {before[1]!r} and the checkpoint's is "
            f"{known[0]!r}: name a checkpoint that was trained on items with the same names."
        )
    if not vanished or RunSettings.from_config(dataset.config).vanished_items == "drop":
        return
    tokens = np.concatenate([before, vanished])
    ids.update({token: item for item, token in enumerate(vanished, len(before))})
    for name, values in dataset.field2id_token.items():
        if values is before:  # Fields of alias_of_item_id have the same ids.
            dataset.field2id_token[name] = tokens
    getLogger().info(
        f"{amount(len(vanished), 'item')} of warm_start={dataset.config['warm_start']} stay in the catalogue, although the "
        "data set does not have them; vanished_items=drop leaves them out."
    )


def check_all_clicks(train: Any) -> None:
    """Refuse the clicks of a few days where a closed form, the member of a sum, is computed from the data set alone.

    Args:
        train: the data set of training.

    Raises:
        DataError: it has far fewer clicks than the checkpoint has learned from.
    """
    config, before = train.config, train.config["warm_start_clicks"]
    if before and (clicks := distinct_clicks(train).nnz) < GROWN * before:
        raise DataError(
            f"The data set {train.dataset_name} has {amount(clicks, 'click')} for training, and "
            f"warm_start={config['warm_start']!r} has learned from {before:,}: {config['model']} is computed from the data "
            "set alone and would forget the others, so take a data set of all clicks so far."
        )
