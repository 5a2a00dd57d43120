"""What one run of a leaderboard depends on, and where its result is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import recbole

import recbole_multvae
from recbole_multvae.data.digests import short_digest
from recbole_multvae.errors import ConfigurationError


@dataclass(frozen=True)
class RunInputs:
    """Inputs of one leaderboard run: a row under a seed, or a trial of a search.

    Attributes:
        row: the name of the row.
        model: the name of the model.
        dataset: the name of the data set.
        files: paths of configuration files.
        defaults: configuration keys, unless files or ``keys`` set them.
        keys: configuration keys that win over all others, their values as text.
        seed: RecBole's.
        result: the JSON file of the result; the metrics of each user are in the ``.npz`` file beside it.
        quantiles: the number of groups of users by activity.
        data_folder: the folder of the data set's files.
    """

    row: str
    model: str
    dataset: str
    files: list[str]
    defaults: dict[str, Any]
    keys: dict[str, str]
    seed: int
    result: str
    quantiles: int
    data_folder: str


#: Keys of what a run shows, on which its result does not depend.
DISPLAY = ("show_progress", "state")
#: The result of a run: its inputs, ``status`` (finished or failed), ``error``, ``seconds_in_all``, and the measurements.
Run = dict[str, Any]
#: Performs a run and returns its measurements.
Measure = Callable[[RunInputs], dict[str, Any]]


def fingerprint(inputs: RunInputs, files: list[Any], data: Mapping[str, Any]) -> str:
    """A digest of everything that a run depends on: the configuration, the files of the data set, and the versions.

    Args:
        inputs: those of the run; the name of the row, the paths of its result and data, and what is shown do not count.
        files: the contents of the configuration files.
        data: a digest of each file of the data set, by name.
    """
    keys = {key: value for key, value in inputs.keys.items() if key not in DISPLAY}
    configuration = asdict(replace(inputs, result="", row="", keys=keys)) | {"files": files}
    del configuration["data_folder"]
    versions = [recbole.__version__, recbole_multvae.__version__]
    return short_digest([configuration, data, versions])


def read_finished(inputs: RunInputs) -> Run | None:
    """The result of a run that finished before; None if there is none."""
    file = Path(inputs.result)
    if not file.is_file():
        return None
    run = json.loads(file.read_text("utf-8"))
    lacks_users = "metrics" in run and not file.with_suffix(".npz").is_file()
    return run if run["status"] == "finished" and not lacks_users else None


def make_folder(folder: Path, key: str) -> None:
    """Make the folder of the results.

    Raises:
        ConfigurationError: it cannot be written; ``key`` is the option or the key that names it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--{key}: cannot write the results into {folder}: {error}") from error


def failed(inputs: RunInputs, error: str, seconds: float) -> Run:
    """The result of a run that failed after some seconds."""
    return {**asdict(inputs), "status": "failed", "error": error, "seconds_in_all": seconds}
