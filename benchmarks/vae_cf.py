"""A public implementation of Mult-VAE, younggyoseo/vae-cf-pytorch, on a split of ours, ranked by our evaluator.

quality.py starts this in a process of its own, in place of timed_run.py. The implementation is not part of this project:
:func:`fetch` clones it into .peers/, and its main.py runs unchanged, with the configuration's ``train_batch_size``,
``epochs``, ``anneal_cap``, ``total_anneal_steps`` and ``seed``. Its network, I-600-200-600-I, dropout 0.5, and its learning
rate, 0.001, are fixed. It reads the split from files and trains on the CPU. The weights of its best validation NDCG@100
score the users of the test.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import runpy
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

from workers import PEERS

REPOSITORY = "https://github.com/younggyoseo/vae-cf-pytorch"
COMMIT = "3619878f8eaf77f4018be697f1ecfdbd95f9a23b"
FOLDER = PEERS / "vae-cf-pytorch"
#: Users whose scores are computed at once.
BATCH = 500


def fetch() -> None:
    """Clone the implementation where it is not there."""
    if (FOLDER / "main.py").exists():
        return
    try:  # Files appear with the checkout: of this commit, or none.
        subprocess.run(["git", "clone", "--quiet", "--no-checkout", REPOSITORY, FOLDER], check=True)
        subprocess.run(["git", "-C", FOLDER, "checkout", "--quiet", COMMIT], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            f"{REPOSITORY} could not be cloned by git: put its commit {COMMIT} into {FOLDER}, or leave it out of --models."
        ) from error


def write_split(train: Any, valid: Any, test: Any) -> None:
    """Write the parts of a split of users to ``pro_sg/`` in the working folder, as its data.py does: the users of each part
    are numbered from 0, items from 0, and users without positives are left out.
    """
    import numpy as np
    import pandas as pd

    from recbole_multvae.data.csr import distinct_clicks

    def save(name: str, users: Any, items: Any) -> None:
        pd.DataFrame({"uid": users, "sid": items - 1}).to_csv(f"pro_sg/{name}.csv", index=False)

    Path("pro_sg").mkdir()
    Path("pro_sg/unique_sid.txt").write_text("".join(f"{item}\n" for item in range(1, train.item_num)), "utf-8")
    clicks = distinct_clicks(train).tocoo()
    save("train", pd.factorize(clicks.row)[0], clicks.col)
    for name, part in (("validation", valid), ("test", test)):
        positives = distinct_clicks(part)
        users = np.flatnonzero(positives.getnnz(axis=1))
        for ending, pairs in (("tr", part.fold_in[users].tocoo()), ("te", positives[users].tocoo())):
            save(f"{name}_{ending}", pairs.row, pairs.col)


def train(config: Any) -> dict[str, Any]:
    """Run its main.py in the working folder. Returns the variables that it leaves."""
    import numpy as np
    import torch.utils.tensorboard

    # It needs one name each of two packages more, and these have the same.
    sys.modules["tensorboardX"] = torch.utils.tensorboard
    sys.modules["bottleneck"] = types.SimpleNamespace(argpartition=np.argpartition)  # type: ignore[assignment]
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # Since torch 2.6, to read the file that it has written itself.
    np.random.seed(config["seed"])  # It shuffles by NumPy and seeds torch only.
    options = {"batch_size": config["train_batch_size"], "save": "model.pt", "data": "."}
    options |= {name: config[name] for name in ("epochs", "total_anneal_steps", "anneal_cap", "seed")}
    sys.argv = [str(FOLDER / "main.py"), *(text for name, value in options.items() for text in (f"--{name}", str(value)))]
    sys.path.insert(0, str(FOLDER))
    with contextlib.redirect_stdout(io.StringIO()):
        return runpy.run_path(str(FOLDER / "main.py"), run_name="__main__")


def ranked(config: Any, loader: Any, ran: dict[str, Any]) -> dict[str, float]:
    """Our metrics of the test for the scores of its model."""
    import torch
    from recbole.evaluator import Evaluator

    from recbole_multvae.evaluation.collector import RankingCollector
    from recbole_multvae.evaluation.ranking import Ranking, top_k

    model, histories = ran["model"].eval(), ran["test_data_tr"]
    with torch.no_grad():
        blocks = (
            torch.from_numpy(histories[start : start + BATCH].toarray()).float()
            for start in range(0, histories.shape[0], BATCH)
        )
        scores = torch.cat([model(block)[0] for block in blocks])
    scores = torch.nn.functional.pad(scores, (1, 0), value=-torch.inf)
    collector, start = RankingCollector(config), 0
    for users, seen, *positives in loader:
        user_scores = scores[start : start + len(users)].clone()
        start += len(users)
        user_scores[seen] = -torch.inf
        collector.eval_batch_collect(Ranking(top_k(user_scores, max(config["topk"])), scores.shape[1]), users, *positives)
    return dict(Evaluator(config).evaluate(collector.get_data_struct()))


def main() -> None:
    """Train as the first argument describes, and write the measurements into the file that the second names."""
    described, file = json.loads(sys.argv[1]), Path(sys.argv[2]).resolve()
    from recbole.data import data_preparation
    from recbole.utils import init_seed

    from recbole_multvae.data.atomic_files import read_dataset
    from recbole_multvae.experiment.configuration import make_config

    config = make_config(*(described[name] for name in ("model", "dataset", "files", "keys", "command_line")))
    init_seed(config["seed"], config["reproducibility"])
    loaders = data_preparation(config, read_dataset(config))
    write_split(*(loader._dataset for loader in loaders))
    ran = train(config)
    measured = {"seconds": round(time.time() - described["started"], 3), "test": ranked(config, loaders[2], ran)}
    measured["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    variables = {"validation ndcg@100": "best_n100", "ndcg@100": "n100", "recall@20": "r20", "recall@50": "r50"}
    measured["own metrics"] = {name: float(ran[variable]) for name, variable in variables.items()}
    file.write_text(json.dumps(measured), "utf-8")


if __name__ == "__main__":
    main()
