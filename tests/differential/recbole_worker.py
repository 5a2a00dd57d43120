"""RecBole alone, in a process where nothing of this package is imported: jobs come and results go, a line of JSON each.

python -m tests.differential.recbole_worker
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import Any

import numpy as np

# RecBole 1.2.1 asks NumPy for these; NumPy 2 has them no longer.
for _name, _type in {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_, "bool8": np.bool_}.items():
    if not hasattr(np, _name):
        setattr(np, _name, _type)

from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.utils import get_model, get_trainer, init_seed, utils  # noqa: E402

from tests.differential.outcome import Candidates, NoBoard, Outcome, of_data, scores_of  # noqa: E402


def run(model: str, keys: dict[str, Any]) -> Outcome:
    """What RecBole makes of a data set and keys."""
    config = Config(model, "made", config_dict=keys)
    init_seed(config["seed"], config["reproducibility"])
    data = create_dataset(config)
    train_data, valid_data, test_data = data_preparation(config, data)
    outcome = of_data([train_data, valid_data, test_data])
    init_seed(config["seed"], config["reproducibility"])
    network = get_model(model)(config, train_data._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    candidates = Candidates(trainer)
    outcome.valid_metrics = dict(trainer.fit(train_data, valid_data, verbose=False, saved=False)[1] or {})
    candidates.take("valid", valid_data, outcome)
    outcome.test_metrics = dict(trainer.evaluate(test_data, load_best_model=False) or {})
    candidates.take("test", test_data, outcome)
    outcome.scores = scores_of(network, outcome)
    return outcome


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """The result of a job, or its error."""
    try:
        return asdict(run(job["model"], job["keys"]))
    except Exception as error:  # Whatever it is, RecBole alone ends here.
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Answer jobs until there are no more."""
    utils.SummaryWriter = NoBoard
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # What RecBole prints is no answer.
    sys.argv = sys.argv[:1]  # RecBole reads keys from it.
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line)), default=float), file=answers, flush=True)


if __name__ == "__main__":
    main()
