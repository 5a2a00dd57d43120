"""``cold_items: features``: items that are unseen in training stay in the data, and their weights follow from their fields.

A ridge regression from the fields of the data set's ``.item`` file to the trained weights of the items gives the weights of
the others. It is the exporter's, of ``multvae-export --add-items``. Source: Gantner et al., "Learning Attribute-to-Feature
Mappings for Cold-Start Recommendations", ICDM 2010.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from multvae_export.errors import ExportError
from multvae_export.features.encoding import encode
from multvae_export.features.item_file import ItemFile
from multvae_export.features.pairs import pairs_of_new
from multvae_export.features.regression import Regression, weights_of
from multvae_export.histories import Layout
from torch import Tensor

from recbole_multvae.config.run_settings import RunSettings
from recbole_multvae.data.known_items import known_ids
from recbole_multvae.errors import ConfigurationError, DataError

_ASKED = "cold_items='features'"
_OF_RECBOLE = "it is RecBole's: take one of this package, such as MultVAE, EDLAE or SparseEDLAE"


@dataclass(frozen=True)
class ColdItems:
    """The items of a data set that are unseen in training and have fields. Their ids come after those of all others.

    Attributes:
        count: how many they are.
        fields: what tells them apart.
        regression: from the fields to weights.
    """

    count: int
    fields: tuple[str, ...]
    regression: Regression

    def rows(self, table: Tensor) -> Tensor:
        """Their rows, float32 [count, d], for a table of all other items, [I, d], which may be sparse."""
        return self.regression.rows(table.cpu()).to(table.device)

    def pairs(self, own: Tensor) -> Tensor:
        """The entries that they add to a sparse matrix of all other items, [I, I]: see :func:`.pairs_of_new`."""
        return pairs_of_new(own, self.rows)


def asked(config: Any) -> bool:
    """Whether a configuration keeps items that are unseen in training."""
    return RunSettings.from_config(config).cold_items == "features"


def check_cold_items(keys: Mapping[str, Any], model_class: Any, protocol: Any) -> None:
    """Refuse ``cold_items: features`` where it cannot be done.

    Args:
        keys: of the configuration.
        model_class: of the model that will be trained.
        protocol: the class of the protocol; None: RecBole's own split.

    Raises:
        ConfigurationError: the split is not GT, or the weights of the model's items cannot follow from fields.
    """
    if not asked(keys):
        return
    if getattr(protocol, "name", None) != "GT":
        raise ConfigurationError(
            f"{_ASKED} is for eval_args split GT, where time decides which items are unseen in training, and this run has "
            f"split={keys['eval_args'].get('split')!r}: take split GT, or leave it out."
        )
    if because := getattr(model_class, "no_cold_items", _OF_RECBOLE):
        raise ConfigurationError(f"{_ASKED} is not for {model_class.__name__}, as {because}.")


def find_cold_items(dataset: Any, trained: np.ndarray) -> tuple[np.ndarray, ColdItems | None]:
    """The items that no interaction of training has, and whose weights can follow from their fields.

    Args:
        dataset: RecBole's, with all interactions.
        trained: those of training, bool [interactions].

    Returns:
        Their ids in the data set, int64, and what gives them weights; None if there are none.

    Raises:
        DataError: there is no ``.item`` file, it is damaged, or its fields say nothing.
    """
    if not asked(dataset.config):
        return np.zeros(0, np.int64), None
    try:
        return _find(dataset, trained)
    except ExportError as error:
        raise DataError(f"{_ASKED} reads the fields of the items, and {error}") from error


def _find(dataset: Any, trained: np.ndarray) -> tuple[np.ndarray, ColdItems | None]:
    file, tokens, clicks = _item_file(dataset), dataset.field2id_token[dataset.iid_field], _clicks(dataset, trained)
    in_file = np.isin(tokens, file.tokens)
    seen = clicks > 0
    seen[known_ids(dataset)] = True
    seen[0] = in_file[0] = False  # RecBole's padding item.
    cold = np.array(sorted(np.flatnonzero(~seen & in_file), key=lambda item: tokens[item]), dtype=np.int64)
    if not len(cold):
        return cold, None
    # The id may decide between equal scores, and the order of a file often tells which items will be clicked most.
    cold = np.random.default_rng(0).permutation(cold)
    order = {token: row for row, token in enumerate(tokens[seen])}
    weights = weights_of(clicks[seen], in_file[seen])
    if not weights.any():
        raise DataError(
            f"{_ASKED} learns from the items of training, and none of them is in {file.path}, such as {tokens[seen][0]!r}: "
            "expected a line for each item."
        )
    encoded = encode(file, file.only(tokens[cold]), order, weights)
    known = np.flatnonzero(encoded.known)
    if not len(known):
        return cold[:0], None
    encoded = replace(encoded, new=encoded.new.index_select(0, torch.from_numpy(known)).coalesce())
    return cold[known], ColdItems(len(known), encoded.names, Regression(encoded, weights))


def _clicks(dataset: Any, trained: np.ndarray) -> np.ndarray:
    """The users who clicked each item in training, int64 [n_items]."""
    users, items = (dataset.inter_feat[field].numpy()[trained] for field in (dataset.uid_field, dataset.iid_field))
    pairs = np.unique(users.astype(np.int64) * dataset.item_num + items)
    return np.bincount(pairs % dataset.item_num, minlength=dataset.item_num)


def _item_file(dataset: Any) -> ItemFile:
    """The fields that ``load_col`` names for the items; all of the file where it names none."""
    config = dataset.config
    path = Path(config["data_path"], f"{config['dataset']}.item")
    if not path.is_file():
        raise DataError(
            f"{_ASKED} reads the fields of the items, and there is no file {path}: write one with a line for each item, or "
            "leave it out."
        )
    loaded = (config["load_col"] or {}).get("item")
    names = [name for name in loaded if name != dataset.iid_field] if isinstance(loaded, list) else None
    return ItemFile.read(path, Layout.of(config.final_config_dict), names)
