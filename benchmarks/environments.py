"""Whether RecBole works with this Python and NumPy: each of its models is trained for one epoch on ml-100k and tested.

    python benchmarks/environments.py

in each environment. It writes a file for each environment into benchmarks/environments/, and prints the table of all files
there, which compares the others with Python 3.11 and NumPy 1. If it is interrupted, the same command goes on. Histories are
cut to five items, and ConvNCF ranks each item of a user among ten sampled ones: both would take many minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import recbole
import yaml
from machine import describe

from recbole_multvae.experiment.configuration import model_names
from recbole_multvae.files import atomic_write
from recbole_multvae.leaderboard.json_file import write_json

FOLDER = Path(__file__).parent / "environments"
PACKAGES = ("numpy", "scipy", "pandas", "scikit-learn", "torch")
#: The environment that the others are compared with: RecBole lacks nothing there.
REFERENCE = "python3.11-numpy1"
KINDS = ("general", "sequential", "context_aware", "knowledge_aware")
#: Keys that differ: two models are pre-trained for one epoch too, ConvNCF convolves for every pair that it ranks, and NCL's
#: default has more clusters than ml-100k has users.
CHANGED: dict[str, dict[str, Any]] = {
    "RaCT": {"pretrain_epochs": 1},
    "S3Rec": {"pretrain_epochs": 1},
    "ConvNCF": {"eval_args": {"mode": "uni10"}},
    "NCL": {"num_clusters": 100},
}
#: They save their pre-training under other names than the one that run_recbole loads for the test.
PRE_TRAINED = ("RaCT", "S3Rec")


def main() -> None:
    """Train the models that this environment's file does not have, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", help="names (default: MultVAE, and RecBole's but LightGBM and XGBoost)")
    parser.add_argument("--time_limit", type=float, default=1800, help="seconds for a model (default: %(default)s)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        train(args.child)
        return
    file = FOLDER / f"{name()}.json"
    known = json.loads(file.read_text("utf-8")) if file.exists() else {"models": {}}
    results = {"machine": describe(), "versions": {package: version(package) for package in PACKAGES}, **known}
    for model in args.models or ["MultVAE", *recbole_models(*KINDS)]:
        if model not in results["models"]:
            results["models"][model] = outcome(model, args.time_limit)
            FOLDER.mkdir(exist_ok=True)
            with atomic_write(file) as part:
                write_json(part, results)
            print(model, results["models"][model], file=sys.stderr)
    print(table({file.stem: json.loads(file.read_text("utf-8"))["models"] for file in sorted(FOLDER.glob("*.json"))}))


def name() -> str:
    """The environment's: its Python and its NumPy."""
    python = ".".join(platform.python_version_tuple()[:2])
    return f"python{python}-numpy{version('numpy').split('.')[0]}"


def recbole_models(*kinds: str) -> list[str]:
    """Names of RecBole's models, those of a kind together."""
    named = {model.lower(): model for model in model_names()}
    folders = (Path(recbole.__file__).parent / "model" / f"{kind}_recommender" for kind in kinds)
    return [named[file.stem] for folder in folders for file in sorted(folder.glob("[!_]*.py"))]


def outcome(model: str, time_limit: float) -> dict[str, Any]:
    """The result of a model in a process of its own: its test metrics, or its error."""
    command = [sys.executable, str(Path(__file__).absolute()), "--child", model]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                timeout=time_limit,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"not done after {time_limit:.0f} s"}
        file = Path(folder) / "test.json"
        if done.returncode == 0 and file.exists():
            return {"test": json.loads(file.read_text("utf-8")), "seconds": round(time.perf_counter() - start, 1)}
    error = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return {"error": error.replace(str(Path(recbole.__file__).parents[1]), "")}


def train(model: str) -> None:
    """Train a model through RecBole's own function, and write its test metrics to the working folder."""
    sys.argv = sys.argv[:1]  # RecBole reads them.
    from recbole.quick_start import run_recbole

    keys: dict[str, Any] = {
        "epochs": 1,
        "MAX_ITEM_LIST_LENGTH": 5,
        "metric_decimal_place": 17,
        "show_progress": False,
        "use_gpu": False,
        **CHANGED.get(model, {}),
    }
    properties = Path(recbole.__file__).parent / "properties" / "model" / f"{model}.yaml"
    if properties.exists() and "CE" in str((yaml.safe_load(properties.read_text("utf-8")) or {}).get("loss_type")):
        keys["train_neg_sample_args"] = None  # RecBole asks for it.
    result = run_recbole(model, "ml-100k", config_dict=keys, saved=model not in PRE_TRAINED)
    write_json(Path("test.json"), dict(result["test_result"]))


def table(environments: dict[str, dict[str, Any]]) -> str:
    """A row for each model, in Markdown: whether it works as in the reference, and whether its metrics are the same."""
    reference = environments.get(REFERENCE, {})
    others = {name: models for name, models in environments.items() if name != REFERENCE}
    lines = [f"| | {REFERENCE} | {' | '.join(others)} |", f"|---|---|{'---|' * len(others)}"]
    for model in reference:
        cells = [compared(reference[model], models.get(model)) for models in others.values()]
        lines.append(f"| {model} | {reference[model].get('error', 'works')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def compared(expected: dict[str, Any], result: dict[str, Any] | None) -> str:
    """The result of a model in an environment, compared with that of the reference, in words."""
    if result is None:
        return "not run"
    if "error" in result:
        return f"fails here only: {result['error']}" if "test" in expected else "fails, too"
    if "error" in expected:
        return "works"
    difference = max(abs(result["test"][metric] - value) for metric, value in expected["test"].items())
    return "works, equal" if difference == 0 else f"works, equal to {math.floor(-math.log10(2 * difference))} digits"


if __name__ == "__main__":
    main()
