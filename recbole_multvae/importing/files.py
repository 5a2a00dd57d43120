"""Opening a file. Its first bytes tell whether it is gzip; its name tells the format, or else its first bytes do."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from recbole_multvae.errors import ConfigurationError, DataError
from recbole_multvae.importing.arrow import pa

_BY_ENDING = {
    **dict.fromkeys((".csv",), "csv"),
    **dict.fromkeys((".tsv", ".tab"), "tsv"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json", ".jsonlines"), "jsonl"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
}
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
#: Other archives, by their first bytes.
_ARCHIVES = {b"PK\x03\x04": "a zip archive or an Excel workbook", b"BZh": "a bzip2 archive", b"\xfd7zXZ": "an xz archive",
             b"\x28\xb5\x2f\xfd": "a zstd archive", b"7z\xbc\xaf": "a 7z archive"}  # fmt: skip
#: Bytes that are read at once: about 600,000 ratings.
BLOCK = 1 << 24


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the errors of a damaged or unreadable file into one sentence.

    Raises:
        DataError: the file is damaged, or the system does not let you read it.
    """
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a gzip file that is damaged or not complete ({error}): get it again.") from None
    except pa.ArrowException as error:
        raise DataError(f"Cannot read {path} ({str(error).splitlines()[0].rstrip('.')}): is it damaged?") from None
    except OSError as error:  # Some of Arrow's have no number, and a text of several lines.
        reason = error.strerror or str(error).splitlines()[0].rstrip(".: ")
        raise DataError(f"Cannot read {path} ({reason}): is it damaged, or may you not read it?") from None


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading. Gzip is unpacked.

    Raises:
        DataError: there is no such file, it is empty, or it is an archive that must be unpacked first.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder: name a file in it.")
    if not path.is_file():
        raise DataError(f"There is no file {path}: expected a table as CSV, TSV, JSON lines or Parquet.")
    with reading(path):
        file: BinaryIO = path.open("rb")
        if file.read(2) == _GZIP:
            file.close()
            file = gzip.GzipFile(path)  # type: ignore[assignment]
        file.seek(0)
        start = file.read(8)
        file.seek(0)
    if not start:
        raise DataError(f"{path} is empty: expected rows, and a line with the names of the columns before them.")
    for mark, kind in _ARCHIVES.items():
        if start.startswith(mark):
            raise DataError(f"{path} is {kind}: unpack it, or save it as CSV, and import that.")
    return file


def format_of(path: Path, named: str | None) -> str:
    """The format of a file: ``named`` if it is not None, else by its ending, else by its first bytes.

    Raises:
        DataError: see ``open_binary``.
    """
    with open_binary(path) as file, reading(path):
        start = file.read(4096)
    ending = path.with_suffix("").suffix if path.suffix.lower() == ".gz" else path.suffix
    kind = named or _BY_ENDING.get(ending.lower())
    if kind is None and start.startswith(_PARQUET):
        kind = "parquet"
    return kind or ("jsonl" if start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{") else "csv")


def texts(path: Path, encoding: str, block: int | None) -> Iterator[str]:
    """The text of a file in pieces, which may end within a line. Line ends are kept; a byte order mark is left out.

    Args:
        path: the file.
        encoding: a name that Python knows.
        block: how many bytes to read at once; None reads all.

    Raises:
        ConfigurationError: Python does not know the encoding.
        DataError: the file is not in the encoding.
    """
    lines = 0
    with open_binary(path) as file, reading(path):
        decoder = _decoder(encoding)
        while True:
            data = file.read() if block is None else file.read(block)
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeError as error:
                raise _wrong_encoding(path, encoding, lines, error) from None
            if text:
                yield text
            if not data:
                return
            lines += text.count("\n")


def _decoder(encoding: str) -> codecs.IncrementalDecoder:
    try:
        name = codecs.lookup(encoding).name
        "".encode(name)  # Codecs such as base64 do not encode text.
        return codecs.getincrementaldecoder("utf-8-sig" if name == "utf-8" else name)()
    except LookupError:
        raise ConfigurationError(
            f"--encoding={encoding} is not an encoding that Python knows: name one such as utf-8, ISO-8859-1 or cp1252."
        ) from None


def _wrong_encoding(path: Path, encoding: str, lines: int, error: UnicodeError) -> DataError:
    data, end = (error.object, error.start) if isinstance(error, UnicodeDecodeError) else (b"", 0)
    advice = "utf-16" if not lines and data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "ISO-8859-1"
    return DataError(
        f"Line {lines + data.count(10, 0, end) + 1} of {path} is not in {encoding}: name the encoding of the file, for "
        f"example --encoding={advice}."
    )
