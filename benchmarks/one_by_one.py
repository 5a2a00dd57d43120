"""The test of many users at once, as this package ranks, beside one user at a time, as RecBole ranks by default.

    python benchmarks/one_by_one.py saved/BPR-*.pth saved/EASE-*.pth

For each checkpoint the test is timed with many users at once. Some of its users are ranked one at a time by RecBole's own
collector, and their time is scaled up to all users. "different" counts users whose lists are not the same both ways.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from machine import describe, quiet
from recbole.evaluator import Collector
from recbole.trainer import Trainer

from recbole_multvae import checkpoint
from recbole_multvae.data.loaders import BatchedFullSortEvalDataLoader
from recbole_multvae.experiment.preparation import prepare

#: One user at a time are ranked this many users, or as many as take this many seconds.
USERS, SECONDS = 200, 5.0


def measure(path: str) -> dict[str, Any] | None:
    """Compare both ways for a checkpoint; see :func:`compare`."""
    experiment = prepare(checkpoint.load(path)["config"])
    experiment.trainer.evaluate(experiment.test_data, load_best_model=True, model_file=path)
    return compare(experiment.trainer, experiment.test_data)


@torch.no_grad()
def compare(trainer: Any, test_data: Any) -> dict[str, Any] | None:
    """Test the model of a trainer both ways.

    Returns:
        ``together`` and ``one_by_one``, the seconds of a test both ways, ``users``, the number of users whose lists were
        compared, and ``different``; None if the model's loader has one user at a time in any case.
    """
    if not isinstance(test_data, BatchedFullSortEvalDataLoader):
        return None
    together, hits = run_together(trainer, test_data)
    collector = Collector(trainer.config)
    chosen = np.unique(np.linspace(0, len(hits) - 1, USERS).astype(int))
    started = time.perf_counter()
    for user in chosen:
        users, scores, *positives = Trainer._full_sort_batch_eval(trainer, test_data.collate_fn([int(user)]))
        collector.eval_batch_collect(scores, users, *positives)
        if (seconds := time.perf_counter() - started) > SECONDS:
            break
    single_hits = collector.get_data_struct().get("rec.topk").numpy()
    tested = len(single_hits)
    different = int((single_hits != hits[chosen[:tested]]).any(axis=1).sum())
    return {"together": together, "one_by_one": seconds / tested * len(hits), "users": tested, "different": different}


def run_together(trainer: Any, test_data: Any) -> tuple[float, np.ndarray]:
    """The seconds of a test, and RecBole's ``rec.topk``: hits by place and the number of positives, int [users, k + 1]."""
    hits: list[np.ndarray] = []
    evaluate = trainer.evaluator.evaluate

    def keep(collected: Any) -> Any:
        hits.append(collected.get("rec.topk").numpy())
        return evaluate(collected)

    trainer.evaluator.evaluate = keep
    started = time.perf_counter()
    trainer.evaluate(test_data, load_best_model=False)
    seconds = time.perf_counter() - started
    trainer.evaluator.evaluate = evaluate
    return seconds, hits[0]


def main() -> None:
    """Print a row for each checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", metavar="checkpoint", nargs="+", help="a .pth file of a model of RecBole or of ours")
    args = parser.parse_args()
    quiet()
    print(
        f"{describe()}\n\n| | many users at once, s | one at a time, s | lists compared | different |\n|---|---|---|---|---|"
    )
    for path in args.checkpoints:
        if result := measure(path):
            times = f"{result['together']:.2f} | {result['one_by_one']:.2f}"
            print(f"| {path} | {times} | {result['users']} | {result['different']} |", flush=True)
        else:
            print(f"| {path} | RecBole's loader of this model has one user at a time | | | |")


if __name__ == "__main__":
    main()
