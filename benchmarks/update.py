"""``multvae-update`` beside a training on everything: processor seconds of the commands, and the largest difference of B.

    python benchmarks/update.py [--dataset=ml-100k] [--data_path=FOLDER] [--share=0.01]

The last clicks are the day, a share of all; where the data set has no times, clicks drawn at random. The first training
learns from the others.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import recbole
import torch
from machine import describe, quiet

from recbole_multvae import checkpoint

MODELS = ("EDLAE", "SparseEDLAE")
EXAMPLES = Path(recbole.__file__).parent / "dataset_example"
ROOT = Path(__file__).parents[1]
#: All clicks are for the training.
NO_TEST = {"split": {"RS": [1, 0, 0]}}
COLUMNS = ("model", "training, processor s", "update", "largest difference", "checkpoint MB", "of it clicks MB")


def write(lines: Sequence[str], header: str, file: Path) -> None:
    """Write an atomic file."""
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join([header, *lines, ""]))


def split(source: Path, share: float, folder: Path) -> int:
    """Write ``all``, ``before`` and ``day.inter`` into a folder. Returns the number of clicks of the day."""
    header, *lines = source.read_text().splitlines()
    names = [column.partition(":")[0] for column in header.split("\t")]
    if "timestamp" in names:
        lines.sort(key=lambda line: float(line.split("\t")[names.index("timestamp")]))
    else:
        random.Random(0).shuffle(lines)
    number = round(share * len(lines))
    write(lines, header, folder / "all" / "all.inter")
    write(lines[:-number], header, folder / "before" / "before.inter")
    write(lines[-number:], header, folder / "day.inter")
    return number


def seconds(*command: str) -> float:
    """Processor seconds of a command."""

    def spent() -> float:
        times = os.times()
        return times.children_user + times.children_system

    start = spent()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return spent() - start


def train(model: str, dataset: str) -> tuple[float, Path]:
    """Train on all clicks of a data set of the working folder. Returns the seconds and the checkpoint."""
    keys = {
        "model": model,
        "dataset": dataset,
        "data_path": ".",
        "checkpoint_dir": f"{model}-{dataset}",
        "eval_args": NO_TEST,
    }
    taken = seconds(str(ROOT / "run_recbole.py"), *(f"--{key}={value}" for key, value in keys.items()))
    return taken, next(Path(f"{model}-{dataset}").glob("*.pth"))


def dense(file: Path | str) -> torch.Tensor:
    """B of a checkpoint, [I, I]."""
    saved = checkpoint.load(file)["state_dict"]
    if "similarity" in saved:
        return saved["similarity"]
    items = len(saved["offsets"]) - 1
    return torch.sparse_csr_tensor(saved["offsets"], saved["columns"].long(), saved["weights"], (items, items)).to_dense()


def row(model: str) -> str:
    """A row of the table."""
    _, old = train(model, "before")
    updating = seconds("-m", "recbole_multvae.commands.update", str(old), "day.inter", "new.pth")
    training, everything = train(model, "all")
    names = [checkpoint.load(file)["other_parameter"]["item_tokens"] for file in ("new.pth", everything)]
    assert names[0] == names[1]
    difference = float((dense("new.pth") - dense(everything)).abs().max())
    clicks = sum(part.nbytes for part in checkpoint.load("new.pth")["other_parameter"]["clicks"].values())
    size = Path("new.pth").stat().st_size / 1e6
    return f"| {model} | {training:.1f} | {updating:.1f} | {difference:.1e} | {size:.1f} | {clicks / 1e6:.1f} |"


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", type=Path, default=EXAMPLES)
    parser.add_argument("--share", type=float, default=0.01)
    args = parser.parse_args()
    quiet()
    source = (args.data_path / args.dataset / f"{args.dataset}.inter").absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        number = split(source, args.share, Path())
        print(f"{describe()}; {args.dataset}, {number:,} clicks of the day\n")
        print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
        for model in MODELS:
            print(row(model), flush=True)


if __name__ == "__main__":
    main()
