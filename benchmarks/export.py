"""Export time, file size, largest score difference, and the latency of one request beside torch and RecBole, in one run.

    python benchmarks/export.py [--data_path <folder of ml-1m>] [--requests 1000]

For ml-100k, for ml-1m where ``--data_path`` has it, and for a made data set of ML-20M's 20,108 items, a 600-200-600 MultVAE
is trained for one epoch and exported in its three forms. A request is one user's history, a different one each time; the
competitors take turns, so that a slow moment of the machine hits all of them.
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
from workers import made

ITEMS, USERS = 20108, 3000
FORMS, DIFFERENT = ("tokens", "ids", "dense"), 500
KEYS = {
    "epochs": 1,
    "show_progress": False,
    "state": "ERROR",
    "mlp_hidden_size": [600],
    "decoder_hidden_size": "mirrored",
    "latent_dimension": 200,
}


def competitors(data: Any, valid_data: Any, model: Any, files: dict[str, str]) -> dict[str, Callable[[int], Any]]:
    """For each competitor the function that answers the n-th request: the 10 best items of a user."""
    from multvae_export.ranking import multi_hot
    from recbole.utils.case_study import full_sort_topk

    tokens, k = data.field2id_token["item_id"], np.array([10])
    users = valid_data.uid_list.tolist()[:DIFFERENT]
    ids = [valid_data.uid2history_item[user].numpy() for user in users]
    dense = [multi_hot(torch.from_numpy(row[None]), len(tokens)).numpy() for row in ids]
    opened = {io: onnxruntime.InferenceSession(files[io], providers=[CPU]) for io in FORMS}

    def asked(answer: Callable[[int], Any]) -> Callable[[int], Any]:
        return lambda n: answer(n % len(users))

    calls: dict[str, Callable[[int], Any]] = {
        "onnx tokens": lambda u: opened["tokens"].run(None, {"history": tokens[ids[u]][None].astype(object), "k": k}),
        "onnx ids": lambda u: opened["ids"].run(None, {"history": ids[u][None], "k": k}),
        "onnx dense": lambda u: opened["dense"].run(None, {"x": dense[u]}),
        "torch eager": lambda u: torch.topk(model.score_histories([ids[u].tolist()]), 10),
        "RecBole full_sort_topk": lambda u: full_sort_topk([users[u]], model, valid_data, 10),
    }
    return {name: asked(answer) for name, answer in calls.items()}


def measure(dataset: str, data_path: Path, requests: int) -> None:
    """Print the two tables of a data set."""
    from multvae_export import export
    from recbole.quick_start import load_data_and_model

    from recbole_multvae.experiment.run import run

    folder = Path(f"saved-{dataset}")
    run("MultVAE", dataset, config_dict={**KEYS, "data_path": str(data_path), "checkpoint_dir": str(folder)})
    (checkpoint,) = map(str, folder.glob("*.pth"))
    _, model, data, _, valid_data, _ = load_data_and_model(checkpoint)
    model.eval()
    print(f"\n## {dataset}: {data.item_num - 1} items, 600-200-600\n")
    print("| form | export and proof | file | largest score difference |\n|---|---|---|---|")
    files: dict[str, str] = {}
    for io in FORMS:
        start = time.perf_counter()
        exported = export(checkpoint, f"{dataset}-{io}.onnx", io=io)
        seconds = time.perf_counter() - start
        proof = dict(exported.checks)["equals torch"].split()[-1]
        files[io] = str(exported.path)
        print(f"| {io} | {seconds:.1f} s | {exported.path.stat().st_size / 1e6:.1f} MB | {proof} |")
    calls = competitors(data, valid_data, model, files)
    print("\n| one request | p50 ms | p99 ms |\n|---|---|---|")
    with torch.no_grad():
        for name, values in take_turns(calls, requests).items():
            print(f"| {name} | {np.percentile(values, 50):.2f} | {np.percentile(values, 99):.2f} |")


def main() -> None:
    """Measure every data set there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", type=Path, default=Path("dataset"), help="the folder that holds ml-1m")
    parser.add_argument("--requests", type=int, default=1000)
    args = parser.parse_args()
    quiet()
    print(f"{describe()}, onnxruntime {onnxruntime.__version__}")
    data_path = args.data_path.absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        measure("ml-100k", Path("dataset"), args.requests)
        if (data_path / "ml-1m").is_dir():
            measure("ml-1m", data_path, args.requests)
        measure(made(data_path, USERS, ITEMS), data_path, args.requests)


if __name__ == "__main__":
    main()
