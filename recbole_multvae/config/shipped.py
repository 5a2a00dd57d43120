"""The files that come with the package: defaults of the models, ready configurations, and spaces of hyper-parameters."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
#: The folder of the YAML files: inside the package when it is installed, beside it in a checkout.
PROPERTIES = next((p for p in (_PACKAGE / "properties", _PACKAGE.parent / "properties") if p.is_dir()), _PACKAGE)


def configurations() -> dict[str, Path]:
    """The ready configurations by name: of data sets, such as ``ml-1m-strong``, and of models, such as ``paper``."""
    return _files("dataset") | _files("preset")


def of_dataset(dataset: str) -> Path | None:
    """The configuration that a run of our models on this data set starts from: the one with its name."""
    return _files("dataset").get(dataset)


def space_of(model: str) -> Path | None:
    """The space in which the hyper-parameters of a model are searched."""
    return _files("hyper", "*.hyper").get(model)


def _files(folder: str, pattern: str = "*.yaml") -> dict[str, Path]:
    return {file.stem: file for file in sorted((PROPERTIES / folder).glob(pattern))}
