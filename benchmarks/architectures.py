"""Every kind of model that multvae-export takes: size of the file, time and exactness of the export, and one request.

    python benchmarks/architectures.py [--data_path <folder>] [--dataset ml-1m] [--models EASE Pop] [--requests 500]

Each model is trained by the training command, exported in fp32, and asked for the 10 best items of one user a request, a
different user each time; the file and RecBole's ``full_sort_topk`` take turns. Training is short: sizes and times do not
depend on it, but for the sparse matrix of SLIMElastic.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from machine import describe, quiet
from multvae_export.benchmark.measure import take_turns
from multvae_export.benchmark.session import CPU

DIFFERENT, TOP = 500, 10
SHORT = {"epochs": 1, "show_progress": False, "state": "ERROR"}
#: RecBole's loader for auto-encoders draws no negative items.
BY_USER: dict[str, Any] = {"train_neg_sample_args": None}
#: The models with the further keys that they need.
MODELS: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("MultVAE", "MultDAE", "EASE", "ADMMSLIM", "ItemKNN", "Pop", "BPR", "LightGCN", "SimpleX")},
    **{name: BY_USER for name in ("MultiVAE", "MultiDAE", "RecVAE", "MacridVAE")},
    "SLIMElastic": {"alpha": 0.01, "l1_ratio": 0.1},
}


def requests_of(model: Any, data: Any, valid_data: Any, path: str, io: str) -> dict[str, Callable[[int], Any]]:
    """For each contestant the function that answers the n-th request."""
    from recbole.utils.case_study import full_sort_topk

    session, k = onnxruntime.InferenceSession(path, providers=[CPU]), np.array([TOP])
    ids = valid_data.uid_list[:DIFFERENT].tolist()
    if io == "users":
        tokens = data.field2id_token[data.uid_field]
        feeds = [{"user": np.array([tokens[user]], dtype=object), "k": k} for user in ids]
    else:
        tokens = data.field2id_token[data.iid_field].astype(object)
        feeds = [{"history": tokens[valid_data.uid2history_item[user].numpy()][None], "k": k} for user in ids]
    return {
        "file": lambda n: session.run(None, feeds[n % len(feeds)]),
        "RecBole": lambda n: full_sort_topk([ids[n % len(ids)]], model, valid_data, TOP),
    }


def row(name: str, dataset: str, data_path: Path, requests: int) -> list[str]:
    """Train and export one model, and measure a request."""
    from multvae_export import export
    from recbole.quick_start import load_data_and_model

    from recbole_multvae.experiment.run import run

    run(name, dataset, config_dict={**SHORT, **MODELS[name], "data_path": str(data_path), "checkpoint_dir": f"saved-{name}"})
    (checkpoint,) = map(str, Path(f"saved-{name}").glob("*.pth"))
    start = time.perf_counter()
    exported = export(checkpoint, f"{name}.onnx", dataset_path=str(data_path))
    seconds = time.perf_counter() - start
    _, model, data, _, valid_data, _ = load_data_and_model(checkpoint)
    model.eval()
    with torch.no_grad():
        times = take_turns(requests_of(model, data, valid_data, str(exported.path), exported.io), requests)
    p50 = {contestant: float(np.percentile(values, 50)) for contestant, values in times.items()}
    size = sum(file.stat().st_size for file in exported.files) / 1e6
    proof = dict(exported.checks)["equals torch"].split()[-1]
    return [name, exported.io, f"{seconds:.1f} s", f"{size:.2f} MB", proof, *(f"{value:.2f}" for value in p50.values())]


def main() -> None:
    """Print the table, a row a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", type=Path, default=Path("dataset"), help="the folder that holds the data set")
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS), metavar="MODEL")
    parser.add_argument("--requests", type=int, default=500)
    args = parser.parse_args()
    quiet()
    print(f"{describe()}, onnxruntime {onnxruntime.__version__}, {args.dataset}\n")
    columns = ["model", "--io", "export and proof", "file", "largest score difference", "p50 ms", "RecBole p50 ms"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    data_path = args.data_path.absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in args.models:
            print(f"| {' | '.join(row(name, args.dataset, data_path, args.requests))} |", flush=True)


if __name__ == "__main__":
    main()
