"""Export time, file size, largest score difference, and the latency of one request beside torch and RecBole, in one run.

    python benchmarks/export.py [--data_path ../shared/data] [--requests 1000]

For ml-100k, for ml-1m where ``--data_path`` has it, and for a made data set of ML-20M's 20,108 items, a 600-200-600 MultVAE
is trained for one epoch and exported in its three forms. A request is one user's history, a different one each time; the
competitors take turns of 50 requests, so that a slow moment of the machine hits all of them.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

ITEMS, USERS = 20108, 3000
TURN, WARM = 50, 25
KEYS = {"epochs": 1, "show_progress": False, "state": "ERROR", "mlp_hidden_size": [600], "latent_dimension": 200}


def make_dataset(folder: Path) -> None:
    """Power-law items and lognormal histories, every item at least once."""
    rng = np.random.default_rng(0)
    popularity = 1 / np.arange(1, ITEMS + 1) ** 0.8
    rows = [f"{i % USERS}\t{i}" for i in range(ITEMS)]
    for user, length in enumerate(np.clip(rng.lognormal(3.6, 1.0, USERS), 10, 2000).astype(int)):
        items = rng.choice(ITEMS, size=length, replace=False, p=popularity / popularity.sum())
        rows += [f"{user}\t{item}" for item in items]
    (folder / "made").mkdir()
    (folder / "made" / "made.inter").write_text("user_id:token\titem_id:token\n" + "\n".join(rows) + "\n")


def train(dataset: str, data_path: str) -> Any:
    """Configuration, data, model and checkpoint of one epoch."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    import recbole_multvae  # noqa: F401

    config = Config("MultVAE", dataset, config_dict={**KEYS, "data_path": data_path})
    init_seed(config["seed"], True)
    data = create_dataset(config)
    train_data, valid_data, _ = data_preparation(config, data)
    model = get_model("MultVAE")(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "MultVAE")(config, model)
    trainer.fit(train_data, valid_data, verbose=False)
    return data, valid_data, model.eval(), trainer.saved_model_file


def competitors(data: Any, valid_data: Any, model: Any, files: dict[str, str]) -> dict[str, Callable[[int], Any]]:
    """What answers a request for a user's 10 best items, by name."""
    from multvae_export.model import from_checkpoint
    from multvae_export.reader import read
    from recbole.utils.case_study import full_sort_topk

    scorer = from_checkpoint(read(files["checkpoint"])).scorer
    tokens, k = data.field2id_token["item_id"], np.array([10])
    ids = {user: valid_data.uid2history_item[user].numpy() for user in valid_data.uid_list.tolist()}
    opened = {
        io: onnxruntime.InferenceSession(files[io], providers=["CPUExecutionProvider"]) for io in ("tokens", "ids", "dense")
    }
    dense = {user: scorer.clicks(torch.from_numpy(row[None])).numpy() for user, row in list(ids.items())[:500]}
    return {
        "onnx tokens": lambda u: opened["tokens"].run(None, {"history": tokens[ids[u]][None].astype(object), "k": k}),
        "onnx ids": lambda u: opened["ids"].run(None, {"history": ids[u][None], "k": k}),
        "onnx dense": lambda u: opened["dense"].run(None, {"x": dense[u]}),
        "torch eager": lambda u: torch.topk(model.score_histories([ids[u].tolist()]), 10),
        "RecBole full_sort_topk": lambda u: full_sort_topk([u], model, valid_data, 10),
    }


def latency(calls: dict[str, Callable[[int], Any]], users: list[int]) -> dict[str, np.ndarray]:
    """Milliseconds of every request, by competitor, in turns of TURN requests.

    The first WARM of a turn do not count: the threads of whoever came before may still be spinning.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(0, len(users), TURN):
        for name, call in calls.items():
            for n, user in enumerate(users[turn : turn + TURN]):
                start = time.perf_counter()
                call(user)
                if n >= WARM:
                    times[name].append(1000 * (time.perf_counter() - start))
    return {name: np.array(values) for name, values in times.items()}


def measure(dataset: str, data_path: str, requests: int) -> None:
    """Print the two tables of a data set."""
    from multvae_export import export

    data, valid_data, model, checkpoint = train(dataset, data_path)
    print(f"\n## {dataset}: {data.item_num - 1} items, 600-200-600\n")
    print("| form | export and proof | file | largest score difference |\n|---|---|---|---|")
    files = {"checkpoint": checkpoint}
    for io in ("tokens", "ids", "dense"):
        start = time.perf_counter()
        exported = export(checkpoint, f"{dataset}-{io}.onnx", io=io)
        seconds = time.perf_counter() - start
        proof = dict(exported.checks)["equals torch"].split()[-1]
        files[io] = str(exported.path)
        print(f"| {io} | {seconds:.1f} s | {exported.path.stat().st_size / 1e6:.1f} MB | {proof} |")
    users = (valid_data.uid_list.tolist()[:500] * (requests // 500 + 1))[:requests]
    print("\n| one request | p50 ms | p99 ms |\n|---|---|---|")
    with torch.no_grad():
        for name, values in latency(competitors(data, valid_data, model, files), users).items():
            print(f"| {name} | {np.percentile(values, 50):.2f} | {np.percentile(values, 99):.2f} |")


def main() -> None:
    """Measure every data set there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", type=Path, default=Path("dataset"), help="the folder that holds ml-1m")
    parser.add_argument("--requests", type=int, default=1000)
    args = parser.parse_args()
    sys.argv = sys.argv[:1]
    logging.disable(logging.WARNING)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {torch.get_num_threads()} threads, onnxruntime {onnxruntime.__version__}")
    data_path = args.data_path.absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_dataset(Path(folder))
        measure("ml-100k", folder, args.requests)
        if (data_path / "ml-1m").is_dir():
            measure("ml-1m", str(data_path), args.requests)
        measure("made", folder, args.requests)


if __name__ == "__main__":
    main()
