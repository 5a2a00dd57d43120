"""The command ``multvae-compare``: a report on two files for an engineer, and a gate for a nightly job."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from multvae_export.compare.clicks import Items, read_test
from multvae_export.compare.comparison import Comparison, compare, open_files
from multvae_export.compare.report import as_html, as_json, as_text
from multvae_export.console import run_command
from multvae_export.errors import HistoriesError, OptionError
from multvae_export.publish.working_folder import working_folder

#: The exit codes of a gate that failed and of a mistake.
FAILED, MISTAKE = 1, 2
#: The longest list.
MOST_K = 1000
EXAMPLES = """
examples:
  multvae-compare old.onnx new.onnx --histories day.inter
  multvae-compare old.onnx new.onnx --histories day.inter --targets tomorrow.inter --html report.html
  multvae-compare old.onnx new.onnx --histories day.inter --min-overlap .5 --max-loss .02 --json report.json

exit codes: 0; 1 where --min-overlap or --max-loss failed; 2 where something cannot be read or compared
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="multvae-compare",
        description="Compare two files of multvae-export on the same histories: items, overlap, accuracy, coverage.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("old", metavar="OLD.onnx", help="the file in use")
    parser.add_argument("new", metavar="NEW.onnx", help="the file to replace it; both of --io tokens, or both of ids")
    histories = (
        "clicks with the columns user_id:token and item_id:token of RecBole's atomic files; the later fifth of a user's "
        "items, by timestamp:float where the file has it, is to be found from the earlier ones"
    )
    parser.add_argument("--histories", metavar="FILE.inter", required=True, help=histories)
    targets = "later clicks, which are to be found instead from all of --histories"
    parser.add_argument("--targets", metavar="FILE.inter", help=targets)
    parser.add_argument("--k", type=int, default=10, metavar="K", help="the length of the lists (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON")
    parser.add_argument("--html", metavar="FILE", help="write the report as a page")
    overlap = "fail if the mean overlap of the two top K is lower than this share"
    parser.add_argument("--min-overlap", type=float, metavar="S", help=overlap)
    loss = "fail if the new NDCG@K is lower than the old one by more than this share of the old one (.02: by more than 2 %%)"
    parser.add_argument("--max-loss", type=float, metavar="S", help=loss)
    return parser


def _check(args: argparse.Namespace) -> None:
    """Refuse values outside their range, and reports that cannot be written."""
    if not 1 <= args.k <= MOST_K:
        raise OptionError(f"--k={args.k} is not allowed: expected 1 to {MOST_K}.")
    for flag, share in (("--min-overlap", args.min_overlap), ("--max-loss", args.max_loss)):
        if share is not None and not 0 <= share <= 1:  # Also rejects NaN.
            raise OptionError(f"{flag}={share:g} is not allowed: expected a share from 0 to 1.")
    taken = [os.path.realpath(path) for path in (args.old, args.new, args.histories, args.targets) if path]
    for flag, path in (("--json", args.json), ("--html", args.html)):
        if path is None:
            continue
        if not (folder := Path(path).absolute().parent).is_dir():
            raise OptionError(f"{flag}={path} cannot be written: there is no folder {folder}.")
        if os.path.realpath(path) in taken or (Path(path).exists() and not Path(path).is_file()):
            raise OptionError(f"{flag}={path} is an input, the other report, or no file: name another file.")
        taken.append(os.path.realpath(path))


def _run(args: argparse.Namespace) -> list[str]:
    """Compare, and write the reports. Returns a sentence for each gate that failed."""
    _check(args)
    files = open_files(args.old, args.new)
    items = Items(*(file.tokens for file in files))
    test = read_test(args.histories, args.targets, items)
    if args.max_loss is not None and not test.users:
        raise HistoriesError(
            f"--max-loss={args.max_loss:g} needs users with an item to find, and {args.targets or args.histories} has none: "
            "expected users with two items, or --targets."
        )
    result = compare(files, items, test, args.k, progress=lambda text: print(f"{text} ...", flush=True))
    failed = failed_gates(result, args.min_overlap, args.max_loss)
    for path, form in ((args.json, as_json), (args.html, as_html)):
        if path:
            _write(Path(path), form(result, failed))
    print(f"\n{as_text(result)}")
    return failed


def failed_gates(result: Comparison, min_overlap: float | None, max_loss: float | None) -> list[str]:
    """A sentence for each gate that failed; None is no gate."""
    failed, overlap, k = [], result.overlap.mean, result.k
    if min_overlap is not None and overlap < min_overlap:
        failed.append(
            f"--min-overlap={min_overlap:g} failed: the mean overlap of the top {k} is {overlap:.4f}, lower by "
            f"{min_overlap - overlap:.4f}."
        )
    if max_loss is not None and result.ndcg and result.ndcg.old > 0:
        loss = -result.ndcg.difference / result.ndcg.old
        if loss > max_loss:
            failed.append(
                f"--max-loss={max_loss:g} failed: NDCG@{k} fell from {result.ndcg.old:.4f} to {result.ndcg.new:.4f}, by "
                f"{loss:.2%}, which is {loss - max_loss:.2%} of the old value too much."
            )
    return failed


def _write(path: Path, text: str) -> None:
    """Write a file beside its place, and rename it: a reader sees the old file or the new one."""
    with working_folder(path) as folder:
        (folder / path.name).write_text(text, "utf-8")
        os.replace(folder / path.name, path)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    args, failed = _parser().parse_args(argv), list[str]()
    code = run_command(lambda: failed.extend(_run(args)), mistake=MISTAKE)
    for sentence in failed:
        print(sentence, file=sys.stderr)
    return code or (FAILED if failed else 0)
