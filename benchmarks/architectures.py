"""File size and latency of one request, for every kind of model that multvae-export knows: a table for each data set.

    python benchmarks/architectures.py [--data_path ../shared/data] [--datasets ml-1m] [--models EASE BPR] [--requests 500]

Each model is trained for one epoch with RecBole's settings and exported in its first form, with proof. The files take turns,
so that a slow moment of the machine hits all of them; a request is one history, or one user, and a different one each time.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
from machine import describe
from multvae_export import export
from multvae_export.benchmark import CPU, Served, take_turns
from multvae_export.errors import ExportError

from recbole_multvae.runner import run

MODELS = (
    "MultVAE",
    "EASE",
    "SLIMElastic",
    "ADMMSLIM",
    "ItemKNN",
    "Pop",
    "RecVAE",
    "MacridVAE",
    "BPR",
    "LightGCN",
    "SimpleX",
)
KEYS = {"epochs": 1, "show_progress": False, "state": "ERROR", "eval_batch_size": 2**24}


def exported(model: str, dataset: str, data_path: str) -> tuple[str, str, float] | None:
    """Train and export a model: the file, how it describes itself, and the seconds of the export; None if it is refused."""
    folder = Path(f"saved-{dataset}-{model}")
    # RecBole's loader for auto-encoders draws no negative items.
    own = {"train_neg_sample_args": None} if model.endswith("VAE") and model != "MultVAE" else {}
    run(model, dataset, config_dict={**KEYS, **own, "data_path": data_path, "checkpoint_dir": str(folder)})
    (checkpoint,) = folder.glob("*.pth")
    start = time.perf_counter()
    try:
        made = export(checkpoint, f"{dataset}-{model}.onnx", dataset_path=data_path)
    except ExportError as error:
        print(f"{model}: {error}", file=sys.stderr)
        return None
    return str(made.path), f"{made.io} {made.model.architecture}", time.perf_counter() - start


def measure(dataset: str, models: list[str], data_path: str, requests: int) -> None:
    """Print the table of a data set."""
    made = {model: found for model in models if (found := exported(model, dataset, data_path))}
    calls = {}
    for model, (path, _, _) in made.items():
        file = Served(path, CPU)
        calls[model] = file.call(file.requests(1))
    times = take_turns(calls, requests)
    print(f"\n## {dataset}\n\n| model | form | export and proof | file | p50 ms | p99 ms |\n|---|---|---|---|---|---|")
    for model, (path, form, seconds) in made.items():
        p50, p99 = np.percentile(times[model], [50, 99])
        print(f"| {model} | {form} | {seconds:.1f} s | {Path(path).stat().st_size / 1e6:.2f} MB | {p50:.2f} | {p99:.2f} |")


def main() -> None:
    """Measure every data set that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", type=Path, default=Path("dataset"), help="the folder of RecBole's data sets")
    parser.add_argument("--datasets", nargs="+", default=["ml-1m"])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--requests", type=int, default=500)
    args = parser.parse_args()
    sys.argv = sys.argv[:1]
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print(f"{describe()}, onnxruntime {onnxruntime.__version__}")
    data_path = str(args.data_path.absolute())
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for dataset in args.datasets:
            measure(dataset, args.models, data_path, args.requests)


if __name__ == "__main__":
    main()
