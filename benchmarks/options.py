"""Time that the options of an export add to a request: multvae-benchmark of a file with each, and of the plain one.

    python benchmarks/options.py --precision fp32 int8 --batch-size 1 16

The network is MultVAE's with random weights, which the time does not depend on; histories are made, of 47 items on average.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import pairwise
from pathlib import Path

import torch
from machine import describe
from multvae_export.architectures.auto_encoder import AutoEncoder, usual_activations
from multvae_export.benchmark import command as benchmark
from multvae_export.graph.onnx_file import to_onnx, write
from multvae_export.nodes.layers import Layer
from multvae_export.target import Options, Target
from multvae_export.trained_model import Model


def main() -> None:
    """Write the files and run multvae-benchmark on them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_108)
    parser.add_argument("--hidden", type=int, default=600)
    parser.add_argument("--latent", type=int, default=200)
    parser.add_argument("--io", default="ids", choices=["ids", "tokens"])
    parser.add_argument("--precision", nargs="+", default=["fp32"])
    parser.add_argument("--batch-size", nargs="+", default=["1"])
    parser.add_argument("--requests", default="1000")
    args = parser.parse_args()
    model = made(args.items, args.hidden, args.latent)
    print(f"{describe()}\n\n{args.items} items, {args.hidden}-{args.latent}-{args.hidden}\n")
    options = {"plain": Options(), **{name: Options(**{name: True}) for name in ("filters", "reasons", "posterior")}}
    for precision in args.precision:
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / f"{name}.onnx" for name in options]
            for file, some in zip(files, options.values(), strict=True):
                write(to_onnx(model, Target(args.io, precision, some)), file)
            flags = ["--provider", benchmark.CPU, "--requests", args.requests, "--batch-size", *args.batch_size]
            benchmark.main([*map(str, files), *flags])
            print()


def made(items: int, hidden: int, latent: int) -> Model:
    """A MultVAE with random weights."""
    generator = torch.Generator().manual_seed(0)

    def layer(rows: int, columns: int) -> Layer:
        return torch.randn(rows, columns, generator=generator) / rows**0.5, torch.zeros(columns)

    layers = tuple(layer(*sizes) for sizes in pairwise([items, hidden, latent, hidden, items]))
    network = AutoEncoder(layers, usual_activations(4, 2, latent_tanh=False), True, 2, layer(hidden, latent))
    return Model("MultVAE", network, ("[PAD]", *(f"i{n}" for n in range(items))), "made", {})


if __name__ == "__main__":
    main()
