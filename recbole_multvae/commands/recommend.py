"""Recommendations by title for a user of the data set a checkpoint was trained on."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from recbole.data import data_preparation
from recbole.utils import init_seed

from recbole_multvae import checkpoint
from recbole_multvae.commands.exit_codes import run_command
from recbole_multvae.data.atomic_files import read_dataset
from recbole_multvae.data.csr import distinct_clicks
from recbole_multvae.data.titles import read_titles
from recbole_multvae.errors import CheckpointError, ConfigurationError, DataError
from recbole_multvae.experiment.recbole_errors import explain_recbole_errors, one_line
from recbole_multvae.models import FAMILY, ClickRecommender

#: A path at which there can be no file, whoever tries to put one there.
_NOWHERE = os.path.join(os.devnull, "nothing")
#: How items are named on the command line.
_EXPECTED = "item tokens with commas between, or a file with one token a line, which may have commas and spaces at its ends"
#: Histories that are scored at once.
_AT_ONCE = 100


def load_model(path: str, dataset_path: str | None = None) -> tuple[ClickRecommender, list[Any]]:
    """Load a model of the family and the data sets that it was trained, validated and tested on.

    Args:
        path: a checkpoint of RecBole's ``Trainer``.
        dataset_path: the folder of the data set, or the folder that holds it; None: where it was at training.

    Returns:
        The model in evaluation mode, and RecBole's data sets for training, validation and test.

    Raises:
        CheckpointError: the file is not a checkpoint of a model of the family.
        DataError: the data set is not there, or has other users, items or clicks than the model was trained on.
    """
    saved = _read(path)
    parts = _data(saved["config"], dataset_path)
    model = saved["config"].model_class(saved["config"], parts[0])
    model.load_other_parameter(saved["other_parameter"])
    try:
        model.load_state_dict(saved["state_dict"])
    except RuntimeError as error:
        raise CheckpointError(f"The weights in {path} do not fit its model and its data set: {one_line(error)}") from error
    return model.eval(), parts


def _read(path: str) -> dict[str, Any]:
    saved = checkpoint.load(path, map_location="cpu")
    parts = saved.keys() if isinstance(saved, dict) else set()
    of_family = "config" in parts and issubclass(getattr(saved["config"], "model_class", object), ClickRecommender)
    if not (of_family and {"state_dict", "other_parameter"} <= parts):
        family = ", ".join(sorted(model.__name__ for model in FAMILY))
        raise CheckpointError(f"{path} is not a checkpoint of this family: expected one of {family}.")
    return saved


def _data(config: Any, dataset_path: str | None) -> list[Any]:
    config["device"] = torch.device("cpu")
    config["data_path"] = str(_dataset_folder(config, dataset_path))
    # The checkpoint is not trusted, and RecBole would unpickle the files that these keys name, or default ones for None.
    config["dataset_save_path"] = config["dataloaders_save_path"] = _NOWHERE
    config["save_dataset"] = config["save_dataloaders"] = False
    init_seed(config["seed"], config["reproducibility"])
    with explain_recbole_errors():
        return [loader._dataset for loader in data_preparation(config, read_dataset(config))]


def _dataset_folder(config: Any, dataset_path: str | None) -> Path:
    name = config["dataset"]
    folder = Path(config["data_path"] if dataset_path is None else dataset_path)
    if dataset_path is not None and (folder / name).is_dir():
        folder /= name
    if not any(folder.glob(f"{glob.escape(name)}*.inter")):
        where = f"{folder}, where it was at training" if dataset_path is None else str(folder)
        raise DataError(f"The data set {name} is not in {where}: name its folder with --dataset-path.")
    return folder


def recommend(
    model: ClickRecommender, history: Sequence[int], k: int, exclude: Sequence[int] = (), among: Sequence[int] | None = None
) -> list[tuple[int, float]]:
    """The k best unseen items for a history of RecBole item ids, with their scores; of equal ones the lower id is first.

    Args:
        model: in evaluation mode.
        history: RecBole item ids.
        k: how many items.
        exclude: items never to return.
        among: items to rank alone; None ranks all.
    """
    scores = model.score_histories([history])[0]
    if among is not None:
        wanted = torch.zeros(len(scores), dtype=torch.bool)
        wanted[torch.tensor(among, dtype=torch.long)] = True
        scores[~wanted] = -torch.inf
    scores[torch.tensor([0, *history, *exclude])] = -torch.inf
    values, items = scores.sort(descending=True, stable=True)
    k = min(k, int(scores.isfinite().sum()))
    return list(zip(items[:k].tolist(), values[:k].tolist(), strict=True))


def reasons(model: ClickRecommender, history: Sequence[int], items: Sequence[int]) -> torch.Tensor:
    """By how much each item of a history raises the score of some items, float32 [items, history].

    It is the score with the history less the score without this item of it, as in ``multvae-export --reasons``.
    """
    without = [[*history[:place], *history[place + 1 :]] for place in range(len(history))]
    parts = [model.score_histories(without[n : n + _AT_ONCE])[:, items] for n in range(0, len(without), _AT_ONCE)]
    left = torch.cat(parts) if parts else torch.zeros(0, len(items))
    return (model.score_histories([history])[:, items] - left).T


def _item_ids(text: str | None, flag: str, model: ClickRecommender, dataset: str) -> list[int] | None:
    """The RecBole ids of the items that a flag names: see :func:`_named`. None where the flag is not given."""
    if text is None:
        return None
    ids = {token: number for number, token in enumerate(model.item_tokens) if number}
    tokens = _named(text, flag, ids)
    if unknown := [token for token in tokens if token not in ids]:
        what = "item" if os.path.isfile(text) else "file and no item"
        raise DataError(f"{flag} names {unknown[0]!r}, which is no {what} of {dataset}: expected {_EXPECTED}.")
    return [ids[token] for token in tokens]


def _named(text: str, flag: str, ids: Mapping[str, int]) -> list[str]:
    """The tokens in a file, one a line, exactly; or one token; or tokens with commas between, and spaces where they may be.

    Raises:
        DataError: the text may mean two things, or the file is not in UTF-8.
    """
    parts = [token if token in ids else token.strip() for token in text.split(",")]
    parts = [token for token in parts if token]
    if os.path.isfile(text):  # Path.is_file would fail for a text that is too long for a name.
        if text in ids:
            raise DataError(
                f"{flag}={text} is a file and an item: name the file {Path(text).absolute()}, or the item {text},."
            )
        return _lines(text, flag, ids)
    if text in ids and len(parts) > 1 and all(token in ids for token in parts):
        raise DataError(f"{flag}={text} is an item, and so are its parts between commas: name {_EXPECTED}.")
    return [text] if text in ids else parts


def _lines(path: str, flag: str, ids: Mapping[str, int]) -> list[str]:
    """The lines of a file without line feed, or carriage return and line feed; empty ones are left out."""
    try:
        content = Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{flag}={path} is not in UTF-8: {error}; write it in UTF-8, {_EXPECTED}.") from None
    lines = [line.removesuffix("\r") for line in content.split("\n")]
    if lines[0] not in ids:
        lines[0] = lines[0].removeprefix("\ufeff")  # The mark that some programs write at the beginning of a file.
    return [line for line in lines if line]


def _user_id(dataset: Any, user: str) -> int:
    """RecBole's id of a user. Id 0 is no user: it pads."""
    ids = dataset.field2token_id[dataset.uid_field]
    if not ids.get(user, 0):
        example = dataset.field2id_token[dataset.uid_field][1]
        raise DataError(f"User {user!r} is not in {dataset.dataset_name}: expected a user token such as {str(example)!r}.")
    return ids[user]


def _history(parts: list[Any], user: int) -> list[int]:
    """The items that a model is given of a user: those of training, or the fold-in of a user who was held out."""
    for part in parts[1:]:
        given = getattr(part, "fold_in", None)
        if given is not None and given[user].nnz:
            items: list[int] = given[user].indices.tolist()
            return items
    return distinct_clicks(parts[0])[user].indices.tolist()


def _show(options: argparse.Namespace) -> None:
    k, user = options.k, options.user
    if k < 1:
        raise ConfigurationError(f"-k {k} is not allowed: expected 1 or more.")
    model, parts = load_model(newest(options.checkpoint), options.dataset_path)
    dataset = parts[0]
    history = _history(parts, _user_id(dataset, user))
    lists = {name: _item_ids(vars(options)[name], f"--{name}", model, dataset.dataset_name) for name in ("exclude", "among")}
    if lists["among"] == []:
        raise DataError(f"--among={options.among} names no item: leave it out, or name {_EXPECTED}.")
    best = recommend(model, history, k, lists["exclude"] or (), lists["among"])
    raised = reasons(model, history, [item for item, _ in best])
    titles = read_titles(dataset)

    def title(item: int) -> str:
        return titles.get(model.item_tokens[item], model.item_tokens[item])

    print(f"\nUser {user} of {dataset.dataset_name} liked {len(history)} items, among them")
    for item in history[:k]:
        print(f"       {title(item)}")
    print(f"\n{type(model).__name__} recommends")
    for rank, ((item, score), row) in enumerate(zip(best, raised, strict=True), 1):
        because = f"  because of {title(history[int(row.argmax())])}" if len(row) and row.max() > 0 else ""
        print(f"  {rank:>3}  {title(item):<60} {score:7.3f}{because}")


def newest(paths: Sequence[str]) -> str:
    """The newest of some files. Where there are several, it is printed which.

    Raises:
        CheckpointError: it is a folder.
    """
    path = max(paths, key=lambda path: Path(path).stat().st_mtime if Path(path).exists() else 0)
    if Path(path).is_dir():
        raise CheckpointError(f"{path} is a folder: name a checkpoint in it, or all of them as {Path(path) / '*.pth'}.")
    if len(paths) > 1:
        print(f"Of {len(paths)} checkpoints the newest is used: {path}")
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``multvae-recommend``. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="multvae-recommend", description=__doc__)
    parser.add_argument("checkpoint", nargs="+", help="a .pth file, as RecBole saves it; of several, the newest is used")
    parser.add_argument("--user", required=True, help="the user's token in the data set")
    parser.add_argument("-k", type=int, default=10, help="how many items (default: %(default)s)")
    parser.add_argument("--dataset-path", metavar="FOLDER", help="the folder of the data set, or the folder that holds it "
                        "(default: where it was at training)")  # fmt: skip
    parser.add_argument("--exclude", metavar="ITEMS", help="never these: tokens with commas between, or a file with one "
                        "token a line, exactly, for tokens with commas or with spaces at their ends")  # fmt: skip
    parser.add_argument("--among", metavar="ITEMS", help="only these, likewise")
    args = parser.parse_args(argv)
    return run_command(lambda: _show(args))


if __name__ == "__main__":
    sys.exit(main())
