"""The test's metrics for users of different activity, as a table and as a drawing.

Activity is the number of clicks by which the model scores a user: those of training, or the history that the split gives in
their place. Its quantiles cut the users into groups as equal in size as ties allow. RecBole's evaluator computes the same
metrics for each group as for all users.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from recbole.data.dataloader import FullSortEvalDataLoader
from tabulate import tabulate

from recbole_multvae.errors import ConfigurationError
from recbole_multvae.evaluation.collector import select_users
from recbole_multvae.evaluation.per_user import history_lengths
from recbole_multvae.files import atomic_write

#: Panels in a row of the drawing.
COLUMNS = 3


class Group(NamedTuple):
    """Users with ``shortest`` to ``longest`` clicks: their number, and their metrics by name."""

    shortest: int
    longest: int
    users: int
    metrics: dict[str, float]

    @property
    def clicks(self) -> str:
        """The range in words: ``5-12``."""
        return clicks_of(self.shortest, self.longest)


def clicks_of(shortest: int, longest: int) -> str:
    """The range of a group in words, see :class:`Group`."""
    return f"{shortest}-{longest}" if longest > shortest else str(shortest)


def groups_of(lengths: np.ndarray, quantiles: int) -> np.ndarray:
    """The group of each user, from 0, the least active; int64 [users].

    Users with equal numbers of clicks are in one group. Each cut is where it comes nearest to a quantile, and is left out
    where a group of less than half of an equal share would remain beside it.

    Args:
        lengths: the number of clicks of each user, [users].
        quantiles: the most groups.
    """
    ends = np.cumsum(np.unique(lengths, return_counts=True)[1])[:-1]  # The users before each possible cut.
    share, cuts = len(lengths) / quantiles, [0]
    for wanted in share * np.arange(1, quantiles) if len(ends) else ():
        cut = ends[np.argmin(np.abs(ends - wanted))]
        if min(cut - cuts[-1], len(lengths) - cut) >= share / 2:
            cuts.append(cut)
    return np.searchsorted(np.sort(lengths)[cuts[1:]], lengths, side="right")


class ActivityEvaluator:
    """RecBole's evaluator, which also evaluates groups of users by activity.

    Args:
        evaluator: RecBole's.
        quantiles: how many groups to make; there are fewer where many users have the same number of clicks, see
            :func:`groups_of`.
        train_data: the loader of training.
        test_data: the loader of the test.

    Attributes:
        groups: the groups of the last evaluation, the least active users first.

    Raises:
        ConfigurationError: the test is not a ranking of all items for each user.
    """

    def __init__(self, evaluator: Any, quantiles: int, train_data: Any, test_data: Any) -> None:
        if not isinstance(test_data, FullSortEvalDataLoader) or test_data.is_sequential:
            raise ConfigurationError(
                f"activity_quantiles={quantiles} needs a test that ranks all items for each user once: take eval_args mode "
                "full and a model that is not sequential, or leave it out."
            )
        self.evaluator = evaluator
        self.groups: list[Group] = []
        self.lengths = history_lengths(train_data, test_data)
        self._group = groups_of(self.lengths, quantiles)

    def evaluate(self, collected: Any) -> dict[str, float]:
        """The metrics of all users, as RecBole's evaluator computes them; sets :attr:`groups` from the same rankings."""
        self.groups = [self._evaluate_group(collected, np.flatnonzero(self._group == n)) for n in np.unique(self._group)]
        return self.evaluator.evaluate(collected)

    def _evaluate_group(self, collected: Any, users: np.ndarray) -> Group:
        lengths, metrics = self.lengths[users], self.evaluator.evaluate(select_users(collected, users))
        return Group(int(lengths.min()), int(lengths.max()), len(users), dict(metrics))


def table(groups: list[Group]) -> str:
    """The groups as a table of text, one line each."""
    rows = [{"clicks": group.clicks, "users": group.users, **group.metrics} for group in groups]
    return tabulate(rows, headers="keys", tablefmt="plain", stralign="right", floatfmt=".4f")


def draw(groups: list[Group], checkpoint: str) -> Path:
    """Draw a panel for each metric with a bar for each group into ``<checkpoint>-activity.png``. Returns its path."""
    from matplotlib.figure import Figure  # Here, because most runs draw nothing.

    names = list(groups[0].metrics)
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4 * columns, 2.5 * rows), layout="constrained")
    for number, name in enumerate(names, 1):
        panel = figure.add_subplot(rows, columns, number, title=name)
        bars = panel.bar([group.clicks for group in groups], [group.metrics[name] for group in groups])
        panel.bar_label(bars, fmt="%.4f")
        panel.margins(y=0.15)
    figure.supxlabel("clicks by which the model scores a user")
    file = Path(checkpoint).with_suffix("")
    file = file.with_name(f"{file.name}-activity.png")
    with atomic_write(file) as part:
        figure.savefig(part, format="png", dpi=150)
    return file
