"""Recommendations from an exported model, with only onnxruntime and NumPy.

python recommend.py MODEL.onnx TOKEN... [-k 10] [--exclude ITEMS] [--among ITEMS] [--gpu] [--no-check]
"""

from __future__ import annotations

import argparse
import hashlib
import operator
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
import onnxruntime as ort

VERSIONS = ("1", "2")
#: The type of a history of tokens, and of one of RecBole's item ids.
TOKENS, IDS = "tensor(string)", "tensor(int64)"
#: The optional inputs of a file, each with the option of multvae-export that adds it.
OPTIONS = {"exclude": "--filters", "among": "--filters", "noise": "--posterior"}
Item = TypeVar("Item", str, int)
#: Lists of items, one for each row; tuples, sets, arrays and generators are taken too.
Rows = Iterable[Iterable[str]] | Iterable[Iterable[int]]
MOST_THREADS = 1024
#: A larger k is cut to this number, which no catalogue reaches.
LARGEST = int(np.iinfo(np.int64).max)
#: At most so many unknown items are named.
SHOWN = 10


class Ranking(NamedTuple):
    """``items`` and ``scores`` [batch, k], best first; a row with fewer items ends in "" (of ids: 0) with score -inf.

    ``reasons`` [batch, k, length]: by how much each item of the history raises each score; None if the file has no reasons.
    """

    items: np.ndarray
    scores: np.ndarray
    reasons: np.ndarray | None


def load_model(path: str, *, gpu: bool = False, threads: int = 1, check: bool = True) -> ort.InferenceSession:
    """Open a file exported with ``--io tokens`` or ``--io ids``; any other file is a ValueError.

    Args:
        path: of the file.
        gpu: run on CUDA if that is available; ``get_providers()[0]`` says where it runs.
        threads: of one call on the CPU; 0 leaves it to onnxruntime, which takes the machine's cores. Several threads of the
            program may share the session: each call has so many.
        check: refuse a damaged file too, which reads the file once more.
    """
    if not Path(path).is_file():
        found = "a folder" if Path(path).is_dir() else "missing"
        raise ValueError(f"{path} is {found}: expected a model exported with --io tokens or --io ids.")
    options = ort.SessionOptions()
    options.intra_op_num_threads = _whole("threads", threads, least=0, most=MOST_THREADS)
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider") if gpu else ("CPUExecutionProvider",)
    providers = [name for name in wanted if name in ort.get_available_providers()]
    try:
        session = ort.InferenceSession(path, options, providers=providers)
    except Exception as error:  # onnxruntime's errors share no narrower type.
        raise ValueError(f"{path} is no ONNX model that onnxruntime can read: export the model again.") from error
    inputs = {name: value.type for name, value in _inputs(session).items()}
    known = inputs.get("history") in (TOKENS, IDS) and inputs.get("k") == IDS
    if not known or not inputs.keys() <= {"history", "k", *OPTIONS}:
        types = ", ".join(f"{kind} {name}" for name, kind in inputs.items())
        raise ValueError(f"{path} takes {types}: expected history and k; export the model with --io tokens or --io ids.")
    metadata = session.get_modelmeta().custom_metadata_map
    version = metadata.get("contract_version")
    if version not in VERSIONS:
        raise ValueError(
            f"{path} has the contract version {version}, this client knows {' and '.join(VERSIONS)}: update it."
        )
    expected = metadata.get("weights_sha256")  # Files of older exporters have none.
    if check and expected and (found := weights_digest(path, metadata.get("weights_file"))) != expected:
        raise ValueError(f"{path} is damaged: the SHA-256 of its weights is {found}, not {expected}; copy the file again.")
    return session


def weights_digest(path: str, second: str | None = None) -> str:
    """The SHA-256 of a file's graph, field 7 of the message ModelProto, and then of its second file, if there is one."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while key := _number(file):
            number = _number(file)
            if key == 7 << 3 | 2:  # 2: a field of so many bytes.
                _add_bytes(digest, file, number)
            elif key & 7 == 2:
                file.seek(number, 1)
    if second:
        with Path(path).with_name(second).open("rb") as file:
            _add_bytes(digest, file)
    return digest.hexdigest()


def _add_bytes(digest: Any, file: BinaryIO, count: int = sys.maxsize) -> None:
    while block := file.read(min(count, 2**20)):
        digest.update(block)
        count -= len(block)


def _number(file: BinaryIO) -> int:
    """A number of a message: seven bits a byte, the lowest first; the last byte is below 128. 0 at the end of the file."""
    number = shift = 0
    while byte := file.read(1):
        number |= (byte[0] & 127) << shift
        shift += 7
        if byte[0] < 128:
            break
    return number


def _inputs(session: ort.InferenceSession) -> dict[str, ort.NodeArg]:
    # onnxruntime lists a k that has a default as an initializer, not as an input.
    return {value.name: value for value in (*session.get_inputs(), *session.get_overridable_initializers())}


def recommend(
    session: ort.InferenceSession,
    histories: Rows,
    k: int,
    *,
    exclude: Rows | None = None,
    among: Rows | None = None,
    noise: np.ndarray | None = None,
) -> Ranking:
    """Rank items for histories of item tokens, or of ids where the file has ids.

    Args:
        session: of :func:`load_model`.
        histories: one list of items a row.
        k: how many items.
        exclude: items never to return, a list for each history, or one for all. For a file with filters.
        among: the only items to rank, likewise; None ranks all. For a file with filters.
        noise: float32 [batch or 1, K], standard normal for a sample; None for none. For a file with a posterior.

    Raises:
        ValueError: the file lacks an option that is used, k is no whole number of 1 or more, an argument is not lists of the
            file's items, a token is no Unicode, or an option has neither one row nor a row for each history.
    """
    inputs = _inputs(session)
    ids = inputs["history"].type == IDS
    for name, value in (("exclude", exclude), ("among", among), ("noise", noise)):
        if name not in inputs and value is not None:
            raise ValueError(f"the model has no input {name}: export it with {OPTIONS[name]}.")
    count = min(_whole("k", k, least=1), LARGEST)
    feed = {"history": _padded("histories", histories, ids), "k": np.array([count], np.int64)}
    if "exclude" in inputs:
        feed |= {name: _padded(name, rows, ids) for name, rows in (("exclude", exclude), ("among", among))}
    if "noise" in inputs:
        feed["noise"] = _noise(noise, inputs["noise"].shape[1])
    batch = len(feed["history"])
    for name, rows in feed.items():
        if name not in ("history", "k") and len(rows) not in (1, batch):
            raise ValueError(f"{name} has {len(rows)} rows: expected one, or one for each of {batch} histories.")
    if not batch:  # onnxruntime up to 1.30 ends the process where a batch is empty.
        items, scores, reasons = recommend(session, [[]], k)
        return Ranking(items[:0], scores[:0], None if reasons is None else reasons[:0])
    try:
        items, scores, *reasons = session.run(None, feed)
    except UnicodeEncodeError as error:  # Python writes so what it could not read as UTF-8.
        raise ValueError(f"{error.object!r} is no token: it has half a surrogate pair; read the text as UTF-8.") from error
    return Ranking(items, scores, reasons[0] if reasons else None)


def _whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number of ``least`` to ``most``; a ValueError for anything else."""
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or (most is not None and number > most):
        wanted = f"of {least} or more" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} is {value!r}: expected a whole number {wanted}.")
    return number


def _noise(noise: Any, length: int) -> np.ndarray:
    rows = np.zeros((1, length), np.float32) if noise is None else np.asarray(noise, np.float32)
    if rows.ndim != 2 or rows.shape[1] != length:
        raise ValueError(f"noise has the shape {list(rows.shape)}: expected rows of {length} numbers, the model's K.")
    return rows


def _padded(name: str, values: Any, ids: bool) -> np.ndarray:
    """The rows as one array, padded with 0 or "". An option without rows gets one empty row."""
    optional = name != "histories"
    rows = [_row(name, row, ids) for row in _list(name, [] if optional and values is None else values, "is")]
    if optional and not rows:
        rows = [[]]
    shape = len(rows), max(map(len, rows), default=0)
    padded = np.zeros(shape, np.int64) if ids else np.full(shape, "", dtype=object)
    for row, items in zip(padded, rows, strict=True):
        row[: len(items)] = items
    return padded


def _row(name: str, row: Any, ids: bool) -> list[Any]:
    """A row as a list; a ValueError for items of another type, such as 1.9, which NumPy would take for the id 1."""
    items, expected = _list(name, row, "holds"), (int, np.integer) if ids else (str,)
    for kind in set(map(type, items)):
        if kind is bool or not issubclass(kind, expected):
            wrong = next(item for item in items if type(item) is kind)
            raise ValueError(f"{name} holds {_shown(wrong)}: the model takes {'item ids, int' if ids else 'tokens, str'}.")
    if ids and items and not -LARGEST <= min(items) <= max(items) <= LARGEST:
        raise ValueError(f"{name} holds {max(items, key=abs)}: the model takes item ids of 64 bits.")
    return items


def _list(name: str, values: Any, verb: str) -> list[Any]:
    """The values as a list; a ValueError for a text, whose characters are no items, and for what cannot be iterated."""
    if not isinstance(values, str | bytes):
        try:
            return list(values)
        except TypeError:  # A number, None, or an array of no dimension.
            pass
    raise ValueError(f"{name} {verb} {_shown(values)}: expected a list of items for each row, as in [['a', 'b'], ['c']].")


def _shown(value: Any) -> str:
    return " ".join(repr(value).split())[:60]


def because(history: Iterable[Item], reasons: np.ndarray) -> Item | None:
    """The item of a history that raised a score most, by that score's reasons [length]; None if none raised it."""
    items = list(history)
    return items[int(reasons.argmax())] if items and reasons.max() > 0 else None


def read_items(text: str | None) -> list[list[str]] | None:
    """One list for all rows: the tokens of a file, one a line, or of a text, separated by commas."""
    if text is None:
        return None
    if not os.path.isfile(text):  # Path.is_file fails before Python 3.14 for a text that is too long for a file name.
        return [[token for token in text.split(",") if token]]
    # str.splitlines would also cut a token at U+2028 and the like.
    lines = Path(text).read_bytes().decode("utf-8").split("\n")
    return [[token for line in lines if (token := line.removesuffix("\r"))]]


def unknown_items(session: ort.InferenceSession, items: Iterable[Item]) -> list[Item]:
    """Those that the model does not know, each once; it ranks its whole catalogue for that."""
    catalogue = set(recommend(session, [[]], LARGEST).items[0].tolist())
    return [item for item in dict.fromkeys(items) if item and item not in catalogue]


def read_id(text: str) -> int:
    """An item id; a ValueError for any other text."""
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no item id: the model takes RecBole's item ids.") from error


def main() -> None:
    """Print a line for each recommended item: item, score and, if the model gives reasons, the item that raised it most."""
    parser = argparse.ArgumentParser(description="Recommend items to someone who liked these.")
    parser.add_argument("model", metavar="MODEL.onnx", help="a model exported with --io tokens or --io ids")
    parser.add_argument("history", metavar="ITEM", nargs="*", help="tokens or ids of liked items; none: the prior ranking")
    parser.add_argument("-k", type=int, default=10, help="how many items (default: 10)")
    parser.add_argument("--exclude", metavar="ITEMS", help="never these: a file with an item a line, or items with commas")
    parser.add_argument("--among", metavar="ITEMS", help="only these, likewise")
    parser.add_argument("--gpu", action="store_true", help="run on CUDA if it is available, and print where it runs")
    parser.add_argument("--no-check", action="store_true", help="open a large file faster: do not look for damage")
    args = parser.parse_args()
    if args.k < 1:
        sys.exit(f"-k is {args.k}: expected 1 or more.")
    try:
        show(args)
    except ValueError as error:
        sys.exit(str(error))


def show(args: argparse.Namespace) -> None:
    """Rank with the options of the command line, and print."""
    session = load_model(args.model, gpu=args.gpu, check=not args.no_check)
    if args.gpu:
        print(f"runs on {session.get_providers()[0]}", file=sys.stderr)
    lists = [[args.history], read_items(args.exclude), read_items(args.among)]
    if _inputs(session)["history"].type == IDS:
        lists = [rows and [list(map(read_id, rows[0]))] for rows in lists]
    (history,), exclude, among = lists
    items, scores, reasons = recommend(session, [history], args.k, exclude=exclude, among=among)
    if not items[0][0]:
        raise ValueError(
            "Nothing to recommend: every item is in the history or excluded, or --among names none that the model knows."
        )
    if unknown := unknown_items(session, [item for rows in lists if rows for item in rows[0]]):
        shown = ", ".join(map(str, unknown[:SHOWN])) + (f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else "")
        print(f"The model ignores items that it does not know: {shown}", file=sys.stderr)
    for rank, (item, score) in enumerate(zip(items[0], scores[0], strict=True)):
        reason = because(history, reasons[0][rank]) if reasons is not None else None
        if item:
            print(f"{item}\t{score:.4f}" + (f"\tbecause of {reason}" if reason else ""))


if __name__ == "__main__":
    main()
