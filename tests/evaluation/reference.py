"""The formulas that RecBole documents for its metrics, in NumPy, from scores and interactions alone.

They follow the docstrings of ``recbole/evaluator/metrics.py`` (RecBole 1.2.1) letter by letter, user by user, and share no
code with RecBole or with the package: :func:`reference` for metrics of a ranking, :func:`reference_of_pairs` for those of a
labeled evaluation. Where a docstring leaves something open, the function that fills the gap says how.

``U`` users, ``I`` items without the padding item: RecBole's item id ``i`` has column ``i - 1``. Users without an item to be
found are not of the test, and are left out here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Test(NamedTuple):
    """A test: the items recommended to its users, and the relevant ones.

    Attributes:
        lists: the columns of the items recommended to each user, best first, k at most.
        positives: whether an item is relevant, bool [U, I].
        counts: the records of each item in training, int [I].
        k: the length at which a list is cut.
        tail_ratio: RecBole's key.
        trained: whether a user clicked an item in training, bool [users of training, I].
        propensities: of clicks, float [U, I].
    """

    __test__ = False  # For pytest, which takes the name for that of a test.

    lists: list[np.ndarray]
    positives: np.ndarray
    counts: np.ndarray
    k: int
    tail_ratio: float
    trained: np.ndarray
    propensities: np.ndarray

    def over_users(self, of_user: Callable[[np.ndarray, np.ndarray], float]) -> float:
        """The mean over users of a function of hits, bool [length of the list], and positives, bool [I]."""
        rows = zip(self.lists, self.positives, strict=True)
        return float(np.mean([of_user(positives[items], positives) for items, positives in rows]))

    def times(self) -> np.ndarray:
        """How often each item of the catalogue is in a list, int [I]."""
        return np.bincount(np.concatenate(self.lists), minlength=len(self.counts))


def masked_as_by_recbole(seen: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """The items that are not recommended: those of the phases before which are not relevant again; bool [U, I]."""
    return seen & ~positives


def ranked(scores: np.ndarray, masked: np.ndarray, k: int) -> list[np.ndarray]:
    """The k best items of each user, fewer where fewer are not masked; of equal scores the lower item id comes first."""
    lists = []
    for of_items, not_ranked in zip(scores, masked, strict=True):
        order = np.argsort(-of_items, kind="stable")
        lists.append(order[~not_ranked[order]][:k])
    return lists


def reference(
    name: str, scores: np.ndarray, masked: np.ndarray, positives: np.ndarray, train_counts: np.ndarray, trained: np.ndarray,
    k: int, tail_ratio: float = 0.1, lists: list[np.ndarray] | None = None, propensities: np.ndarray | None = None,
) -> float:  # fmt: skip
    """The value of a metric of a ranking, by RecBole's name for it in any case, or ``CappedRecall``.

    Args:
        name: a key of :data:`OF_RANKINGS`.
        scores: the model's, float [U, I].
        masked: what is not recommended, bool [U, I]: see :func:`masked_as_by_recbole`.
        positives: the relevant items, bool [U, I].
        train_counts: the records of each item in training, int [I].
        trained: whether a user clicked an item in training, bool [U, I].
        k: the place at which the lists are cut; GAUC does not read it.
        tail_ratio: RecBole's key, for TailPercentage.
        lists: the lists of all users in the order of ``scores``, where equal scores leave a choice; None ranks.
        propensities: of the clicks, float [U, I]; None: by popularity, see :func:`by_popularity`.
    """
    of_test = positives.any(axis=1)
    scores, masked, positives = scores[of_test], masked[of_test], positives[of_test]
    if name.lower() == "gauc":
        return gauc(scores, masked, positives)
    chosen = ranked(scores, masked, k) if lists is None else [lists[row][:k] for row in np.flatnonzero(of_test)]
    propensities = np.tile(by_popularity(train_counts), (len(scores), 1)) if propensities is None else propensities[of_test]
    return OF_RANKINGS[name.lower()](Test(chosen, positives, train_counts, k, tail_ratio, trained, propensities))


def reference_of_pairs(name: str, predictions: np.ndarray, labels: np.ndarray) -> float:
    """The value of a metric of a labeled evaluation, by RecBole's name: predictions and labels, float [S] each."""
    return OF_PAIRS[name.lower()](np.asarray(predictions, np.float64), np.asarray(labels, np.float64))


def hit(test: Test) -> float:
    return test.over_users(lambda hits, _: float(hits.any()))


def mrr(test: Test) -> float:
    return test.over_users(lambda hits, _: 1 / (1 + np.flatnonzero(hits)[0]) if hits.any() else 0.0)


def _precisions(hits: np.ndarray) -> np.ndarray:
    return hits.cumsum() / np.arange(1, len(hits) + 1)


def average_precision(test: Test) -> float:
    """As the note in RecBole's docstring and the page that it names have it: over min(|R(u)|, K)."""
    return test.over_users(lambda hits, positives: (hits * _precisions(hits)).sum() / min(positives.sum(), test.k))


def average_precision_as_printed(test: Test) -> float:
    """As RecBole's formula is printed, with a hat on R: over min(|R^(u)|, K), which is the length of the list."""
    return test.over_users(lambda hits, _: (hits * _precisions(hits)).sum() / min(len(hits), test.k))


def recall(test: Test) -> float:
    return test.over_users(lambda hits, positives: hits.sum() / positives.sum())


def capped_recall(test: Test) -> float:
    """Liang et al., WWW 2018, section 4.2."""
    return test.over_users(lambda hits, positives: hits.sum() / min(test.k, positives.sum()))


def ndcg(test: Test) -> float:
    gains = 1 / np.log2(np.arange(1, test.k + 1) + 1)

    def of_user(hits: np.ndarray, positives: np.ndarray) -> float:
        return (hits * gains[: len(hits)]).sum() / gains[: min(positives.sum(), test.k)].sum()

    return test.over_users(of_user)


def precision(test: Test) -> float:
    """Over the K places of a list, as everywhere in the field, also where a user has fewer items left."""
    return test.over_users(lambda hits, _: hits.sum() / test.k)


def item_coverage(test: Test) -> float:
    return len(set(np.concatenate(test.lists).tolist())) / len(test.counts)


def average_popularity(test: Test) -> float:
    return float(np.mean([test.counts[items].sum() / len(items) for items in test.lists]))


def shannon_entropy(test: Test) -> float:
    """With the natural logarithm, and 0 log 0 = 0."""
    shares = test.times() / sum(map(len, test.lists))
    return -sum(share * np.log(share) for share in shares if share > 0)


def gini_index(test: Test) -> float:
    times, n_items = np.sort(test.times()), len(test.counts)
    above = sum((2 * i - n_items - 1) * times[i - 1] for i in range(1, n_items + 1))
    return float(above / (n_items * times.sum()))


def tail_percentage(test: Test) -> float:
    """The tail is a part of the items of training: the share with the fewest records, rounded down, at least one item, and
    of equal ones the lower ids first; or, above 1, the items with at most that many records."""
    in_training = np.flatnonzero(test.counts)
    if test.tail_ratio > 1:
        tail = in_training[test.counts[in_training] <= test.tail_ratio]
    else:
        rarest_first = in_training[np.argsort(test.counts[in_training], kind="stable")]
        tail = rarest_first[: max(1, int(len(in_training) * test.tail_ratio))]
    return float(np.mean([np.isin(items, tail).sum() / len(items) for items in test.lists]))


def by_popularity(counts: np.ndarray, exponent: float = 0.5) -> np.ndarray:
    """Saito et al., WSDM 2020, section 5: (n_i / max n) ^ exponent. An item without clicks counts as one with one click."""
    return (np.maximum(counts, 1) / counts.max()) ** exponent


def _weighted(test: Test, value: Callable[[int], float], normalised: bool) -> float:
    """The mean over users of the sum of value(Z) / propensity over the relevant items, Z being an item's place in the list.

    Yang et al., RecSys 2018: divided by the sum of 1 / propensity over the relevant items if it is self-normalised.
    """
    users = []
    for items, positives, propensities in zip(test.lists, test.positives, test.propensities, strict=True):
        places = {item: place for place, item in enumerate(items.tolist(), 1)}
        relevant = np.flatnonzero(positives).tolist()
        total = sum(value(places[item]) / propensities[item] for item in relevant if item in places)
        users.append(total / sum(1 / propensities[item] for item in relevant) if normalised else total)
    return float(np.mean(users))


def ips_precision(test: Test) -> float:
    return _weighted(test, lambda place: 1 / test.k, False)


def ips_dcg(test: Test) -> float:
    return _weighted(test, lambda place: 1 / np.log2(place + 1), False)


def snips_recall(test: Test) -> float:
    return _weighted(test, lambda place: 1, True)


def snips_dcg(test: Test) -> float:
    return _weighted(test, lambda place: 1 / np.log2(place + 1), True)


def distance_of_clicks(trained: np.ndarray, item: int, other: int) -> float:
    """1 - cosine of the users who clicked two items; 1 if nobody clicked one of them."""
    one, two = (trained[:, number].astype(float) for number in (item, other))
    return 1 - one @ two / np.sqrt((one @ one) * (two @ two)) if one.any() and two.any() else 1.0


def intra_list_diversity(test: Test) -> float:
    def of_list(items: np.ndarray) -> float:
        pairs = list(itertools.combinations(items.tolist(), 2))
        return float(np.mean([distance_of_clicks(test.trained, *pair) for pair in pairs])) if pairs else 0.0

    return float(np.mean([of_list(items) for items in test.lists]))


def novelty(test: Test) -> float:
    """An item that nobody clicked in training counts as one that a single user clicked."""
    shares = np.maximum(test.trained.sum(axis=0), 1) / len(test.trained)
    return float(np.mean([-np.log2(shares[items]).sum() / max(1, len(items)) for items in test.lists]))


def _descending_ranks(scores: np.ndarray) -> np.ndarray:
    """1 for the best; equal scores have the mean of their ranks, so that a pair of them counts one half."""
    return np.array([(scores > score).sum() + ((scores == score).sum() + 1) / 2 for score in scores])


def _area(scores: np.ndarray, positive: np.ndarray) -> float:
    """RecBole's formula of AUC, from descending ranks."""
    n, m = len(scores), int(positive.sum())
    return (m * (n + 1) - m * (m + 1) / 2 - _descending_ranks(scores)[positive].sum()) / (m * (n - m))


def gauc(scores: np.ndarray, masked: np.ndarray, positives: np.ndarray) -> float:
    """Users whose items are all relevant have no AUC, and are left out."""
    areas, weights = [], []
    for of_items, not_ranked, to_find in zip(scores, masked, positives, strict=True):
        if (to_find := to_find[~not_ranked]).all():
            continue
        areas.append(_area(of_items[~not_ranked], to_find))
        weights.append(to_find.sum())
    return float(np.average(areas, weights=weights))


def auc(predictions: np.ndarray, labels: np.ndarray) -> float:
    return _area(predictions, labels == 1)


def mae(predictions: np.ndarray, labels: np.ndarray) -> float:
    return float(np.abs(predictions - labels).mean())


def rmse(predictions: np.ndarray, labels: np.ndarray) -> float:
    return float(np.sqrt(((predictions - labels) ** 2).mean()))


def log_loss(predictions: np.ndarray, labels: np.ndarray) -> float:
    return float(-(labels * np.log(predictions) + (1 - labels) * np.log(1 - predictions)).mean())


#: By RecBole's names in lower case; GAUC is a ranking's too, and reads whole rows of scores.
OF_RANKINGS: dict[str, Callable[[Test], float]] = {
    "hit": hit, "mrr": mrr, "map": average_precision, "recall": recall, "ndcg": ndcg, "precision": precision,
    "cappedrecall": capped_recall, "itemcoverage": item_coverage, "averagepopularity": average_popularity,
    "shannonentropy": shannon_entropy, "giniindex": gini_index, "tailpercentage": tail_percentage,
    "ipsprecision": ips_precision, "ipsdcg": ips_dcg, "snipsrecall": snips_recall, "snipsdcg": snips_dcg,
    "intralistdiversity": intra_list_diversity, "novelty": novelty,
}  # fmt: skip
OF_PAIRS = {"auc": auc, "mae": mae, "rmse": rmse, "logloss": log_loss}
