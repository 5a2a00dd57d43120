"""Test metrics and peak memory of MultVAE, MultDAE and RecBole's MultiVAE: same data, split, sizes, schedule and seeds.

    python benchmarks/quality.py --dataset=ml-100k --seeds 2020 2021 2022
    python benchmarks/quality.py --models MultVAE "MultVAE bf16" "MultVAE sampled" --networks I-200-I
    python benchmarks/quality.py --dataset=gowalla --benchmark_filename train valid test --epochs 40

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
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

SHARED = {
    "precision": "fp32",  # RecBole's model has no such key.
    "learning_rate": 0.001,
    "dropout_prob": 0.5,
    "train_neg_sample_args": None,
    "valid_metric": "NDCG@10",
    "stopping_step": 20,
    "eval_batch_size": 10_000_000,  # RecBole ranks one user at a time otherwise; the metrics are the same.
    "show_progress": False,
    "state": "ERROR",
}
ANNEALING = {"anneal_cap": 0.2, "total_anneal_steps": 200000}
#: The same model and objective as RecBole's: our defaults differ.
PAPER = {"decoder_hidden_size": "mirrored", "kl_weighting": "equal", "ema_decay": 0, "eval_step": 1}
LATENT = 200
#: RecBole's ``latent_dimension`` counts mu and log-variance together.
MODELS: dict[str, dict[str, Any]] = {
    "MultVAE": {**ANNEALING, "latent_dimension": LATENT},
    "MultDAE": {"latent_dimension": LATENT},
    "MultiVAE (RecBole)": {**ANNEALING, "latent_dimension": 2 * LATENT},
    "MultVAE bf16": {**ANNEALING, "latent_dimension": LATENT, "precision": "bf16"},
    "MultVAE sampled": {**ANNEALING, "latent_dimension": LATENT, "sampled_softmax": 500},
    "MultVAE sampled, lazy": {**ANNEALING, "latent_dimension": LATENT, "sampled_softmax": 500, "learner": "sparse_adam"},
}
HIDDEN = {"I-600-200-600-I": [600], "I-200-I": []}
METRICS = ("recall@10", "mrr@10", "ndcg@10", "hit@10", "precision@10")


class RoundedProducts(TorchDispatchMode):
    """bf16 products as a processor without bf16 can compute them quickly: in float32, of bf16 numbers, rounded to bf16."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in (torch.ops.aten.mm.default, torch.ops.aten.addmm.out) or args[0].dtype != torch.bfloat16:
            return func(*args, **kwargs)
        *_, left, right = (tensor.float() for tensor in args)
        product = (left @ right) + (args[0].float() if len(args) == 3 else 0)
        return kwargs["out"].copy_(product) if "out" in kwargs else product.bfloat16()


def train(model: str, network: str, dataset: str, keys: dict[str, Any]) -> tuple[dict[str, float], float]:
    """Train and test one model. Returns its metrics and the peak memory of the process in MiB."""
    sys.argv = sys.argv[:1]
    from recbole_multvae.commands.train import run
    from recbole_multvae.training.hardware import has_bf16

    logging.disable(logging.INFO)
    paper = {} if model.endswith("(RecBole)") else PAPER
    keys = {**SHARED, **paper, **MODELS[model], "mlp_hidden_size": HIDDEN[network], **keys}
    rounded = keys.get("precision") == "bf16" and not has_bf16(torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder, RoundedProducts() if rounded else nullcontext():
        result = run(model.split()[0], dataset, config_dict={**keys, "checkpoint_dir": folder})
    return dict(result["test_result"]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Train everything and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", default="dataset/", help="the folder that holds the data set's folder")
    parser.add_argument("--benchmark_filename", nargs=3, help="RecBole's key: the split that the data set comes with")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020, 2021, 2022])
    parser.add_argument("--models", nargs="+", default=list(MODELS)[:3], choices=MODELS)
    parser.add_argument("--networks", nargs="+", default=list(HIDDEN), choices=HIDDEN)
    parser.add_argument("--epochs", type=int, default=400, help="at most (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=500, help="users in a training batch")
    args = parser.parse_args()
    print(f"{args.dataset}, seeds {args.seeds}, batch {args.batch}: mean ± standard deviation of the test metrics\n")
    print("| network | model | " + " | ".join(METRICS) + " | peak MiB |")
    print("|---|---|" + "---|" * (len(METRICS) + 1))
    keys = {name: getattr(args, name) for name in ("data_path", "benchmark_filename", "epochs")}
    keys["train_batch_size"] = args.batch
    context = multiprocessing.get_context("spawn")
    for network in args.networks:
        for model in args.models:
            runs = []
            for seed in args.seeds:
                with context.Pool(1) as pool:
                    runs.append(pool.apply(train, (model, network, args.dataset, {**keys, "seed": seed})))
            cells = []
            for metric in METRICS:
                values = [metrics[metric] for metrics, _ in runs]
                cells.append(f"{statistics.mean(values):.4f} ± {statistics.stdev(values) if len(values) > 1 else 0:.4f}")
            peak = f"{max(memory for _, memory in runs):.0f}"
            print(f"| {network} | {model} | " + " | ".join([*cells, peak]) + " |", flush=True)


if __name__ == "__main__":
    Path("log").mkdir(exist_ok=True)
    main()
