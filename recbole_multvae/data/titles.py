"""The titles of items, from the ``.item`` file of a data set."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_multvae.data.rows import split_header, split_row


def read_titles(dataset: Any, path: Path | None = None) -> dict[str, str]:
    """Read a title for every item: the first column of text after the item's own, in an ``.item`` file.

    The encoding, the separator and the item column are those of the data set's configuration. A line is a row, as in
    :mod:`.atomic_table`, which refuses a damaged line. Here such a line is left out, and a warning says how many there are:
    lines with another number of values than the header, or with a carriage return or NUL inside.

    Args:
        dataset: RecBole's data set.
        path: of the file; None: that of the data set.

    Returns:
        Titles by item token; empty without an ``.item`` file that has a column of text.
    """
    path = path or Path(dataset.dataset_path) / f"{dataset.dataset_name}.item"
    if not path.is_file():
        return {}
    separator, encoding = dataset.config["field_separator"], dataset.config["encoding"] or "utf-8"
    first, *lines = _lines(path.read_bytes().decode(encoding, errors="replace"))
    header = split_header(first.removeprefix("\ufeff"), separator)
    item = f"{dataset.iid_field}:token"
    texts = [column for column in header if column.endswith((":token", ":token_seq")) and column != item]
    if item not in header or not texts:
        return {}
    rows = [
        None if "\r" in line or "\0" in line else split_row(line, separator, len(header))
        for line in lines
        if line.strip(" ")
    ]
    titles: dict[str, str] = {}
    for row in filter(None, rows):
        titles.setdefault(row[header.index(item)], row[header.index(texts[0])])
    _warn(path, rows.count(None), any("\ufffd" in title for title in titles.values()), encoding)
    return {token: title for token, title in titles.items() if title}


def _lines(text: str) -> list[str]:
    """The lines without their ends. These are line feeds; carriage returns, if the text has no line feed."""
    return text.replace("\r\n", "\n").split("\n") if "\n" in text else text.split("\r")


def _warn(path: Path, damaged: int, replaced: bool, encoding: str) -> None:
    if damaged:
        getLogger().warning(
            f"{damaged} lines of {path} are left out: the number of their values is not that of the header, or they hold a "
            "carriage return or NUL. Their items are shown by their tokens."
        )
    if replaced:
        getLogger().warning(
            f"{path} is not in {encoding}: some characters of the titles are unknown. Train with the file's encoding, for "
            "example --encoding=ISO-8859-1."
        )
