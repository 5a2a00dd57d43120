"""Recommend items by title to a user of the data set that a checkpoint was trained on."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_multvae import checkpoint
from recbole_multvae.commands.exit_codes import run_command
from recbole_multvae.data.csr import distinct_clicks
from recbole_multvae.data.titles import read_titles
from recbole_multvae.errors import ConfigurationError, DataError
from recbole_multvae.evaluation.recommendations import reasons, recommend
from recbole_multvae.models import ClickRecommender
from recbole_multvae.rebuild.model import load_model
from recbole_multvae.rebuild.new_items import WithNewItems

#: How the command line names items.
_EXPECTED = "item tokens with commas between, or a file with one token a line, which may have commas and spaces at its ends"


def _item_ids(text: str | None, flag: str, model: ClickRecommender | WithNewItems, dataset: str) -> list[int] | None:
    """The RecBole ids of the items that a flag names: see :func:`_read_tokens`. None without the flag."""
    if text is None:
        return None
    ids = {token: number for number, token in enumerate(model.item_tokens) if number}
    tokens = _read_tokens(text, flag, ids)
    if unknown := [token for token in tokens if token not in ids]:
        kind = "item" if os.path.isfile(text) else "file and no item"
        raise DataError(f"{flag} names {unknown[0]!r}, which is no {kind} of {dataset}: expected {_EXPECTED}.")
    return [ids[token] for token in tokens]


def _read_tokens(text: str, flag: str, ids: Mapping[str, int]) -> list[str]:
    """The tokens that a text names: the lines of a file, a single token, or tokens with commas and spaces between.

    Raises:
        DataError: the text may mean two things, or the file is not in UTF-8.
    """
    parts = [token if token in ids else token.strip() for token in text.split(",")]
    parts = [token for token in parts if token]
    if os.path.isfile(text):  # Path.is_file would fail for a text that is too long for a file name.
        if text in ids:
            raise DataError(
                f"{flag}={text} is a file and an item: name the file {Path(text).absolute()}, or the item {text},."
            )
        return _read_token_file(text, flag, ids)
    if text in ids and len(parts) > 1 and all(token in ids for token in parts):
        raise DataError(f"{flag}={text} is an item, and so are its parts between commas: name {_EXPECTED}.")
    return [text] if text in ids else parts


def _read_token_file(path: str, flag: str, ids: Mapping[str, int]) -> list[str]:
    """The lines of a file without their ends; empty lines are left out."""
    try:
        content = Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{flag}={path} is not in UTF-8: {error}; write it in UTF-8, {_EXPECTED}.") from None
    lines = [line.removesuffix("\r") for line in content.split("\n")]
    if lines[0] not in ids:
        lines[0] = lines[0].removeprefix("\ufeff")  # A byte order mark.
    return [line for line in lines if line]


def _user_id(dataset: Any, user: str) -> int:
    """RecBole's id of a user. Id 0 is padding."""
    ids = dataset.field2token_id[dataset.uid_field]
    if not ids.get(user, 0):
        example = dataset.field2id_token[dataset.uid_field][1]
        raise DataError(f"User {user!r} is not in {dataset.dataset_name}: expected a user token such as {str(example)!r}.")
    return ids[user]


def _history(parts: list[Any], user: int) -> list[int]:
    """The items of a user that the model sees: the training clicks, or the fold-in of a held-out user."""
    for part in parts[1:]:
        fold_in = getattr(part, "fold_in", None)
        if fold_in is not None and fold_in[user].nnz:
            items: list[int] = fold_in[user].indices.tolist()
            return items
    return distinct_clicks(parts[0])[user].indices.tolist()


def _print_recommendations(options: argparse.Namespace) -> None:
    k, user = options.k, options.user
    if k < 1:
        raise ConfigurationError(f"-k {k} is not allowed: expected 1 or more.")
    if options.features is not None and options.add_items is None:
        raise ConfigurationError("--features is about the items of --add-items: name their file, or leave it out.")
    model: ClickRecommender | WithNewItems
    model, parts = load_model(path := checkpoint.newest(options.checkpoint), options.dataset_path)
    dataset, titles = parts[0], read_titles(parts[0])
    history = _history(parts, _user_id(dataset, user))
    if options.add_items is not None:
        titles |= read_titles(dataset, Path(options.add_items))
        model = WithNewItems(path, model.title, options.add_items, options.features, dataset.dataset_path)
    lists = {name: _item_ids(vars(options)[name], f"--{name}", model, dataset.dataset_name) for name in ("exclude", "among")}
    if lists["among"] == []:
        raise DataError(f"--among={options.among} names no item: leave it out, or name {_EXPECTED}.")
    best = recommend(model, history, k, lists["exclude"] or (), lists["among"])
    increases = reasons(model, history, [item for item, _ in best])

    def title(item: int) -> str:
        return titles.get(model.item_tokens[item], model.item_tokens[item])

    print(f"\nUser {user} of {dataset.dataset_name} liked {len(history)} items, among them")
    for item in history[:k]:
        print(f"       {title(item)}")
    print(f"\n{model.title} recommends")
    for rank, ((item, score), row) in enumerate(zip(best, increases, strict=True), 1):
        because = f"  because of {title(history[int(row.argmax())])}" if len(row) and row.max() > 0 else ""
        print(f"  {rank:>3}  {title(item):<60} {score:7.3f}{because}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``multvae-recommend``. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="multvae-recommend", description=__doc__)
    parser.add_argument("checkpoint", nargs="+", help="a .pth file, as RecBole saves it; of several, the newest is used")
    parser.add_argument("--user", required=True, help="the user's token in the data set")
    parser.add_argument("-k", type=int, default=10, help="how many items (default: %(default)s)")
    parser.add_argument("--dataset-path", metavar="FOLDER", help="the folder of the data set, or the folder that holds it "
                        "(default: where it was at training)")  # fmt: skip
    parser.add_argument("--exclude", metavar="ITEMS", help="items that are never recommended: tokens with commas between, "
                        "or a file with one token a line, for tokens with commas or with spaces at their ends")  # fmt: skip
    parser.add_argument("--add-items", metavar="NEW.item", help="recommend the items of this file too, which nobody has "
                        "clicked yet: as multvae-export adds them")  # fmt: skip
    parser.add_argument(
        "--features", metavar="FIELDS", help="by which fields, with commas between (default: all of NEW.item)"
    )
    parser.add_argument("--among", metavar="ITEMS", help="the only items that are recommended, named as for --exclude")
    args = parser.parse_args(argv)
    return run_command(lambda: _print_recommendations(args))


if __name__ == "__main__":
    sys.exit(main())
