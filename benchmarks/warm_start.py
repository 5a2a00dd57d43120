"""A model that goes on from yesterday's, beside one that is trained from nothing, day after day.

    python benchmarks/warm_start.py [--seeds 2020 2021 2022] [--days 10]
    python benchmarks/warm_start.py --dataset news --data_path ../shared/data --by_date

The first half of the clicks in order of time is what was there before; the days after it have equal numbers of clicks, or
are those of the calendar. Every evening each kind of model is trained, and the clicks of the next day are its test:

* ``from nothing``: on all clicks so far;
* ``warm``: on all clicks so far, from the model of the evening before;
* ``warm, day alone``: on the clicks of the day, from the model of the evening before;
* ``from nothing, day alone``: on the clicks of the day, from nothing;
* ``first``: the model of the first half, which is never trained again.

Each user's newest clicks validate. In the test a user is scored from all clicks before the day and the first half of the
day's, as a service that is told of clicks at once does; the second half is relevant. The CPU seconds are those of
``Trainer.fit``: other programs do not change them much.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import recbole
import torch
from machine import describe, quiet

KINDS = ("from nothing", "warm", "warm, day alone", "first", "from nothing, day alone")
#: Days of the calendar with fewer clicks are left out: those of news end with some.
LEAST = 1000
#: Without a test: the next day is the test.
EVALUATION = {"split": {"RS": [0.9, 0.1, 0]}, "order": "TO", "group_by": "user", "mode": "full"}
TYPED = {"user_id": "user_id:token", "item_id": "item_id:token", "timestamp": "timestamp:float"}


def read(dataset: str, data_path: str | None) -> pd.DataFrame:
    """The clicks in order of time, each pair of user and item once. Without times in the file, they are drawn."""
    folder = Path(data_path or Path(recbole.__path__[0]) / "dataset_example")
    clicks = pd.read_csv(folder / dataset / f"{dataset}.inter", sep="\t", dtype=str)
    clicks.columns = [name.partition(":")[0] for name in clicks.columns]
    drawn = np.random.default_rng(2020).permutation(len(clicks))
    clicks["timestamp"] = clicks["timestamp"].astype(float) if "timestamp" in clicks else drawn
    return clicks[list(TYPED)].sort_values("timestamp", kind="stable").drop_duplicates(["user_id", "item_id"])


def cut(clicks: pd.DataFrame, days: int, by_date: bool) -> list[pd.DataFrame]:
    """The first half, and what follows it day by day."""
    if by_date:
        dates = pd.to_datetime(clicks["timestamp"], unit="ms").dt.date
        parts = [part for _, part in clicks.groupby(dates) if len(part) >= LEAST]
        return [pd.concat(parts[: -days - 1]), *parts[-days - 1 :]]
    half = len(clicks) // 2
    return [clicks[:half], *np.array_split(clicks[half:], days)]


def train(name: str, clicks: pd.DataFrame, keys: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Train on some clicks. Returns the model, and its row: the seconds, the epochs and the best validation."""
    from recbole_multvae.experiment.configuration import make_config
    from recbole_multvae.experiment.preparation import prepare

    Path(name).mkdir(exist_ok=True)
    clicks.rename(columns=TYPED).to_csv(Path(name, f"{name}.inter"), sep="\t", index=False)
    fixed = {"data_path": ".", "checkpoint_dir": name, "eval_args": EVALUATION, "show_progress": False, "state": "ERROR"}
    experiment = prepare(make_config("MultVAE", name, None, {**fixed, **keys}, {}))
    began = time.process_time()
    score, _ = experiment.fit()
    seconds, trainer = time.process_time() - began, experiment.trainer
    state = torch.load(trainer.saved_model_file, weights_only=False)["state_dict"]
    trainer.model.load_state_dict(state)
    row = {"seconds": seconds, "best epoch": trainer.saved_epoch + 1, "epochs": len(trainer.train_loss_dict), "valid": score}
    return trainer, row


@torch.no_grad()
def ndcg(model: Any, before: pd.DataFrame, day: pd.DataFrame, k: int = 10) -> float:
    """NDCG@k of the second half of each user's clicks of a day, given the first half and all clicks before."""
    ids = {token: number for number, token in enumerate(model.item_tokens)}
    place = day.groupby("user_id").cumcount()
    first = place < day.groupby("user_id")["item_id"].transform("size") / 2
    known = pd.concat([before[before["user_id"].isin(set(day["user_id"]))], day[first]])
    histories = known.groupby("user_id")["item_id"].agg(lambda items: [ids[item] for item in items if item in ids])
    values = []
    for user, items in day[~first].groupby("user_id")["item_id"]:
        relevant = {ids[item] for item in items if item in ids}
        if relevant:
            history = histories[user]
            scores = model.score_histories([history])[0]
            scores[history] = -torch.inf
            gains = [float(item in relevant) for item in scores.topk(k).indices.tolist()]
            best = (1 / np.log2(np.arange(2, 2 + min(k, len(relevant))))).sum()
            values.append((gains / np.log2(np.arange(2, 2 + k))).sum() / best)
    return float(np.mean(values))


def measure(parts: list[pd.DataFrame], seed: int, keys: dict[str, Any], kinds: list[str], last: int) -> pd.DataFrame:
    """A row for each evening and kind of model."""
    keys = {"seed": seed, **keys}
    trainer, _ = train("before", parts[0], keys)
    newest, first = dict.fromkeys(kinds, trainer.saved_model_file), trainer.model
    rows = []
    for evening in range(1, min(len(parts) - 1, last + 1)):
        so_far, day, tomorrow = pd.concat(parts[: evening + 1]), parts[evening], parts[evening + 1]
        for kind in kinds:
            row: dict[str, Any] = {"seconds": 0.0}
            if kind == "first":
                model = first
            else:
                start = {} if kind.startswith("from nothing") else {"warm_start": newest[kind]}
                clicks = day if "alone" in kind else so_far
                trainer, row = train(f"d{evening}-{KINDS.index(kind)}", clicks, {**keys, **start})
                model, newest[kind] = trainer.model, trainer.saved_model_file
            row = {"seed": seed, "evening": evening, "kind": kind, "ndcg": ndcg(model, so_far, tomorrow), **row}
            rows.append(row)
            print({name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}, flush=True)
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame) -> str:
    """The kinds side by side: NDCG@10 of all days, of the first and of the last three, and the CPU seconds of a day."""
    late = rows["evening"] > rows["evening"].max() - 3
    lines = ["| | NDCG@10 | first 3 days | last 3 days | CPU s a day | epochs to the best | epochs |", f"|{'---|' * 7}"]
    for kind, own in rows.groupby("kind", sort=False):
        cells = []
        for chosen in (own, own[own["evening"] <= 3], own[late]):
            of_seeds = chosen.groupby("seed")["ndcg"].mean()
            cells.append(f"{of_seeds.mean():.4f}" + (f" ± {of_seeds.std():.4f}" if len(of_seeds) > 1 else ""))
        cells += [f"{own[name].mean():.1f}" if name in own else "" for name in ("seconds", "best epoch", "epochs")]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print a line for each training, then a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", type=Path, help="the folder with the data set's folder")
    parser.add_argument("--by_date", action="store_true", help="days of the calendar; times are milliseconds")
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--evenings", type=int, default=1000, help="stop after so many")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--keys", type=Path, help="a YAML file of configuration keys")
    args = parser.parse_args()
    quiet()
    import yaml

    keys = yaml.safe_load(args.keys.read_text("utf-8")) if args.keys else {}
    parts = cut(read(args.dataset, args.data_path and args.data_path.absolute()), args.days, args.by_date)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        rows = pd.concat([measure(parts, seed, keys, args.kinds, args.evenings) for seed in args.seeds], ignore_index=True)
    print(f"\n{describe()}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
