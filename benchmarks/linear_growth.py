"""Seconds and peak memory of SparseEDLAE's closed form at growing catalogues, with the keys that auto chooses.

    python benchmarks/linear_growth.py [--items 10000 41000 100000 1000000] [--users 30000] [--export]

Made data. Each size has a process of its own. Its memory before the fit, Python with its libraries and the clicks, is
printed beside the peak. ``--export`` writes each as an ONNX file too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from contestants import memory
from machine import describe
from made_data import clicks
from multvae_export.architectures.linear import linear_model
from multvae_export.architectures.similarity import Entries
from multvae_export.graph.onnx_file import to_onnx, write
from multvae_export.target import Target
from multvae_export.trained_model import Model
from scipy.sparse import csr_matrix

from recbole_multvae.config.automatic import RULES, Size
from recbole_multvae.models.sparseedlae import SparseEDLAESettings, WeightedGram, closed_form

COLUMNS = ("items", "clicks", "neighbours", "entries", "seconds", "CPU s", "GiB before", "peak GiB", "file MB")


def measure(users: int, items: int, file: Path | None) -> dict[str, float]:
    """The row of one size; the file is written and removed."""
    rows, columns = clicks(users, items)
    matrix = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (users, items))
    neighbours, l2 = (RULES[key]({}, Size(users, items, len(rows)))[0] for key in ("neighbours", "reg_weight"))
    settings = SparseEDLAESettings(neighbours=neighbours, reg_weight=l2)
    del rows, columns
    before, start, worked = memory("VmRSS"), time.perf_counter(), time.process_time()
    gram = WeightedGram(matrix, settings.user_exponent, settings.train_memory * 2**19)
    similarity = closed_form(gram, neighbours, settings.dropout_prob, l2)
    figures = [items, matrix.nnz, neighbours, similarity.nnz, time.perf_counter() - start, time.process_time() - worked]
    figures += [before / 1024, memory("VmHWM") / 1024, file_size(similarity, file) if file else float("nan")]
    return dict(zip(COLUMNS, figures, strict=True))


def file_size(similarity: csr_matrix, file: Path) -> float:
    """MB of the exported model."""
    items = similarity.shape[0] + 1
    entries = similarity.tocoo()
    rows, columns = (torch.from_numpy(places.astype(np.int64)) + 1 for places in (entries.row, entries.col))
    model = linear_model(Entries(rows, columns, torch.from_numpy(entries.data), items), torch.zeros(items))
    tokens = ("[PAD]", *(str(item) for item in range(items - 1)))
    write(to_onnx(Model("SparseEDLAE", model, tokens, "made", {}), Target()), file)
    size = file.stat().st_size / 1e6
    file.unlink()
    return size


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 41_000, 100_000, 1_000_000])
    parser.add_argument("--users", type=int, default=30_000)
    parser.add_argument("--export", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        file = Path(f"linear-{args.items[0]}.onnx") if args.export else None
        print(json.dumps(measure(args.users, args.items[0], file)))
        return
    print(f"{describe()}\n\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for items in args.items:
        command = [sys.executable, __file__, "--one", f"--items={items}", f"--users={args.users}"]
        command += ["--export"] if args.export else []
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        cells = (f"{value:,}" if isinstance(value, int) else f"{value:.1f}" for value in json.loads(answer).values())
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
