"""Cost and gain of exploration: MultVAE's ranking of ml-1m with more and more noise of its posterior.

    python benchmarks/exploration.py saved/MultVAE-*.pth --dataset_path <folder> --figure benchmarks/exploration.svg

The checkpoint is exported with ``--posterior``, and the file ranks for every user of the test. The history is the user's
clicks of the training, the positives are those of the test. z is mu + scale * sigma * noise; the noise is standard normal,
and is drawn for each user and each draw. Coverage is the share of the catalogue in the top 10 of all users, popularity the
mean number of training clicks of these items, and "new" the share of the top 10 that is missing in the top 10 without noise.
The deviation is over the checkpoints; with only one checkpoint it is over the draws of the noise.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from figures import save
from machine import describe
from matplotlib.figure import Figure
from multvae_export.exporter import export
from multvae_export.histories import padded
from multvae_export.target import Options

from recbole_multvae.leaderboard.json_file import write_json
from recbole_multvae.rebuild.model import load_model

TOP, DEPTH, BATCH = 10, 100, 256


def main() -> None:
    """Print and draw the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", metavar="checkpoint", nargs="+", help="of MultVAE, one a training seed")
    parser.add_argument("--dataset_path", help="the folder that holds the data set's (default: where it was at training)")
    parser.add_argument("--scales", nargs="+", type=float, default=[0, 0.25, 0.5, 1])
    parser.add_argument("--draws", type=int, default=3, help="of the noise (default: %(default)s)")
    parser.add_argument("--figure", help="where the plot is written: .svg or .png")
    parser.add_argument("--results", help="where the figures are kept as JSON")
    args = parser.parse_args()
    seeds = [of_checkpoint(checkpoint, args) for checkpoint in args.checkpoints]
    rows = [over_seeds(row) for row in zip(*seeds, strict=True)] if len(seeds) > 1 else seeds[0]
    columns = {"ndcg": "NDCG@100", "coverage": "coverage@10", "popularity": "popularity@10", "new": "new in the top 10"}
    print(f"{describe()}\n\n| scale of the noise | {' | '.join(columns.values())} |\n|{'---|' * (1 + len(columns))}")
    for row in rows:
        print(f"| {row['scale']:g} | {' | '.join(spread(row[name]) for name in columns)} |")
    if args.results:
        write_json(args.results, rows)
    if args.figure:
        draw(rows, args.figure)


def of_checkpoint(checkpoint: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of one checkpoint."""
    _, (train, _, test) = load_model(checkpoint, args.dataset_path)
    return measure(exported(checkpoint), by_user(train), by_user(test), train.item_num, args.scales, args.draws)


def over_seeds(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row from those of several checkpoints at the same scale: each metric is a list of their means."""
    return {"scale": rows[0]["scale"]} | {name: [np.mean(row[name]) for row in rows] for name in rows[0] if name != "scale"}


def exported(checkpoint: str) -> onnxruntime.InferenceSession:
    """A session of the checkpoint's file with a posterior."""
    with tempfile.TemporaryDirectory() as folder:
        file = export(checkpoint, Path(folder) / "model.onnx", io="ids", options=Options(posterior=True))
        return onnxruntime.InferenceSession(file.path)


def by_user(dataset: Any) -> dict[int, np.ndarray]:
    """The item ids of each user of a data set."""
    users, items = (dataset.inter_feat[field].numpy() for field in (dataset.uid_field, dataset.iid_field))
    order = np.argsort(users, kind="stable")
    ids, begin = np.unique(users[order], return_index=True)
    return dict(zip(ids.tolist(), np.split(items[order], begin[1:]), strict=True))


def measure(
    session: onnxruntime.InferenceSession, histories: dict[int, np.ndarray], positives: dict[int, np.ndarray], n_items: int,
    scales: list[float], draws: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """For each scale, the metrics of each draw; without noise there is one."""
    users = [user for user in positives if user in histories]
    clicks = np.bincount(np.concatenate(list(histories.values())), minlength=n_items)
    units = session.get_inputs()[-1].shape[1]
    calm = ranked(session, [histories[user] for user in users], np.zeros((len(users), units), np.float32))
    rows = []
    for scale in scales:
        row: dict[str, Any] = {"scale": scale, "ndcg": [], "coverage": [], "popularity": [], "new": []}
        for draw_number in range(draws if scale else 1):
            noise = np.random.default_rng(draw_number).standard_normal((len(users), units), np.float32)
            items = ranked(session, [histories[user] for user in users], np.float32(scale) * noise) if scale else calm
            top = items[:, :TOP]
            row["ndcg"].append(np.mean([ndcg(ranking, positives[user]) for user, ranking in zip(users, items, strict=True)]))
            row["coverage"].append(len(np.unique(top)) / (n_items - 1))
            row["popularity"].append(clicks[top].mean())
            row["new"].append(1 - np.mean([np.isin(a, b).mean() for a, b in zip(calm[:, :TOP], top, strict=True)]))
        rows.append(row)
    return rows


def ranked(session: onnxruntime.InferenceSession, histories: list[np.ndarray], noise: np.ndarray) -> np.ndarray:
    """The DEPTH best items of each history, [users, DEPTH]."""
    parts = []
    for begin in range(0, len(histories), BATCH):
        part = slice(begin, begin + BATCH)
        feed = {"history": padded(histories[part]), "k": np.array([DEPTH]), "noise": noise[part]}
        parts.append(session.run(["items"], feed)[0])
    return np.concatenate(parts)


def ndcg(ranking: np.ndarray, positives: np.ndarray) -> float:
    """NDCG@100 with the ideal ranking cut at 100 too, as in Liang et al."""
    discount = 1 / np.log2(np.arange(2, DEPTH + 2))
    return float(discount[: len(ranking)] @ np.isin(ranking, positives) / discount[: len(positives)].sum())


def spread(values: list[float]) -> str:
    """The mean, with the deviation where there are several values."""
    digits = 4 if max(values) < 1 else 0
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else mean


def draw(rows: list[dict[str, Any]], file: str) -> None:
    """NDCG, coverage and popularity over the scale of the noise, each beside its value without noise."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    panels = figure.subplots(1, 3)
    labels = {"ndcg": "NDCG@100", "coverage": "coverage@10", "popularity": "clicks of the top 10's items"}
    for axes, (name, label) in zip(panels, labels.items(), strict=True):
        axes.plot([row["scale"] for row in rows], [np.mean(row[name]) for row in rows], "o-", markersize=4)
        axes.set(xlabel="scale of the noise", title=label)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    save(figure, file)


if __name__ == "__main__":
    main()
