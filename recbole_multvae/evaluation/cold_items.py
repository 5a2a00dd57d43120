"""The test of the items that are unseen in training: only their clicks are relevant.

They are ranked in the whole catalogue, as they are recommended, and among themselves, which says how well their fields tell
them apart.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.evaluator import Evaluator
from recbole.evaluator.register import metric_information

from recbole_multvae.data.protocols.base import part
from recbole_multvae.evaluation.collector import RankingCollector
from recbole_multvae.evaluation.ranking import Ranker

#: The two rankings, as a report names them.
EVERYWHERE, AMONG = "among all items", "among themselves"


class ColdTest(NamedTuple):
    """The users whose clicks on unseen items are in the test, and the metrics of one ranking.

    Attributes:
        items: among which items the unseen ones are ranked.
        of: how many unseen items the catalogue has.
        users: the number of users.
        clicks: how many of their clicks are relevant.
        metrics: by name, those of ``metrics`` that read hits alone.
    """

    items: str
    of: int
    users: int
    clicks: int
    metrics: dict[str, float]


@torch.no_grad()
def test(experiment: Any) -> list[ColdTest]:
    """Rank the unseen items of the test in both ways; nothing without ``cold_items``, or without such clicks.

    Args:
        experiment: with a model of the family, trained, and the loaders of training and test.
    """
    model, loader = experiment.trainer.model, experiment.test_data
    if (cold := getattr(loader.dataset, "cold_items", None)) is None:
        return []
    first = model.n_items - cold.count
    config, clicks = _of_hits(experiment.config), _clicks_on(loader, first)
    if not config["metrics"] or not len(clicks):
        return []
    of_cold = type(loader)(config, clicks, loader._sampler, shuffle=False)
    model.eval()
    return [
        ColdTest(name, cold.count, len(of_cold.uid_list), len(clicks), _metrics(config, model, of_cold, lowest))
        for name, lowest in ((EVERYWHERE, 1), (AMONG, first))
    ]


def describe(tests: list[ColdTest]) -> str:
    """The two rankings as text, a line each."""
    found = tests[0]
    lines = [
        f"The test of the {found.of:,} items that are unseen in training, with {found.clicks:,} clicks of "
        f"{found.users:,} users:"
    ]
    return "\n".join([*lines, *(f"    {test.items}: {test.metrics}" for test in tests)])


def _of_hits(config: Any) -> Any:
    """The configuration with those metrics that read hits alone, in one process."""
    own = copy.copy(config)
    metrics = [name for name in config["metrics"] if metric_information[name.lower()] == ["rec.topk"]]
    own.final_config_dict = {**config.final_config_dict, "metrics": metrics, "single_spec": True}
    return own


def _clicks_on(loader: Any, first: int) -> Any:
    """The data set of a loader with the clicks on the items from an id on."""
    data = loader.dataset
    return part(data, np.flatnonzero(data.inter_feat[data.iid_field].numpy() >= first))


def _metrics(config: Any, model: Any, loader: Any, first: int) -> dict[str, float]:
    """The metrics of a ranking of the items from an id on."""
    collector, ranker = RankingCollector(config), Ranker(model, max(config["topk"]), first)
    for users, seen, *positives in loader:
        collector.eval_batch_collect(ranker(users.to(model.device), seen), users, *positives)
    return dict(Evaluator(config).evaluate(collector.get_data_struct()))
