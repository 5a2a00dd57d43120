"""Test metrics and peak memory of MultVAE, MultDAE and RecBole's MultiVAE: same data, split, sizes, schedule and seeds.

    python benchmarks/quality.py --dataset=ml-100k --seeds 2020 2021 2022

Each model is trained by RecBole in a process of its own, stopped early on validation NDCG@10 and tested once. A seed decides
the split too, so the spread over seeds holds both.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import statistics
import sys
import tempfile
from pathlib import Path

SHARED = {
    "train_batch_size": 500,
    "learning_rate": 0.001,
    "dropout_prob": 0.5,
    "train_neg_sample_args": None,
    "valid_metric": "NDCG@10",
    "stopping_step": 20,
    "epochs": 400,
    "eval_batch_size": 10_000_000,  # RecBole ranks one user at a time otherwise; the metrics are the same.
    "show_progress": False,
    "state": "ERROR",
}
ANNEALING = {"anneal_cap": 0.2, "total_anneal_steps": 200000}
LATENT = 200
#: RecBole's ``latent_dimension`` counts mu and log-variance together.
MODELS = {
    "MultVAE": {**ANNEALING, "latent_dimension": LATENT},
    "MultDAE": {"latent_dimension": LATENT},
    "MultiVAE (RecBole)": {**ANNEALING, "latent_dimension": 2 * LATENT},
}
HIDDEN = {"I-600-200-600-I": [600], "I-200-I": []}
METRICS = ("recall@10", "mrr@10", "ndcg@10", "hit@10", "precision@10")


def train(model: str, dataset: str, data_path: str, hidden: list[int], seed: int) -> tuple[dict[str, float], float]:
    """Train and test one model. Returns its metrics and the peak memory of the process in MiB."""
    sys.argv = sys.argv[:1]
    from recbole_multvae.runner import run

    logging.disable(logging.INFO)
    keys = {**SHARED, **MODELS[model], "mlp_hidden_size": hidden, "seed": seed, "data_path": data_path}
    with tempfile.TemporaryDirectory() as folder:
        result = run(model.split()[0], dataset, config_dict={**keys, "checkpoint_dir": folder})
    return dict(result["test_result"]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Train everything and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", default="dataset/", help="the folder that holds the data set's folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020, 2021, 2022])
    args = parser.parse_args()
    print(f"{args.dataset}, seeds {args.seeds}: mean ± standard deviation of the test metrics\n")
    print("| network | model | " + " | ".join(METRICS) + " | peak MiB |")
    print("|---|---|" + "---|" * (len(METRICS) + 1))
    context = multiprocessing.get_context("spawn")
    for network, hidden in HIDDEN.items():
        for model in MODELS:
            runs = []
            for seed in args.seeds:
                with context.Pool(1) as pool:
                    runs.append(pool.apply(train, (model, args.dataset, args.data_path, hidden, seed)))
            cells = []
            for metric in METRICS:
                values = [metrics[metric] for metrics, _ in runs]
                cells.append(f"{statistics.mean(values):.4f} ± {statistics.stdev(values) if len(values) > 1 else 0:.4f}")
            peak = f"{max(memory for _, memory in runs):.0f}"
            print(f"| {network} | {model} | " + " | ".join([*cells, peak]) + " |", flush=True)


if __name__ == "__main__":
    Path("log").mkdir(exist_ok=True)
    main()
