"""Made data of ML-20M's shape: power-law items, lognormal histories, seeded.

    python benchmarks/made_data.py dataset/made --users=20000 --items=20108

writes ``dataset/made/made.inter`` in RecBole's format, 1.1 million clicks at these sizes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

MEAN_CLICKS, SPREAD = 55, 1.0
SHORTEST, LONGEST = 5, 2000
EXPONENT = 0.8


def clicks(users: int, items: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw distinct (user, item) pairs: every item occurs, because user ``i % users`` clicks item ``i`` first.

    Returns:
        Users and items, int64 [number of clicks] each, counted from 0, sorted by user.
    """
    rng = np.random.default_rng(seed)
    cumulative = np.cumsum(np.arange(1, items + 1) ** -EXPONENT)
    lengths = np.clip(rng.lognormal(np.log(MEAN_CLICKS) - SPREAD**2 / 2, SPREAD, users), SHORTEST, min(LONGEST, items // 2))
    lengths = lengths.astype(np.int64)
    pairs = np.unique(np.arange(items) % users * items + np.arange(items))
    while (missing := np.maximum(lengths - np.bincount(pairs // items, minlength=users), 0)).any():
        owners = np.repeat(np.arange(users), missing)
        drawn = np.searchsorted(cumulative, rng.random(len(owners)) * cumulative[-1])
        pairs = np.union1d(pairs, owners * items + np.minimum(drawn, items - 1))
    return pairs // items, pairs % items


def write(folder: Path, users: int, items: int, seed: int = 0) -> int:
    """Write ``<folder>/<name of folder>.inter``. Returns the number of clicks."""
    owners, clicked = clicks(users, items, seed)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{folder.name}.inter", "w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\n")
        np.savetxt(file, np.column_stack([owners, clicked]), fmt="%d", delimiter="\t")
    return len(owners)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--users", type=int, default=20000)
    parser.add_argument("--items", type=int, default=20108)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(f"{args.folder / args.folder.name}.inter: {write(args.folder, args.users, args.items, args.seed)} clicks")


if __name__ == "__main__":
    main()
