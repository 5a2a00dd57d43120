"""The titles of items, from the ``.item`` file of a data set."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_multvae.data.rows import split_row


def read_titles(dataset: Any) -> dict[str, str]:
    """Read a title for every item: the first column of text beside the item's own, of the data set's ``.item`` file.

    The encoding, the separator and the item column are those of the data set's configuration. A line is a row, as in the
    other files: a quote that is not closed reaches to the end of its line, where RecBole's parser would go on into the next
    lines. A line that has another number of values than the header, or a carriage return or NUL inside, is left out, and a
    warning tells how many there are.

    Args:
        dataset: RecBole's data set.

    Returns:
        Titles by item token; empty where there is no ``.item`` file, or none with a column of text.
    """
    path = Path(dataset.dataset_path) / f"{dataset.dataset_name}.item"
    if not path.is_file():
        return {}
    separator, encoding = dataset.config["field_separator"], dataset.config["encoding"] or "utf-8"
    first, *lines = _lines(path.read_bytes().decode(encoding, errors="replace"))
    header = first.removeprefix("\ufeff").split(separator)
    item = f"{dataset.iid_field}:token"
    text = [column for column in header if column.endswith((":token", ":token_seq")) and column != item]
    if item not in header or not text:
        return {}
    rows = [
        None if "\r" in line or "\0" in line else split_row(line, separator, len(header))
        for line in lines
        if line.strip(" ")
    ]
    titles: dict[str, str] = {}
    for row in filter(None, rows):
        titles.setdefault(row[header.index(item)], row[header.index(text[0])])
    _warn(path, rows.count(None), any("\ufffd" in title for title in titles.values()), encoding)
    return {token: title for token, title in titles.items() if title}


def _lines(text: str) -> list[str]:
    """The lines without their ends, line feeds; where the text has none of those, they are carriage returns."""
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
