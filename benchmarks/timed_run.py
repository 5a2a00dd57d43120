"""One training whose validations are timed. time_to_accuracy.py starts this in a process of its own:

    python benchmarks/timed_run.py '{"model": "MultVAE", "dataset": "ml-100k", ...}' result.json

``started`` is the clock before the process was: what it imports and prepares counts. ``peak`` is in MiB.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Train what the first argument describes, and write into the second what was measured."""
    described, file = json.loads(sys.argv[1]), Path(sys.argv[2])
    sys.argv = sys.argv[:1]
    from recbole.trainer import Trainer

    from recbole_multvae.commands.run import run

    measured: dict[str, Any] = {"validations": []}
    validate = Trainer._valid_epoch

    def timed(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        score, result = validate(trainer, *args, **kwargs)
        measured["validations"].append({"seconds": seconds(), "score": float(score), "metrics": dict(result)})
        measured["configuration"] = trainer.config.final_config_dict
        return score, result

    def seconds() -> float:
        return round(time.time() - described["started"], 3)

    Trainer._valid_epoch = timed
    result = run(
        described["model"], described["dataset"], described["files"], described["keys"], command_line=described["own"]
    )
    measured |= {"test": dict(result["test_result"]), "bigger": result["valid_score_bigger"], "seconds": seconds()}
    measured["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    file.write_text(json.dumps(measured, default=str), "utf-8")


if __name__ == "__main__":
    main()
