"""Strong generalization: the protocol of Liang et al., "Variational Autoencoders for Collaborative Filtering", section 4.

Users are held out, not clicks. The model is trained on all clicks of the other users. It sees a part of a held-out user's
clicks, the fold-in; the items of the other clicks are the relevant ones. The draws are those of the paper's code
(dawenl/vae_cf at ad103c5, ``VAE_ML20M_WWW2018.ipynb``): where the rows of the data set are in the order of the notebook's
file (sorted by user, as MovieLens' are), the same seed holds out the same users and the same clicks.

``eval_args: {split: {SG: {valid_users: 750, test_users: 750}}}`` chooses it. ``group_by`` and ``order`` have no effect.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from recbole_multvae.config.run_settings import Seed
from recbole_multvae.config.settings import Settings, setting
from recbole_multvae.data.protocols.base import Protocol, check_mode, fold_in, keep_items_of, part, read_arguments, seed_of
from recbole_multvae.errors import ConfigurationError, DataError

#: A held-out user with fewer clicks has a fold-in of all clicks, and no relevant items.
FEWEST = 5


class StrongGeneralizationSettings(Settings):
    """The arguments of ``SG``. The defaults are the paper's for MovieLens-20M."""

    valid_users: int = setting(10_000, "a positive integer", "users held out for validation", gt=0)
    test_users: int = setting(10_000, "a positive integer", "users held out for the test", gt=0)
    fold_in: float = setting(
        0.8, "a number between 0 and 1", "the share of a held-out user's clicks that the model sees", gt=0, lt=1
    )
    seed: Seed | None = setting(
        None,
        "an integer from 0 to 4294967295",
        "draws users and clicks; None: `split_seed`, or else `seed`; the paper's is 98765",
    )


class StrongGeneralization(Protocol):
    """Holds out users; the model sees a part of their clicks."""

    name: ClassVar[str] = "SG"

    @classmethod
    def new_users(cls, arguments: Any) -> bool:
        """True: users are held out, not clicks."""
        return True

    def split(self, dataset: Any, arguments: Any) -> list[Any]:
        """Split the users. Items that no user of training clicked are removed from the data set.

        Raises:
            ConfigurationError: an argument is not allowed, or no user would be left for training.
            DataError: no held-out user has enough clicks.
        """
        settings = read_arguments(StrongGeneralizationSettings, self.name, arguments)
        check_mode(dataset.config, self.name)
        seed = seed_of(dataset.config, settings.seed)
        part_of_user = np.zeros(dataset.user_num, dtype=np.int8)
        groups = _draw_users(pd.unique(dataset.inter_feat[dataset.uid_field].numpy()), settings, seed)
        for number, users in enumerate(groups):
            part_of_user[users] = number
        part_of_row = part_of_user[dataset.inter_feat[dataset.uid_field].numpy()]
        part_of_row = part_of_row[keep_items_of(dataset, part_of_row == 0)]
        train, *held_out = (np.flatnonzero(part_of_row == number) for number in range(len(groups)))
        return [part(dataset, train), *(_with_fold_in(dataset, rows, settings.fold_in, seed) for rows in held_out)]


def _draw_users(users: np.ndarray, settings: StrongGeneralizationSettings, seed: int) -> list[np.ndarray]:
    """The users of training, of validation and of the test; ``users`` in the order of their first rows."""
    test = len(users) - settings.test_users
    valid = test - settings.valid_users
    if valid < 1:
        raise ConfigurationError(
            f"eval_args split SG holds out valid_users={settings.valid_users} and test_users={settings.test_users} of "
            f"{len(users)} users, which leaves none for training: lower them."
        )
    return np.split(users[np.random.RandomState(seed).permutation(len(users))], [valid, test])


def _with_fold_in(dataset: Any, rows: np.ndarray, share: float, seed: int) -> Any:
    """The data set of the relevant items in the rows of held-out users; the other rows are folded in."""
    whole, rows = part(dataset, rows), _distinct(dataset, rows)
    users, items = (dataset.inter_feat[field].numpy()[rows] for field in (dataset.uid_field, dataset.iid_field))
    relevant = _draw_clicks(np.bincount(pd.factorize(users)[0]), share, seed)
    if not relevant.any():
        raise DataError(
            f"None of the {len(np.unique(users))} held-out users who clicked on an item of training has clicks left to "
            f"rank: a user needs {FEWEST} clicks or more, and the model sees eval_args split SG fold_in={share} of them."
        )
    seen = (np.ones(np.count_nonzero(~relevant), dtype=np.int8), (users[~relevant], items[~relevant]))
    histories = csr_matrix(seen, shape=(dataset.user_num, dataset.item_num))
    return fold_in(part(dataset, rows[relevant]), histories, whole)


def _distinct(dataset: Any, rows: np.ndarray) -> np.ndarray:
    """The first row of every pair of user and item, user after user in the order of the users' first rows."""
    users, items = (dataset.inter_feat[field].numpy()[rows] for field in (dataset.uid_field, dataset.iid_field))
    first = np.sort(np.unique(users * dataset.item_num + items, return_index=True)[1])
    return rows[first[np.argsort(pd.factorize(users[first])[0], kind="stable")]]


def _draw_clicks(counts: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which clicks are held out, bool [counts.sum()]; ``counts`` are the users' numbers of clicks.

    A loop over users, because the paper's code draws for one user after the other: 50,000 users take about a second.
    """
    random = np.random.RandomState(seed)
    held_out = np.zeros(counts.sum(), dtype=bool)
    for start, count in zip((counts.cumsum() - counts).tolist(), counts.tolist(), strict=True):
        if count >= FEWEST:
            size = int((1 - share) * count + 1e-9)  # 1 - 0.8 is a little less than 0.2.
            held_out[start + random.choice(count, size, replace=False)] = True
    return held_out
