"""Training on a catalogue of a million items: seconds a batch and peak memory, exact and with a sampled softmax.

    python benchmarks/million_items.py [--items 1000000] [--users 20000] [--batches 5]

600-200-600, batch 500, made data. Each kind trains in a process of its own, through RecBole's Trainer.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import machine
import made_data

KINDS: dict[str, dict[str, Any]] = {
    "sampled softmax (10,000), sparse_adam": {"sampled_softmax": 10000, "learner": "sparse_adam"},
    "sampled softmax (10,000), adam": {"sampled_softmax": 10000},
    "exact softmax, adam": {},
}
SHARED = {"show_progress": False, "state": "ERROR", "train_batch_size": 500, "learning_rate": 0.001}


def peak() -> float:
    """GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def train(folder: str, keys: dict[str, Any], batches: int) -> tuple[float, float, float, float, float]:
    """Train some batches.

    Returns:
        Seconds of RecBole's and our preparation, seconds a batch after the first, the loss of the last, peak memory before
        training and after it in GiB.
    """
    sys.argv = sys.argv[:1]
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning)
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    import recbole_multvae  # noqa: F401

    start = time.perf_counter()
    config = Config("MultVAE", "made", config_dict={**SHARED, **keys, "data_path": folder})
    init_seed(2020, True)
    train_data, _, _ = data_preparation(config, create_dataset(config))
    prepared, before = time.perf_counter() - start, peak()
    model = get_model("MultVAE")(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "MultVAE")(config, model)
    users = [batch for batch, _ in zip(train_data, range(batches), strict=False)]
    times, calculate_loss = [], model.calculate_loss

    def timed(batch: Any) -> Any:
        times.append(time.perf_counter())
        return calculate_loss(batch)

    model.calculate_loss = timed
    loss = trainer._train_epoch(users, 0) / len(users)
    times.append(time.perf_counter())
    return prepared, (times[-1] - times[1]) / (len(users) - 1), loss, before, peak()


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--batches", type=int, default=5)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        clicks = made_data.write(Path(folder) / "made", args.users, args.items)
        print(f"{machine.describe()}\n{args.users:,} users, {args.items:,} items, {clicks:,} clicks\n")
        print("| training | preparation s | s a batch | loss | peak GiB before, in all |\n|---|---|---|---|---|")
        for name, keys in KINDS.items():
            with context.Pool(1) as pool:
                prepared, seconds, loss, before, after = pool.apply(train, (folder, keys, args.batches))
            print(f"| {name} | {prepared:.0f} | {seconds:.2f} | {loss:.1f} | {before:.1f}, {after:.1f} |", flush=True)


if __name__ == "__main__":
    main()
