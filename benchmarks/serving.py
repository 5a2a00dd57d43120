"""Gain and cost of fewer bits: latency beside the floor, file size, and NDCG@100.

    python benchmarks/serving.py [--data_path <folder of ml-1m>] [--repeats 5] [--epochs 40]

At 20,108 items, a 600-200-600 MultVAE of random weights in every precision, ``--io ids``, batch 1: the files and the reads
of their floors take turns, 200 requests each a repetition. The fastest read is the floor. On ml-1m, where ``--data_path``
has it (ratings of 4 and more, 750 users held out), a 600-200-600 MultVAE is trained, exported in every precision, and
measured as ``--histories`` does.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import machine
import numpy as np
import onnxruntime
import torch
from multvae_export.architectures.auto_encoder import AutoEncoder, usual_activations
from multvae_export.benchmark.floor import read
from multvae_export.benchmark.measure import take_turns
from multvae_export.benchmark.session import CPU, Call, ServedFile, histories
from multvae_export.exporter import export
from multvae_export.graph.onnx_file import to_onnx, write
from multvae_export.nodes.layers import Layer
from multvae_export.nodes.quantise import PRECISIONS
from multvae_export.target import Target
from multvae_export.trained_model import Model

ITEMS, HIDDEN, LATENT = 20108, 600, 200
REQUESTS, HELD_OUT_USERS, LEAST_RATING = 200, 750, 4
KEYS = {
    "show_progress": False, "state": "ERROR", "mlp_hidden_size": [HIDDEN],
    "decoder_hidden_size": "mirrored", "latent_dimension": LATENT,
    "total_anneal_steps": 2000, "train_batch_size": 100, "eval_step": 10, "data_path": ".",
}  # fmt: skip


def random_model(items: int) -> Model:
    """A MultVAE of the sizes above: neither time nor memory depends on the weights."""
    generator = torch.Generator().manual_seed(0)

    def layer(rows: int, columns: int) -> Layer:
        return 0.1 * torch.randn(rows, columns, generator=generator), 0.1 * torch.randn(columns, generator=generator)

    encoder = (layer(items, HIDDEN), layer(HIDDEN, LATENT))
    decoder = (layer(LATENT, HIDDEN), layer(HIDDEN, items))
    tokens = ("[PAD]", *(str(n) for n in range(items)))
    network = AutoEncoder((*encoder, *decoder), usual_activations(4, 2, latent_tanh=False), norm=True, latent=2)
    return Model("MultVAE", network, tokens, "random", {})


def latency(repeats: int) -> None:
    """Print p50 over the floor and over fp32's, of every precision."""
    model, batches = random_model(ITEMS), histories(ITEMS + 1, 1)
    items = float(np.mean([len(rows[0]) for rows in batches]))
    calls, factors = dict[str, Call](), {}
    for precision in PRECISIONS:
        write(to_onnx(model, Target("ids", precision)), Path(f"{precision}.onnx"))
        file = ServedFile(f"{precision}.onnx", CPU)
        calls[precision] = file.call(batches)
        calls[f"read {precision}"], factors[precision] = read(file.bytes_read(items), CPU)
    runs = [take_turns(calls, REQUESTS) for _ in range(repeats)]
    p50 = {name: np.array([np.median(run[name]) for run in runs]) for name in PRECISIONS}
    print(f"\n## {ITEMS} items, 600-200-600, --io ids, batch 1: {repeats} repetitions\n")
    print("| precision | file | of fp32's | p50 ms | floor ms | p50 / floor | p50 / fp32's |\n|---|---|---|---|---|---|---|")
    size = {precision: Path(f"{precision}.onnx").stat().st_size for precision in PRECISIONS}
    for name in PRECISIONS:
        floor = np.array([factors[name] * run[f"read {name}"].min() for run in runs])
        figures = [spread(value) for value in (p50[name], floor, p50[name] / floor, p50[name] / p50["fp32"])]
        print(f"| {name} | {size[name] / 1e6:.1f} MB | {size[name] / size['fp32']:.3f} | {' | '.join(figures)} |")


def spread(values: np.ndarray) -> str:
    """Mean ± standard deviation."""
    return f"{values.mean():.2f} ± {values.std(ddof=1) if len(values) > 1 else 0:.2f}"


def split(source: Path) -> None:
    """Write ``ml-1m/ml-1m.inter`` without the held-out users, and their rows as ``held-out.inter``."""
    header, *lines = (source / "ml-1m" / "ml-1m.inter").read_text("utf-8").splitlines()
    names = [name.split(":")[0] for name in header.split("\t")]
    rows = [line.split("\t") for line in lines]
    rows = [row for row in rows if float(row[names.index("rating")]) >= LEAST_RATING]
    users = sorted({row[names.index("user_id")] for row in rows})
    held_out = set(np.random.default_rng(0).choice(users, HELD_OUT_USERS, replace=False).tolist())
    Path("ml-1m").mkdir()
    for path, out in (("ml-1m/ml-1m.inter", False), ("held-out.inter", True)):
        kept = ["\t".join(row) for row in rows if (row[names.index("user_id")] in held_out) == out]
        Path(path).write_text("\n".join([header, *kept]) + "\n", "utf-8")


def quality(data_path: Path, epochs: int) -> None:
    """Print the measurements of multvae-export on the held-out users of ml-1m."""
    from recbole_multvae.experiment.run import run

    split(data_path)
    run("MultVAE", "ml-1m", config_dict={**KEYS, "epochs": epochs})
    (checkpoint,) = map(str, Path("saved").glob("*.pth"))
    print(f"\n## ml-1m: {epochs} epochs, {HELD_OUT_USERS} held-out users\n")
    print("| precision | keeps fp32's ranking |\n|---|---|")
    for precision in PRECISIONS[1:]:
        exported = export(checkpoint, "ml-1m.onnx", precision=precision, histories="held-out.inter", min_overlap=0)
        print(f"| {precision} | {exported.checks[-1][1]} |")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", type=Path, default=Path("dataset"), help="the folder that holds ml-1m")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    args = parser.parse_args()
    machine.quiet()
    print(f"{machine.describe()}, onnxruntime {onnxruntime.__version__}")
    data_path = args.data_path.absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        latency(args.repeats)
        if (data_path / "ml-1m").is_dir():
            quality(data_path, args.epochs)


if __name__ == "__main__":
    main()
