"""The command ``multvae-export``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

from multvae_export import __version__, architectures
from multvae_export.console import add_dataset_options, run_command
from multvae_export.errors import OptionError
from multvae_export.exporter import MIN_OVERLAP, Exported, export
from multvae_export.graph.forms import IO
from multvae_export.graph.onnx_file import OPSETS
from multvae_export.new_items import NewItems
from multvae_export.nodes.quantise import PRECISIONS
from multvae_export.publish import triton
from multvae_export.reading import newest
from multvae_export.target import CONTRACT_VERSION, OPTIONS_VERSION, Options
from multvae_export.vectors.export import export_vectors
from multvae_export.vectors.fold_in import REGULARIZATION

CHECK = "\N{CHECK MARK}"
EXAMPLES = """
examples:
  multvae-export saved/MultVAE-*.pth model.onnx
  multvae-export model.pth model.onnx --io ids --k-default 20
  multvae-export model.pth model.int8.onnx --precision int8 --histories dataset/ml-100k/ml-100k.inter
  multvae-export model.pth model.onnx --filters --reasons
  multvae-export model.pth --triton models/ --k-default 20
  multvae-export model.pth --vectors vectors/
  multvae-export model.pth model.onnx --add-items new.item --features genre,year
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
        "%(prog)s [options] MODEL.pth [MODEL.pth ...] --triton FOLDER\n       "
        "%(prog)s [options] MODEL.pth [MODEL.pth ...] --vectors FOLDER",
        description="Turn a checkpoint of a model into one verified ONNX file. Models that can be exported: "
        f"{', '.join(architectures.exportable())}; and sums of those that read a history, such as MultVAE+EDLAE.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    paths = (
        "a checkpoint of RecBole's Trainer, which is never executed (of several, the newest is used); then the file to "
        "write, which is replaced only when the new one is verified"
    )
    parser.add_argument("paths", metavar="MODEL.pth MODEL.onnx", nargs="+", help=paths)
    _add_form_options(parser)
    _add_vector_options(parser)
    _add_new_item_options(parser)
    _add_check_options(parser)
    add_dataset_options(parser)
    parser.add_argument("--list-models", action=_ListModels, nargs=0, help="print the models that can be exported, and exit")
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an error")
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}, contract {CONTRACT_VERSION} and {OPTIONS_VERSION}"
    )
    return parser


def _add_form_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("form of the file")
    io = "form of the inputs and outputs (default: tokens; users for a model with a vector for each user)"
    group.add_argument("--io", choices=IO, help=io)
    k = "make the input k optional with this default (JavaScript runtimes then fix k; onnxruntime warns at each start)"
    group.add_argument("--k-default", type=int, metavar="K", help=k)
    precision = "of the weights: fp16 for CUDA, int8 and int4 for CPUs; fp16 is no faster than fp32 on a CPU (default: fp32)"
    group.add_argument("--precision", choices=PRECISIONS, default="fp32", help=precision)
    filters = "add two inputs: items never to return, and the only items to rank"
    group.add_argument("--filters", action="store_true", help=filters)
    reasons = "add an output: by how much each item of the history raises each score"
    group.add_argument("--reasons", action="store_true", help=reasons)
    posterior = "add an input: noise, to sample from the posterior of a VAE"
    group.add_argument("--posterior", action="store_true", help=posterior)
    group.add_argument("--opset", type=int, default=OPSETS[-1], help=f"{OPSETS[0]} to {OPSETS[-1]} (default: %(default)s)")
    metadata = "add an entry to the file's metadata; may be given several times"
    group.add_argument("--metadata", metavar="NAME=TEXT", action="append", default=[], help=metadata)
    repository = (
        "write a new version into this model repository of NVIDIA Triton instead of MODEL.onnx; k is fixed there, to "
        f"--k-default (default: {triton.K})"
    )
    group.add_argument("--triton", metavar="FOLDER", help=repository)


def _add_vector_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("vectors for a search engine")
    vectors = (
        "write this folder instead of MODEL.onnx: the items' vectors, and a file that gives a user's; their inner product "
        "is the score"
    )
    group.add_argument("--vectors", metavar="FOLDER", help=vectors)
    regularization = (
        "of the vector for a user who is not in training, of a model with a vector for each user; more pulls it towards 0 "
        f"(default: {REGULARIZATION:g})"
    )
    group.add_argument("--fold-in-regularization", type=float, metavar="L", help=regularization)


def _add_new_item_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("items that nobody has clicked yet")
    items = (
        "add the items of this file, in the form of RecBole's .item files; what it says of them is compared with the .item "
        "file of the training"
    )
    group.add_argument("--add-items", metavar="NEW.item", help=items)
    fields = "the fields to compare, with commas between (default: all of NEW.item)"
    group.add_argument("--features", metavar="FIELDS", help=fields)
    most = "lower the scores of the new items, so that not more of them are among the 10 best, on average over --histories"
    group.add_argument("--max-new-in-top-10", type=float, metavar="N", help=most)


def _add_check_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("verification")
    group.add_argument("--no-verify", action="store_true", help="write the file without verifying it")
    atol = (
        "largest allowed difference of a score from torch's; 0.1 %% of the largest score where all are small (default: "
        "%(default)s)"
    )
    group.add_argument("--atol", type=float, default=1e-4, metavar="A", help=atol)
    overlap = f"smallest share of fp32's 10 best items that fewer bits must keep (default: {MIN_OVERLAP})"
    group.add_argument("--min-overlap", type=float, metavar="S", help=overlap)
    histories = (
        "measure on these users what fewer bits cost: 80 %% of a user's items are the history, NDCG@100 is computed on the "
        "others (default: random histories, without NDCG); with --vectors: try these histories too; with --add-items: count "
        "new items among the 10 best; of more than 10,000 users, 10,000 are drawn"
    )
    group.add_argument("--histories", metavar="FILE.inter", help=histories)


def _report(exported: Exported, verified: bool) -> None:
    """The model, its data set, and the checks."""
    model = exported.model
    metrics = "".join(f", {name} {value:g}" for name, value in model.metrics.items())
    print(f"  {model.name} {model.architecture}, trained on {model.dataset}{metrics}")
    if exported.data:
        print(f"  {'!' if exported.data.trusted else CHECK} data set: {exported.data.reason}")
    for name, figures in exported.checks:
        print(f"  {CHECK} {name}: {figures}")
    if not verified:
        print("  ! not verified")


def _report_files(exported: Exported, precision: str, seconds: float) -> None:
    form = f"--io {exported.io}, {precision}, " if exported.io in IO else ""
    for file in exported.files:
        size = f": {file.stat().st_size / 1e6:.1f} MB, {form}in {seconds:.1f} s"
        print(f"Wrote {file}{'' if file.suffix == '.pbtxt' else size}")


def _paths(args: argparse.Namespace) -> tuple[Sequence[str], str]:
    """The checkpoints, and the path to write to."""
    paths: Sequence[str] = args.paths
    option, folder = ("--triton", args.triton) if args.vectors is None else ("--vectors", args.vectors)
    if folder is None and len(paths) < 2:
        raise OptionError(
            f"{paths[0]} alone is not enough: name the checkpoint, then the ONNX file to write, or --triton or --vectors."
        )
    if folder is not None and (files := [path for path in paths if path.endswith(".onnx")]):
        raise OptionError(f"{option}={folder} names the file itself: leave out {files[0]}.")
    return (paths[:-1], paths[-1]) if folder is None else (paths, folder)


def _check_vector_options(args: argparse.Namespace) -> None:
    """Refuse what has no meaning together with ``--vectors``, or without it."""
    if args.vectors is None:
        if args.fold_in_regularization is not None:
            raise OptionError(
                "--fold-in-regularization is about the vectors of --vectors: name their folder, or leave it out."
            )
        return
    names = ("triton", "io", "k_default", "filters", "reasons", "posterior", "min_overlap")
    given = [name for name in names if (value := getattr(args, name)) is not None and value is not False]
    given += ["precision"] if args.precision != "fp32" else []
    if given:
        option = given[0].replace("_", "-")
        raise OptionError(f"--vectors writes float32 vectors and ranks nothing, so --{option} does not fit: leave it out.")


def _export(args: argparse.Namespace) -> None:
    start = time.perf_counter()
    _check_vector_options(args)
    checkpoints, path = _paths(args)
    shared: dict[str, Any] = {name: getattr(args, name) for name in ("opset", "atol", "histories", "dataset_path")}
    shared |= {"check": not args.no_verify, "trust_dataset": args.trust_dataset, "metadata": _metadata(args.metadata)}
    new = NewItems.named(args.add_items, args.features, args.max_new_in_top_10)
    shared |= {"new_items": new, "progress": lambda message: print(f"{message} ...")}
    if args.vectors is not None:
        exported = export_vectors(newest(checkpoints), path, regularization=args.fold_in_regularization, **shared)
    else:
        exported = export(
            newest(checkpoints),
            path,
            io=args.io,
            k_default=args.k_default,
            precision=args.precision,
            min_overlap=args.min_overlap,
            options=Options(args.filters, args.reasons, args.posterior),
            repository=args.triton is not None,
            **shared,
        )
    _report(exported, verified=not args.no_verify)
    _report_files(exported, args.precision, time.perf_counter() - start)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    args = _parser().parse_args(argv)
    return run_command(lambda: _export(args), args.verbose)
