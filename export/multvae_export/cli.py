"""The command ``multvae-export``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from multvae_export import __version__, architectures
from multvae_export.console import run_command
from multvae_export.errors import OptionError
from multvae_export.exporter import MIN_OVERLAP, Exported, export
from multvae_export.graph.forms import IO
from multvae_export.graph.onnx_file import CONTRACT_VERSION, OPSETS, OPTIONS_VERSION
from multvae_export.graph.quantise import PRECISIONS
from multvae_export.publish import triton
from multvae_export.reading import newest
from multvae_export.target import Options

CHECK = "\N{CHECK MARK}"
EXAMPLES = """
examples:
  multvae-export saved/MultVAE-*.pth model.onnx
  multvae-export model.pth model.onnx --io ids --k-default 20
  multvae-export model.pth model.int8.onnx --precision int8 --histories dataset/ml-100k/ml-100k.inter
  multvae-export model.pth model.onnx --filters --reasons
  multvae-export model.pth --triton models/ --k-default 20
  multvae-export saved/EASE-Nov-21-2026_04-10-34.pth model.onnx --dataset-path dataset/
  multvae-export saved/BPR-Nov-21-2026_04-10-34.pth model.onnx --io users --dataset-path dataset/
"""


class _ListModels(argparse.Action):
    """Print the names of the models, one a line, and exit."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print("\n".join(architectures.exportable()))
        parser.exit()


def _metadata(entries: Sequence[str]) -> dict[str, str]:
    """The entries ``NAME=TEXT`` as a dictionary."""
    pairs = [entry.partition("=") for entry in entries]
    if wrong := [entry for entry, (name, equals, _) in zip(entries, pairs, strict=True) if not (name and equals)]:
        raise OptionError(f"--metadata={wrong[0]} is not understood: expected NAME=TEXT.")
    return {name: text for name, _, text in pairs}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="multvae-export",
        usage="%(prog)s [options] MODEL.pth [MODEL.pth ...] MODEL.onnx\n       "
        "%(prog)s [options] MODEL.pth [MODEL.pth ...] --triton FOLDER",
        description="Turn a checkpoint of a model into one verified ONNX file. Models that can be exported: "
        f"{', '.join(architectures.exportable())}.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("paths", metavar="MODEL.pth MODEL.onnx", nargs="+", help="a checkpoint of RecBole's Trainer, or "
                        "several for the newest, never executed; and the file to write, replaced only by a verified one"
                        )  # fmt: skip
    parser.add_argument("--triton", metavar="FOLDER", help="write a new version into this model repository of NVIDIA "
                        f"Triton, and no MODEL.onnx; k is fixed there by --k-default (default: {triton.K})")  # fmt: skip
    parser.add_argument("--io", choices=IO, help="what goes in and out (default: tokens, or users for "
                        "a model with a vector for each user)")  # fmt: skip
    parser.add_argument("--opset", type=int, default=OPSETS[-1], help=f"{OPSETS[0]} to {OPSETS[-1]} (default: %(default)s)")
    parser.add_argument(
        "--k-default",
        type=int,
        metavar="K",
        help="make the input k optional, with this value (JavaScript runtimes then take no k)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="of the weights: fp16 for CUDA, int8 and int4 for CPUs; a CPU runs fp16 at fp32's speed (default: %(default)s)",
    )
    parser.add_argument("--histories", metavar="FILE.inter", help="users to measure on what fewer bits cost: 80 %% of the "
                        "items of each are shown, NDCG@100 is of the rest (default: made histories, no NDCG)")  # fmt: skip
    parser.add_argument("--min-overlap", type=float, metavar="S", help="least share of fp32's 10 best items that fewer bits "
                        f"must keep (default: {MIN_OVERLAP})")  # fmt: skip
    parser.add_argument(
        "--atol",
        type=float,
        default=1e-4,
        metavar="A",
        help="largest difference of a score; where all are small, 0.1 %% of the largest (default: %(default)s)",
    )
    parser.add_argument("--no-verify", action="store_true", help="write without proof")
    parser.add_argument(
        "--filters", action="store_true", help="two more inputs: items never to return, and items to rank alone"
    )
    parser.add_argument(
        "--reasons", action="store_true", help="one more output: by how much each item of the history raises each score"
    )
    parser.add_argument(
        "--posterior", action="store_true", help="one more input: noise, for a sample of the posterior of a VAE"
    )
    parser.add_argument("--dataset-path", metavar="FOLDER", help="the folder of RecBole's data sets, for item tokens, users "
                        "and histories that a checkpoint of RecBole's own models lacks")  # fmt: skip
    parser.add_argument("--trust-dataset", action="store_true", help="you are sure that it is the data set of the "
                        "training, where the checkpoint holds nothing to compare it with")  # fmt: skip
    parser.add_argument("--metadata", metavar="NAME=TEXT", action="append", default=[], help="one more entry of the file's "
                        "metadata; may be given several times")  # fmt: skip
    parser.add_argument("--list-models", action=_ListModels, nargs=0, help="print the models that can be exported, and exit")
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an error")
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}, contract {CONTRACT_VERSION} and {OPTIONS_VERSION}"
    )
    return parser


def _report(exported: Exported, precision: str, seconds: float) -> None:
    model = exported.model
    metrics = "".join(f", {name} {value:g}" for name, value in model.metrics.items())
    print(f"  {model.name} {model.architecture}, trained on {model.dataset}{metrics}")
    if exported.data:
        print(f"  {'!' if exported.data.trusted else CHECK} data set: {exported.data.reason}")
    for name, figures in exported.checks:
        print(f"  {CHECK} {name}: {figures}")
    if not exported.checks:
        print("  ! not verified")
    for file in exported.files:
        size = f": {file.stat().st_size / 1e6:.1f} MB, --io {exported.io}, {precision}, in {seconds:.1f} s"
        print(f"Wrote {file}{'' if file.suffix == '.pbtxt' else size}")


def _paths(paths: Sequence[str], repository: str | None) -> tuple[Sequence[str], str]:
    """The checkpoints, and where to write."""
    if repository is None and len(paths) < 2:
        raise OptionError(f"{paths[0]} alone is not enough: name the checkpoint, then the ONNX file to write, or --triton.")
    if repository is not None and (named := [path for path in paths if path.endswith(".onnx")]):
        raise OptionError(f"--triton={repository} names the file itself: leave out {named[0]}.")
    return (paths[:-1], paths[-1]) if repository is None else (paths, repository)


def _export(args: argparse.Namespace) -> None:
    start = time.perf_counter()
    checkpoints, path = _paths(args.paths, args.triton)
    exported = export(
        newest(checkpoints),
        path,
        io=args.io,
        opset=args.opset,
        k_default=args.k_default,
        atol=args.atol,
        precision=args.precision,
        histories=args.histories,
        min_overlap=args.min_overlap,
        check=not args.no_verify,
        dataset_path=args.dataset_path,
        trust_dataset=args.trust_dataset,
        metadata=_metadata(args.metadata),
        options=Options(args.filters, args.reasons, args.posterior),
        repository=args.triton is not None,
        progress=lambda message: print(f"{message} ..."),
    )
    _report(exported, args.precision, time.perf_counter() - start)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    args = _parser().parse_args(argv)
    return run_command(lambda: _export(args), args.verbose)


if __name__ == "__main__":
    sys.exit(main())
