"""The command ``multvae-benchmark``: the latency of exported files, see :mod:`.measure`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import onnxruntime
import torch

from multvae_export.architectures import Architecture
from multvae_export.benchmark.measure import HEADER, LEAST, measure
from multvae_export.benchmark.session import CPU, CUDA, ServedFile
from multvae_export.checkpoint import contents as checkpoints
from multvae_export.checkpoint.dataset import DataSet
from multvae_export.console import add_dataset_options, run_command
from multvae_export.errors import OptionError
from multvae_export.trained_model import architecture_of

BATCHES = {CUDA: (1, 256, 4096)}
DEFAULT_BATCHES = (1, 16, 256)


def _providers(names: Sequence[str] | None) -> list[str]:
    if names:
        return list(dict.fromkeys(names))
    usable = torch.cuda.is_available() and CUDA in onnxruntime.get_available_providers()
    return [CPU, CUDA] if usable else [CPU]


def _open(paths: Sequence[str], provider: str) -> list[ServedFile]:
    files = [ServedFile(path, provider) for path in dict.fromkeys(paths)]
    for file in files[1:]:
        if file.digest != files[0].digest:
            raise OptionError(f"{file.path} and {files[0].path} have different items: compare files of one model.")
        if (file.io == "users") != (files[0].io == "users"):
            raise OptionError(f"one of {file.path} and {files[0].path} answers for users, and the other for histories.")
    return files


def _model(checkpoint: str, data: DataSet | None, file: ServedFile) -> Architecture:
    model = architecture_of(checkpoints.load(checkpoint, data))
    if (model.spec(), model.n_items) != (file.spec, file.n_items):
        raise OptionError(
            f"{checkpoint} is a model of {model.spec()}, and {file.path} one of {file.spec}: name the file's checkpoint."
        )
    return model


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="multvae-benchmark",
        description="Latency and throughput of files of multvae-export, beside a lower bound from memory and arithmetic.",
        allow_abbrev=False,
    )
    parser.add_argument("files", metavar="MODEL.onnx", nargs="+", help="files of one model, measured in turns")
    parser.add_argument(
        "--checkpoint", metavar="MODEL.pth", help="measure it in eager torch too; the file is never executed"
    )
    add_dataset_options(parser)
    parser.add_argument(
        "--batch-size", type=int, nargs="+", metavar="B", help="users in a request (default: 1 16 256; on CUDA 1 256 4096)"
    )
    parser.add_argument(
        "--provider", nargs="+", metavar="P", help=f"execution providers (default: {CPU}, and {CUDA} where there is a GPU)"
    )
    parser.add_argument(
        "--requests",
        type=int,
        default=500,
        metavar="N",
        help=f"requests at batch size 1, after a warm-up; N / B, but {LEAST} or more, at B (default: %(default)s)",
    )
    return parser


def run(args: argparse.Namespace) -> Iterator[list[str]]:
    """The rows of the table, as they are measured."""
    for name, values in (("--batch-size", args.batch_size or [1]), ("--requests", [args.requests])):
        if min(values) < 1:
            raise OptionError(f"{name}={min(values)} is not allowed: expected 1 or more.")
    data = DataSet.named(args.checkpoint, args.dataset_path, args.trust_dataset)
    model: Architecture | None = None
    for provider in _providers(args.provider):
        files = _open(args.files, provider)
        if args.checkpoint and model is None:
            model = _model(args.checkpoint, data, files[0])
        for batch in args.batch_size or BATCHES.get(provider, DEFAULT_BATCHES):
            yield from measure(files, model, batch, args.requests)


def _print(args: argparse.Namespace) -> None:
    torch.set_float32_matmul_precision("high")  # TF32 where a GPU has it, as onnxruntime does.
    for number, row in enumerate(run(args)):
        if not number:
            print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
        print(f"| {' | '.join(row)} |", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    args = _parser().parse_args(argv)
    return run_command(lambda: _print(args))
