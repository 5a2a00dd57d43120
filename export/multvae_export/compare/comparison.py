"""The comparison of two files: everything that a report says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from multvae_export.compare.clicks import Items, Test
from multvae_export.compare.measure import Paired, gains, overlaps, shares
from multvae_export.compare.model_file import ModelFile
from multvae_export.errors import OptionError

#: How many items are named as examples, and how many of the largest movers.
EXAMPLES, MOVERS = 5, 10


@dataclass(frozen=True)
class Side:
    """One of the two files.

    Attributes:
        file: its path.
        identity, test_metrics: what its metadata say, see :class:`.ModelFile`.
        items: the size of its catalogue.
        unknown_clicks: the share of the clicks of the histories file whose item it does not know.
        coverage: the share of its catalogue that is in a list at least.
    """

    file: str
    identity: dict[str, str]
    test_metrics: dict[str, float]
    items: int
    unknown_clicks: float
    coverage: float


@dataclass(frozen=True)
class Some:
    """How many items, and the tokens of the first of them."""

    count: int
    examples: list[str]


@dataclass(frozen=True)
class Mover:
    """An item, and the share of the old file's lists and of the new file's that it is in."""

    item: str
    old: float
    new: float


@dataclass(frozen=True)
class Relevant:
    """Which items were to be found: see :class:`.clicks.Test`; ``items`` is how many."""

    order: str
    users: int
    items: int
    left_out: int
    only_old: int
    only_new: int
    repeated: int
    new_users: int


@dataclass(frozen=True)
class Overlap:
    """The mean over the histories of the share that two lists have in common, and what a tenth of them has at most."""

    mean: float
    lowest_tenth: float


@dataclass(frozen=True)
class Comparison:
    """Two files on the same histories; ``ndcg`` and ``recall``, at k, are None where no item is relevant."""

    k: int
    ids: bool
    histories: int
    old: Side
    new: Side
    kept: int
    added: Some
    removed: Some
    overlap: Overlap
    relevant: Relevant
    ndcg: Paired | None
    recall: Paired | None
    movers: list[Mover]


def open_files(old: str, new: str) -> tuple[ModelFile, ModelFile]:
    """The two files.

    Raises:
        NotAnExportError: a file cannot be used.
        OptionError: they cannot be compared: their items have nothing in common.
    """
    first, second = files = ModelFile(old), ModelFile(new)
    if first.io != second.io:
        raise OptionError(f"{old} is of --io={first.io} and {new} of --io={second.io}: export both with --io=tokens.")
    digests = [file.identity.get("item_tokens_sha256") for file in files]
    if first.io == "ids" and digests[0] != digests[1]:
        raise OptionError(f"the ids of {old} and {new} stand for different items: export both with --io=tokens.")
    if set(first.tokens).isdisjoint(second.tokens):
        raise OptionError(
            f"{old} and {new} have no item in common, such as {first.tokens[0]!r} and {second.tokens[0]!r}: "
            "expected models of one shop."
        )
    return files


def compare(
    files: tuple[ModelFile, ModelFile], items: Items, test: Test, k: int, progress: Callable[[str], None] = lambda text: None
) -> Comparison:
    """Rank every history with both files, one after the other, and compare.

    Args:
        files: the old and the new one, of :func:`open_files`.
        items: of both.
        test: the histories, and what is to be found.
        k: the length of the lists.
        progress: called with a sentence before each file.
    """
    lists = []
    for file in files:
        progress(f"Ranking {len(test.histories):,} histories with {file.path}")
        lists.append(file.best(test.histories, items.tokens, k))
    of_users = [gains(part, test.relevant, k) for part in lists]
    ndcg, recall = (Paired.of(*values) if test.users else None for values in zip(*of_users, strict=True))
    old_shares, new_shares = (shares(part, len(items.numbers)) for part in lists)
    old_tokens, new_tokens = (set(file.tokens) for file in files)
    in_common = overlaps(*lists)
    return Comparison(
        k=k,
        ids=files[0].io == "ids",
        histories=len(test.histories),
        old=_side(files[0], test.unknown[0], old_shares),
        new=_side(files[1], test.unknown[1], new_shares),
        kept=len(old_tokens & new_tokens),
        added=_some(token for token in files[1].tokens if token not in old_tokens),
        removed=_some(token for token in files[0].tokens if token not in new_tokens),
        overlap=Overlap(float(in_common.mean()), float(np.quantile(in_common, 0.1, method="inverted_cdf"))),
        relevant=_relevant(test),
        ndcg=ndcg,
        recall=recall,
        movers=_movers(old_shares, new_shares, items.tokens),
    )


def _side(file: ModelFile, unknown: float, listed: np.ndarray) -> Side:
    coverage = np.count_nonzero(listed) / len(file.tokens)
    return Side(file.path, file.identity, file.test_metrics, len(file.tokens), unknown, coverage)


def _some(tokens: Iterable[str]) -> Some:
    return Some(len(every := list(tokens)), every[:EXAMPLES])


def _relevant(test: Test) -> Relevant:
    return Relevant(
        test.order, test.users, sum(map(len, test.relevant)), test.left_out, test.only_old, test.only_new, test.repeated,
        test.new_users,
    )  # fmt: skip


def _movers(old: np.ndarray, new: np.ndarray, tokens: list[str]) -> list[Mover]:
    """The items whose share changed most, the largest change first."""
    largest = np.argsort(-np.abs(new - old), kind="stable")[:MOVERS]
    return [Mover(tokens[n], float(old[n]), float(new[n])) for n in largest.tolist() if old[n] != new[n]]
