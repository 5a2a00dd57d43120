"""Recall@20 of a vector that is folded in from a history, beside the trained one, for users in training and for others.

    python benchmarks/fold_in.py [--clicks ml-100k.inter] [--model BPR LightGCN] [--epochs 60]

Of each user's clicks a random tenth is for validation and a tenth for the test. A model is trained on the others of all
users, and once more without a tenth of the users. This tenth gets three rankings from the same clicks: by the vectors that
the first model trained for it, by a fold-in among the items of the first model, and by one among those of the second, which
never saw them. Weight and regularisation are chosen on the validation of the last. Clicks of training are left out of a
ranking, and in the test those of validation too.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import machine
import numpy as np
import recbole
import torch
from multvae_export.architectures.vectors import vectors
from multvae_export.histories import Layout, read_rows
from multvae_export.ranking import best
from multvae_export.vectors.fold_in import FoldIn
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

ML_100K = Path(recbole.__path__[0]) / "dataset_example/ml-100k/ml-100k.inter"
K, HELD_OUT = 20, 0.1
PARTS = ("train", "valid", "test")
WEIGHTS, REGULARIZATIONS = (4.0, 16.0, 40.0), (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
Clicks = dict[str, dict[str, set[str]]]  # Part, user: items.


def split(path: str) -> Clicks:
    """Each user's items in three parts."""
    users: dict[str, set[str]] = {}
    for user, item, _ in read_rows(path, Layout()):
        users.setdefault(user, set()).add(item)
    rng, clicks = np.random.default_rng(0), {part: dict[str, set[str]]() for part in PARTS}
    for user, items in users.items():
        order = rng.permutation(sorted(items)).tolist()
        tenth = len(order) // 10
        for part, taken in zip(PARTS, (order[2 * tenth :], order[:tenth], order[tenth : 2 * tenth]), strict=True):
            clicks[part][user] = set(taken)
    return clicks


def train(name: str, model: str, clicks: Clicks, users: set[str], epochs: int) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """The users' and the items' vectors of a model that is trained on some users, and their data set."""
    folder = Path(name)
    folder.mkdir(exist_ok=True)
    for part in PARTS:
        rows = [f"{user}\t{item}\n" for user in sorted(users) for item in sorted(clicks[part][user])]
        (folder / f"{name}.{part}.inter").write_text("user_id:token\titem_id:token\n" + "".join(rows))
    keys = {"benchmark_filename": list(PARTS), "data_path": ".", "epochs": epochs, "learning_rate": 0.002, "state": "ERROR",
            "train_batch_size": 4096, "show_progress": False, "stopping_step": 5, "eval_step": 5, "eval_batch_size": 10**7,
            "load_col": {"inter": ["user_id", "item_id"]}}  # fmt: skip
    config = Config(model, name, config_dict=keys)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train_data, valid_data, _ = data_preparation(config, dataset)
    trained = get_model(model)(config, train_data._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, trained)
    trainer.fit(train_data, valid_data, verbose=False)
    trained.load_state_dict(torch.load(trainer.saved_model_file, weights_only=False)["state_dict"])
    return *vectors(trained.eval(), model), dataset


def recall(scores: torch.Tensor, tokens: np.ndarray, users: list[str], clicks: Clicks, part: str) -> float:
    """The mean Recall@20 over users with something to find; scores are [users, C]."""
    ids = {token: n for n, token in enumerate(tokens)}
    seen = ("train",) if part == "valid" else ("train", "valid")
    shares = []
    for row, user in zip(scores.clone(), users, strict=True):
        row[[ids[item] for name in seen for item in clicks[name][user] if item in ids]] = -torch.inf
        found, wanted = {tokens[n] for n in row.topk(K).indices.tolist()}, clicks[part][user]
        shares += [len(found & wanted) / len(wanted)] if wanted else []
    return float(np.mean(shares))


def histories(tokens: np.ndarray, users: list[str], clicks: Clicks) -> torch.Tensor:
    """The clicks of training as multi-hot rows, [users, C]."""
    ids, rows = {token: n for n, token in enumerate(tokens)}, torch.zeros(len(users), len(tokens))
    for row, user in zip(rows, users, strict=True):
        row[[ids[item] for item in clicks["train"][user] if item in ids]] = 1
    return rows


def agreement(trained: torch.Tensor, folded: torch.Tensor, history: torch.Tensor) -> float:
    """The mean overlap of the ten best items without the history, of scores [users, C] each."""
    seen = history > 0
    lists = [best(scores.masked_fill(seen, -torch.inf), 10)[0].tolist() for scores in (trained, folded)]
    return float(np.mean([len({*one} & {*other}) / 10 for one, other in zip(*lists, strict=True)]))


def measure(model: str, clicks: Clicks, epochs: int) -> None:
    """Print what each weight and regularisation gives, then the tests of the best on validation and of the default."""
    everyone = sorted(clicks["train"])
    out = np.random.default_rng(1).choice(everyone, int(len(everyone) * HELD_OUT), replace=False).tolist()
    left, right, data = train("all", model, clicks, set(everyone), epochs)
    _, other_right, other_data = train("most", model, clicks, set(everyone) - set(out), epochs)
    tokens, other = (part.field2id_token["item_id"] for part in (data, other_data))
    trained = left[[data.token2id("user_id", user) - 1 for user in out]] @ right
    rows, other_rows = histories(tokens, out, clicks), histories(other, out, clicks)

    def folded(matrix: torch.Tensor, history: torch.Tensor, weight: float, regularization: float) -> torch.Tensor:
        return FoldIn(matrix[:, 1:].T.contiguous(), regularization, weight).scores(history)

    grid: dict[tuple[float, float], float] = {}
    print(f"\n{model}: validation of users not in training, agreement for those in training; columns {REGULARIZATIONS}")
    for weight in WEIGHTS:
        pairs = [(weight, strength) for strength in REGULARIZATIONS]
        grid |= {pair: recall(folded(other_right, other_rows, *pair), other, out, clicks, "valid") for pair in pairs}
        shares = [agreement(trained, folded(right, rows, *pair), rows) for pair in pairs]
        print(
            f"  {weight:3g}  "
            + "  ".join(f"{grid[pair]:.4f} {share:.2f}" for pair, share in zip(pairs, shares, strict=True))
        )
    for pair in dict.fromkeys([max(grid, key=lambda pair: grid[pair]), (FoldIn.weight, FoldIn.regularization)]):
        same, others = folded(right, rows, *pair), folded(other_right, other_rows, *pair)
        rankings = ((trained, tokens), (same, tokens), (others, other))
        figures = [f"{recall(scores, names, out, clicks, 'test'):.4f}" for scores, names in rankings]
        print(f"| {model} | {pair[0]:g}, {pair[1]:g} | {' | '.join(figures)} |", flush=True)


def main() -> None:
    """Print the figures of each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", default=str(ML_100K))
    parser.add_argument("--model", nargs="+", default=["BPR", "LightGCN"])
    parser.add_argument("--epochs", type=int, default=60)
    args = parser.parse_args()
    machine.quiet()
    columns = ("", "weight, regularisation", "trained", "fold-in", "fold-in, not in training")
    print(f"{machine.describe()}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    clicks = split(str(Path(args.clicks).absolute()))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for model in args.model:
            measure(model, clicks, args.epochs)


if __name__ == "__main__":
    main()
