"""Recommendations by title for a user of the data set a checkpoint was trained on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, init_seed

from recbole_multvae import checkpoint
from recbole_multvae.commands.exit_codes import run_command
from recbole_multvae.errors import CheckpointError, ConfigurationError, DataError
from recbole_multvae.models import ClickAutoEncoder


def load_model(path: str) -> tuple[ClickAutoEncoder, Any]:
    """Load a model of the family and the data set that its training split is made from.

    Args:
        path: a checkpoint of RecBole's ``Trainer``.

    Returns:
        The model in evaluation mode, and RecBole's training data set.

    Raises:
        CheckpointError: the file is not a checkpoint of a model of the family.
        DataError: the data set is not the one that the model was trained on.
    """
    saved = checkpoint.load(path, map_location="cpu")
    if not isinstance(saved, dict) or not issubclass(getattr(saved.get("config"), "model_class", object), ClickAutoEncoder):
        raise CheckpointError(f"{path} is not a checkpoint of this family: expected one of MultVAE or MultDAE.")
    config = saved["config"]
    config["device"] = torch.device("cpu")
    init_seed(config["seed"], config["reproducibility"])
    train_data = data_preparation(config, create_dataset(config))[0]
    model = get_model(config["model"])(config, train_data._dataset)
    model.load_other_parameter(saved["other_parameter"])
    model.load_state_dict(saved["state_dict"])
    return model.eval(), train_data._dataset


def item_titles(dataset: Any) -> dict[str, str]:
    """Titles by item token, from the first text column of the data set's ``.item`` file; empty where there is none."""
    path = Path(dataset.dataset_path) / f"{dataset.dataset_name}.item"
    if not path.is_file():
        return {}
    table = pd.read_csv(path, sep=dataset.config["field_separator"], dtype=str, keep_default_na=False)
    token = f"{dataset.iid_field}:token"
    text = [column for column in table.columns if column.endswith((":token", ":token_seq")) and column != token]
    return dict(zip(table[token], table[text[0]], strict=True)) if text else {}


def recommend(model: ClickAutoEncoder, history: Sequence[int], k: int) -> list[tuple[int, float]]:
    """The k best unseen items for a history of RecBole item ids, best first, with their scores."""
    scores = model.score_histories([history])[0]
    scores[torch.tensor([0, *history])] = -torch.inf
    best = scores.topk(min(k, int(scores.isfinite().sum())))
    return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def _show(path: str, user: str, k: int) -> None:
    if k < 1:
        raise ConfigurationError(f"-k {k} is not allowed: expected 1 or more.")
    model, dataset = load_model(path)
    users = dataset.field2token_id[dataset.uid_field]
    if user not in users:
        raise DataError(
            f"User {user!r} is not in {dataset.dataset_name}: expected a user token such as {next(iter(users))!r}."
        )
    titles = item_titles(dataset)
    history = (model.history(torch.tensor([users[user]]))[0] + 1).tolist()

    def title(item: int) -> str:
        return titles.get(model.item_tokens[item], model.item_tokens[item])

    print(f"\nUser {user} of {dataset.dataset_name} liked {len(history)} items, among them")
    for item in history[:k]:
        print(f"       {title(item)}")
    print(f"\n{type(model).__name__} recommends")
    for rank, (item, score) in enumerate(recommend(model, history, k), 1):
        print(f"  {rank:>3}  {title(item):<60} {score:7.3f}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``multvae-recommend``. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="multvae-recommend", description=__doc__)
    parser.add_argument("checkpoint", nargs="+", help="a .pth file, as RecBole saves it; of several, the newest is used")
    parser.add_argument("--user", required=True, help="the user's token in the data set")
    parser.add_argument("-k", type=int, default=10, help="how many items (default: %(default)s)")
    args = parser.parse_args(argv)
    newest = max(args.checkpoint, key=lambda path: Path(path).stat().st_mtime if Path(path).exists() else 0)
    return run_command(lambda: _show(newest, args.user, args.k))


if __name__ == "__main__":
    sys.exit(main())
