"""One training whose validations and epochs are timed. time_to_accuracy.py starts it in a process of its own:

    python benchmarks/timed_run.py '{"model": "MultVAE", "dataset": "ml-100k", ...}' result.json

``started`` is the time before the process started: its imports and the preparation of the data count. ``epochs`` are the
seconds of training in each epoch. ``peak`` is in MiB. Every validation is printed when it ends.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Train as the first argument describes, and write the measurements into the file that the second names."""
    described, file = json.loads(sys.argv[1]), Path(sys.argv[2])
    sys.argv = sys.argv[:1]
    from recbole.trainer import Trainer

    from recbole_multvae.experiment.run import run

    measured: dict[str, Any] = {"validations": [], "epochs": []}
    validate, train = Trainer._valid_epoch, Trainer._train_epoch

    def timed(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        score, result = validate(trainer, *args, **kwargs)
        measured["validations"].append({"seconds": seconds(), "score": float(score), "metrics": dict(result)})
        print(f"{described['model']}: {measured['validations'][-1]}", file=sys.stderr)
        measured["configuration"] = trainer.config.final_config_dict
        return score, result

    def timed_epoch(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        loss = train(*args, **kwargs)
        measured["epochs"].append(round(time.perf_counter() - began, 3))
        return loss

    def seconds() -> float:
        return round(time.time() - described["started"], 3)

    Trainer._valid_epoch, Trainer._train_epoch = timed, timed_epoch
    model, dataset, files, keys = (described[name] for name in ("model", "dataset", "files", "keys"))
    result = run(model, dataset, files, keys, command_line=described["command_line"])
    measured |= {"test": dict(result["test_result"]), "bigger": result["valid_score_bigger"], "seconds": seconds()}
    measured["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    file.write_text(json.dumps(measured, default=str), "utf-8")


if __name__ == "__main__":
    main()
