"""The parts of a data set: how it is split, and what the parts need before anything reads them."""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from typing import Any

from recbole.data.dataset import Dataset, SequentialDataset
from recbole.utils import init_seed

from recbole_multvae.config.run_settings import RunSettings
from recbole_multvae.data import exact_times, interaction_counts
from recbole_multvae.data.click_order import click_order, reads_order
from recbole_multvae.data.known_items import check_all_clicks
from recbole_multvae.data.merging import merge
from recbole_multvae.data.protocols import chosen
from recbole_multvae.data.protocols.base import Protocol
from recbole_multvae.data.sequences import as_sequences


def build(original: Callable[[Any], list[Any]], dataset: Any) -> list[Any]:
    """RecBole's ``Dataset.build`` with this package's protocols and keys.

    Args:
        original: RecBole's.
        dataset: the whole data set.

    Returns:
        The data sets for training, validation and test.

    Raises:
        DataError: see :func:`.check_all_clicks`.
    """
    settings, protocol = RunSettings.from_config(dataset.config), chosen(dataset.config)
    if settings.split_seed is not None:
        init_seed(settings.split_seed, dataset.config["reproducibility"])
    parts = original(dataset) if protocol is None else _split(protocol, dataset)
    interaction_counts.log_parts(parts)
    check_all_clicks(parts[0])
    if settings.refit:
        parts = merge(parts)
        getLogger().info(f"refit=True: training and validation are one part of {len(parts[0]):,} interactions.")
    if not hasattr(parts[0], "first_clicks"):  # Sequences have them already.
        parts[0].first_clicks = exact_times.first_clicks(parts[0])
    if reads_order(dataset.config):
        parts[0].click_order = click_order(parts[0])
    exact_times.to_float32([dataset, *parts])
    return parts


def _split(protocol: type[Protocol], dataset: Any) -> list[Any]:
    Dataset._change_feat_format(dataset)  # The base's: histories for sequential models are made after the split.
    dataset._drop_unused_col()
    parts = protocol().split(dataset, dataset.config["eval_args"]["split"][protocol.name])
    return as_sequences(dataset, parts) if isinstance(dataset, SequentialDataset) else parts
