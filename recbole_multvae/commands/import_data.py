"""Make RecBole's atomic files from a CSV, TSV, JSON lines or Parquet file, which may be compressed with gzip."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from recbole_multvae.commands.exit_codes import run_command
from recbole_multvae.errors import ConfigurationError

_EPILOG = """\
Ids are kept as text: 007 stays 007, and NA, null and None are ids like any others. A whole number in a float column of
Parquet loses its decimal point: 12.0 becomes 12. Times that are numbers are kept, in any unit. ISO dates become seconds
since 1970; a date without a zone is read as UTC. In the table of --items, columns of numbers become float and all others
token, also codes such as 007. Its column of titles (named title or name, or ending in one of them) is written first, as
multvae-recommend shows the first column of text. Both files are written, or neither."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="multvae-import", description=__doc__, epilog=_EPILOG)
    parser.add_argument("file", type=Path, help="the table: a row for each rating, click or purchase")
    parser.add_argument("name", help="name of the data set: dataset/NAME/NAME.inter is written")
    columns = parser.add_argument_group(
        "columns", "by name, or by number with --no-header; unless you set them, guessed by their usual names"
    )
    columns.add_argument("--user", metavar="COLUMN", help="column of the user, customer or session")
    columns.add_argument("--item", metavar="COLUMN", help="column of the item")
    columns.add_argument("--rating", metavar="COLUMN", help="column of the rating, a number; none leaves it out")
    columns.add_argument("--time", metavar="COLUMN", help="column of the time, a number or an ISO date; none leaves it out")
    items = parser.add_argument_group("items")
    items.add_argument("--items", metavar="FILE", type=Path, help="table with a row for each item, with its title and more; "
                       "NAME.item is written")  # fmt: skip
    items.add_argument("--item-id", metavar="COLUMN", help="its column of the item (default: as in the first table)")
    items.add_argument("--list", dest="lists", metavar="COLUMN:SEPARATOR", action="append", default=[], help="its column of "
                       "lists with the separator, as genres:'|' for Action|Comedy; may be repeated")  # fmt: skip
    _add_files(parser)
    return parser


def _add_files(parser: argparse.ArgumentParser) -> None:
    files = parser.add_argument_group("files")
    files.add_argument(
        "--format", choices=("csv", "tsv", "jsonl", "parquet"), help="format of the tables (default: by file name)"
    )
    files.add_argument("--separator", help="separator of columns, such as ';' or '\\t' or '::' (default: guessed)")
    files.add_argument("--encoding", default="utf-8", help="encoding, such as ISO-8859-1 (default: %(default)s)")
    files.add_argument("--no-header", dest="header", action="store_false", help="the first row is not a header: columns are "
                       "named 1, 2, ...")  # fmt: skip
    files.add_argument("--no-quotes", dest="quotes", action="store_false", help="a quote is a character like any other")
    files.add_argument("--dataset-path", dest="data_path", metavar="FOLDER", type=Path, default=Path("dataset"),
                       help="the folder of all data sets, RecBole's data_path (default: %(default)s)")  # fmt: skip
    files.add_argument("--overwrite", action="store_true", help="replace the files of a data set that exists")


def _separators(texts: Sequence[str]) -> dict[str, str]:
    """The separator of each column of lists."""
    separators = {}
    for text in texts:
        column, colon, separator = text.rpartition(":")
        if not separator and column.endswith(":"):
            column, separator = column[:-1], ":"
        if not (column and colon and separator):
            raise ConfigurationError(
                f"--list={text} lacks its separator: write COLUMN:SEPARATOR, such as {text or 'genres'}:'|'."
            )
        separators[column] = separator
    return separators


def _import(options: argparse.Namespace) -> None:
    if options.items is None and (options.lists or options.item_id is not None):
        flag = "--list" if options.lists else "--item-id"
        raise ConfigurationError(f"{flag} is for a table of items: name its file with --items.")
    from recbole_multvae.importing.run import Import, run_import  # It needs pyarrow, which is an extra.

    values = vars(options)
    values["columns"] = {role: values.pop(role) for role in ("user", "item", "rating", "time")}
    values["lists"] = _separators(options.lists)
    run_import(Import(**values), print)


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``multvae-import``. Returns the exit code."""
    options = _parser().parse_args(argv)
    return run_command(lambda: _import(options))


if __name__ == "__main__":
    sys.exit(main())
