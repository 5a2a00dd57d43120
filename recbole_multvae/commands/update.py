"""Add the clicks of a day to EDLAE, SparseEDLAE or a sum of them, without the data set that the model was trained on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from recbole_multvae.commands.exit_codes import run_command
from recbole_multvae.data.interaction_counts import amount
from recbole_multvae.rebuild.update import Update, update

_EPILOG = """\
The new model is exactly that of a training on all clicks: those that the old model was computed from, which its checkpoint
holds (the training part of its data set, with --refit the validation too), and the day's. A click that is there already
changes nothing. Columns, val_interval and the keys of the model are those of the training; a sum keeps its weights."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="multvae-update", description=__doc__, epilog=_EPILOG)
    parser.add_argument("old", help="the checkpoint of the day before, a .pth file")
    parser.add_argument("day", type=Path, help="the new clicks, a file such as day.inter with the columns of the data set")
    parser.add_argument("new", type=Path, help="the checkpoint to write; it may be the old one")
    return parser


def _report(done: Update, day: Path) -> str:
    """What was added, in words."""
    new, all_of_day = done.after.matrix.nnz - done.before.matrix.nnz, done.day.matrix.nnz
    users, items = (
        amount(len(after) - len(before), f"new {kind}")
        for kind, after, before in (
            ("user", done.after.users, done.before.users),
            ("item", done.after.items, done.before.items),
        )
    )
    return (
        f"{day}: {new:,} of {amount(all_of_day, 'click')} are new, with {users} and {items}.\n"
        f"The model is computed from {amount(done.after.matrix.nnz, 'click')}, and knows "
        f"{amount(len(done.after.users) - 1, 'user')} and {amount(len(done.after.items) - 1, 'item')}."
    )


def _update(options: argparse.Namespace) -> None:
    done = update(options.old, options.day, options.new)
    print(_report(done, options.day))
    for key, value in done.unfiltered.items():
        print(f"{key}={value!r} is not applied to the day, as it needs all days.")
    print(f"Saved: {options.new}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``multvae-update``. Returns the exit code."""
    options = _parser().parse_args(argv)
    return run_command(lambda: _update(options))


if __name__ == "__main__":
    sys.exit(main())
