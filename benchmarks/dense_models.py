"""Models with a matrix of all pairs of items: seconds and peak memory of EDLAE and of RecBole's EASE, on made data.

    python benchmarks/dense_models.py [--before FOLDER] [--limit 900]

Each trains in a process of its own with its library's ``Trainer.fit``, and saves its checkpoint. The seconds go from the
split data to the checkpoint; "model GiB" is the peak without what the process had before the model was made. EASE is trained
first, and the last columns are its figures divided by those of the row. ``--before`` adds EDLAE as it is in another
folder, a checkout of this repository. A process is ended at the limit, and ">" then stands before what it had taken so far.
EASE takes 11 GiB for 17,632 items.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from contestants import configure, memory
from machine import describe
from workers import HERE, made

#: Fewer users than items, and more.
SIZES = [(1_900, 10_000), (20_000, 10_000), (1_900, 17_632), (20_000, 17_632)]


class Taken(NamedTuple):
    """What a training took: its seconds, the GiB at the peak and before the model was made, and "> " if it was ended."""

    seconds: float
    peak: float
    before: float
    more: str


def train(model: str, dataset: str, data_path: str) -> None:
    """Train in this process. Prints the MiB before the model is made, and then the seconds and the MiB at the peak."""
    config = configure(model, {"show_progress": False, "state": "ERROR", "use_gpu": False}, dataset, data_path)
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer

    train_data, *_ = data_preparation(config, create_dataset(config))
    torch.optim.Adam([torch.zeros(1)])  # Which imports a hundred MiB of torch.
    started = time.perf_counter()
    print(json.dumps({"before": memory("VmRSS")}), flush=True)
    network = get_model(model)(config, train_data._dataset)
    get_trainer(config["MODEL_TYPE"], model)(config, network).fit(train_data, verbose=False)
    print(json.dumps({"seconds": time.perf_counter() - started, "peak": memory("VmHWM")}), flush=True)


def measure(model: str, code: Path, dataset: str, data_path: Path, limit: int) -> Taken:
    """The measurements of a process that trains."""
    path = os.pathsep.join(map(str, (HERE, code, code / "export")))
    described = json.dumps({"model": model, "dataset": dataset, "data_path": str(data_path.resolve())})
    command = [sys.executable, "-W", "ignore", __file__, "--train", described]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE) as process,
    ):
        before = json.loads(process.stdout.readline())["before"]  # type: ignore[union-attr]
        try:
            taken = json.loads(process.communicate(timeout=limit)[0])
            return Taken(taken["seconds"], taken["peak"] / 1024, before / 1024, "")
        except subprocess.TimeoutExpired:
            peak = memory("VmHWM", process.pid)
            process.kill()
            return Taken(limit, peak / 1024, before / 1024, "> ")


def row(name: str, size: str, taken: Taken, ease: Taken | None) -> str:
    """A line of the Markdown table."""
    figures = taken.seconds, taken.peak, taken.peak - taken.before
    cells = [f"{taken.more}{figure:.{digits}f}" for figure, digits in zip(figures, (1, 2, 2), strict=True)]
    if ease:
        of_ease = ease.seconds, ease.peak, ease.peak - ease.before
        cells += [f"{ease.more}{other / figure:.1f}" for other, figure in zip(of_ease, figures, strict=True)]
    return f"| {size} | {name} | {' | '.join(cells)} |"


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=[f"{users}x{items}" for users, items in SIZES], help="USERSxITEMS")
    parser.add_argument("--without_ease", action="store_true", help="leave EASE out")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier version")
    parser.add_argument("--limit", type=int, default=900, help="seconds (default: %(default)s)")
    parser.add_argument("--data_path", type=Path, default=Path("dataset"), help="where the made data are kept")
    parser.add_argument("--train", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        return train(**json.loads(args.train))
    ours = {"EDLAE": HERE.parent} | ({"EDLAE before": args.before.resolve()} if args.before else {})
    contestants: dict[str, Any] = ({} if args.without_ease else {"EASE (RecBole)": HERE.parent}) | ours
    columns = ["users x items", "model", "seconds", "peak GiB", "model GiB"]
    columns += [] if args.without_ease else [f"EASE's {column} / this" for column in columns[2:]]
    print(f"{describe()}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    for users, items in (map(int, size.split("x")) for size in args.sizes):
        dataset, ease = made(args.data_path, users, items), None
        for name, code in contestants.items():
            taken = measure(name.split()[0], code, dataset, args.data_path, args.limit)
            ease = taken if "EASE" in name else ease
            print(row(name, f"{users:,} x {items:,}", taken, ease), flush=True)


if __name__ == "__main__":
    main()
