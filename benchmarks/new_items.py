"""Items that nobody has clicked: a tenth of the items is held out whole, and gets its rows from what is said of them.

    python benchmarks/new_items.py [--dataset ml-100k] [--fold 0] [--models MultVAE EDLAE SparseEDLAE]
    python benchmarks/new_items.py --dataset ml-1m --data_path ../shared/data
    python benchmarks/new_items.py --time 0.9 1.0

With ``--time A B`` the new items are those that really came later: their first click is between the shares A and B of all
clicks in order of time. The models are trained on the clicks before A, and the clicks from A to B are relevant.

The models are trained without the held-out items. Each user is then scored from all clicks of training; the user's clicks
on held-out items are relevant. In the first table only held-out items are ranked. ``popularity of the genre`` is the mean
number of clicks of the trained items of a genre, over the item's genres; ``nearest`` is the mean cosine to the items of the
history, of the numbers that the regression reads. In the second table all items are ranked. In the third the held-out items
are the history, and the clicks of training are relevant: does the encoder know the new items?
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import recbole
import torch
from machine import describe, quiet
from multvae_export.checkpoint import contents
from multvae_export.new_items import Extended, NewItems
from multvae_export.trained_model import model_of

EVALUATION = {"split": {"RS": [0.9, 0.1, 0]}, "order": "RO", "group_by": "user", "mode": "full"}
FOLDS, K, BATCH = 10, 20, 256
GENRES = ("genre:token_seq", "class:token_seq")


def hold_out(dataset: str, folder: Path, fold: int, time: tuple[float, float] | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write a data set ``warm`` without the new items, and their ``new.item``. Returns the clicks of both parts."""
    clicks, items = (
        pd.read_csv(folder / dataset / f"{dataset}.{kind}", sep="\t", dtype=str, keep_default_na=False, quoting=3)
        for kind in ("inter", "item")
    )
    genre = next(name for name in GENRES if name in items)
    named = items.loc[~items[genre].isin(["", "unknown"]), "item_id:token"]  # Genres are measured alone.
    if time is None:
        clicked = np.intersect1d(clicks["item_id:token"], named)
        new = set(np.random.default_rng(2020).permutation(clicked)[fold::FOLDS])
    else:
        clicks = clicks.sort_values("timestamp:float", key=lambda column: column.astype(float), kind="stable")
        begin, end = (int(share * len(clicks)) for share in time)
        later = set(clicks[begin:end]["item_id:token"]) - set(clicks[:begin]["item_id:token"])
        new, clicks = later & set(named), clicks[:end]
        clicks = clicks[(np.arange(end) < begin) | clicks["item_id:token"].isin(new)]
    Path("warm").mkdir()
    is_new, of_new = clicks["item_id:token"].isin(new), items["item_id:token"].isin(new)
    clicks[~is_new].to_csv("warm/warm.inter", sep="\t", index=False)
    known = items["item_id:token"].isin(clicks[~is_new]["item_id:token"])
    items[known].to_csv("warm/warm.item", sep="\t", index=False, quoting=3)
    items[of_new].to_csv("new.item", sep="\t", index=False, quoting=3)
    return clicks[~is_new], clicks[is_new]


def train(model: str, seed: int) -> Path:
    """Train on what is not held out. Returns the checkpoint."""
    from recbole_multvae.experiment.configuration import make_config
    from recbole_multvae.experiment.preparation import prepare

    keys = {"data_path": ".", "checkpoint_dir": model, "eval_args": EVALUATION, "show_progress": False, "state": "ERROR"}
    experiment = prepare(make_config(model, "warm", None, {**keys, "seed": seed}, {}))
    experiment.fit()
    return Path(experiment.trainer.saved_model_file)


class Clicks:
    """The clicks of the users that have both kinds, as multi-hot rows of a model with new items.

    Attributes:
        trained, new: [users, C] bool; the columns are the ids of the model.
    """

    def __init__(self, tokens: tuple[str, ...], trained: pd.DataFrame, new: pd.DataFrame) -> None:
        users = sorted(set(trained["user_id:token"]) & set(new["user_id:token"]))
        rows, columns = ({token: n for n, token in enumerate(names)} for names in (users, tokens))
        self.trained, self.new = (np.zeros((len(users), len(tokens)), bool) for _ in range(2))
        for table, clicks in ((self.trained, trained), (self.new, new)):
            of_users = clicks[clicks["user_id:token"].isin(rows)]
            table[of_users["user_id:token"].map(rows), of_users["item_id:token"].map(columns)] = True


def metrics(scores: np.ndarray, relevant: np.ndarray) -> dict[str, float]:
    """Recall@20 and NDCG@20 of scores [users, items]; equal scores are drawn."""
    noise = np.random.default_rng(0).random(scores.shape)
    best = np.lexsort((noise, -scores), axis=1)[:, :K]
    hits, counts = np.take_along_axis(relevant, best, 1), relevant.sum(1)
    discount = 1 / np.log2(np.arange(2, K + 2))
    ideal = np.cumsum(discount)[np.minimum(K, counts) - 1]
    return {"Recall@20": (hits.sum(1) / counts).mean(), "NDCG@20": ((hits * discount).sum(1) / ideal).mean()}


@torch.no_grad()
def scored(architecture: Any, rows: np.ndarray) -> np.ndarray:
    """The scores of multi-hot rows, [users, C]."""
    parts = (torch.from_numpy(rows[start : start + BATCH]).float() for start in range(0, len(rows), BATCH))
    return np.concatenate([architecture.logits(part).numpy() for part in parts])


def genre_popularity(extended: Extended, clicks: Clicks) -> np.ndarray:
    """The mean number of clicks of the trained items with the same genre, over the genres of each new item, [N]."""
    items = pd.concat([pd.read_csv(f, sep="\t", dtype=str, quoting=3) for f in ("warm/warm.item", "new.item")])
    column = next(name for name in GENRES if name in items)
    genres = items.set_index("item_id:token")[column].fillna("").str.split()
    tokens, count = extended.model.tokens, extended.count
    popularity = pd.Series(clicks.trained[:, :-count].sum(0), tokens[:-count])[1:]
    of_genre = genres.reindex(popularity.index).explode().to_frame("genre").join(popularity.rename("clicks"))
    means = of_genre.groupby("genre")["clicks"].mean()
    return np.array([means.reindex(genres[token]).mean() if genres[token] else 0.0 for token in tokens[-count:]])


def nearest(extended: Extended, clicks: Clicks) -> np.ndarray:
    """The mean cosine of each new item to the items of a history, [users, N]."""
    trained, new = (
        torch.nn.functional.normalize(part.to_dense()).numpy() for part in (extended.encoded.trained, extended.encoded.new)
    )
    history = clicks.trained[:, 1 : -extended.count]
    return history @ trained @ new.T / history.sum(1, keepdims=True)


def report(name: str, rows: dict[str, dict[str, float]]) -> None:
    """Print a table."""
    columns = list(next(iter(rows.values())))
    print(f"\n{name}\n\n| | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for row, values in rows.items():
        print(f"| {row} | {' | '.join(f'{value:.4f}' for value in values.values())} |")


def measure(checkpoints: dict[str, Path], field_sets: list[str | None], parts: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Print the tables."""
    among: dict[str, dict[str, float]] = {}
    everywhere: dict[str, dict[str, float]] = {}
    as_history: dict[str, dict[str, float]] = {}
    for fields in field_sets:
        for model, path in checkpoints.items():
            checkpoint = contents.load(path)
            request = NewItems.named("new.item", fields, None)
            assert request
            extended = Extended.of(model_of(checkpoint), checkpoint, request, None)
            clicks, count, said = Clicks(extended.model.tokens, *parts), extended.count, "+".join(extended.encoded.names)
            scores = scored(extended.model.architecture, clicks.trained)
            relevant, users = clicks.new[:, -count:], len(clicks.new)
            if not among:
                among["drawn"] = metrics(np.zeros((users, count)), relevant)
                among["popularity of the genre"] = metrics(np.tile(genre_popularity(extended, clicks), (users, 1)), relevant)
            among.setdefault(f"nearest in {said}", metrics(nearest(extended, clicks), relevant))
            among[f"{model}, {said}"] = metrics(scores[:, -count:], relevant)
            unseen = np.where(clicks.trained, -np.inf, scores)[:, 1:]
            top = np.argsort(-unseen, axis=1)[:, :10] >= unseen.shape[1] - count
            everywhere[f"{model}, {said}"] = {
                **metrics(unseen, clicks.new[:, 1:]),
                "new items in a top 10": top.sum(1).mean(),
            }
            if fields is None:
                target = clicks.trained[:, 1:-count]
                empty = np.zeros((1, len(extended.model.tokens)), bool)
                known = scored(extended.model.architecture, clicks.new)[:, 1:-count]
                nothing = np.tile(scored(extended.model.architecture, empty)[:, 1:-count], (users, 1))
                as_history[model] = metrics(known, target)
                as_history[f"{model}, no history"] = metrics(nothing, target)
    print(f"\n{users:,} users, {count:,} new items of {clicks.new.shape[1] - 1:,}")
    report("Only new items are ranked.", among)
    report("All items are ranked.", everywhere)
    report("New items are the history, trained items are ranked.", as_history)


def main() -> None:
    """Train, and print three Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", type=Path, help="the folder with the data set's folder")
    parser.add_argument("--models", nargs="+", default=["MultVAE", "EDLAE", "SparseEDLAE"])
    parser.add_argument("--features", nargs="*", help="sets of fields, with commas between; all fields are always measured")
    parser.add_argument("--fold", type=int, default=0, help=f"which of {FOLDS} parts of the items is held out")
    parser.add_argument(
        "--time", type=float, nargs=2, metavar=("A", "B"), help="shares of the clicks: the items that came there"
    )
    parser.add_argument("--seed", type=int, default=2020)
    args = parser.parse_args()
    quiet()
    folder = (args.data_path or Path(recbole.__path__[0]) / "dataset_example").absolute()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        parts = hold_out(args.dataset, folder, args.fold, args.time)
        checkpoints = {model: train(model, args.seed) for model in args.models}
        print(describe())
        measure(checkpoints, [*(args.features or []), None], parts)


if __name__ == "__main__":
    main()
