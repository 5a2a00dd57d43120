"""The YAML files that come with the package: defaults of the models, and ready configurations of data sets."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
#: Where the YAML files are: inside the package when it is installed, beside it in a checkout.
PROPERTIES = next((p for p in (_PACKAGE / "properties", _PACKAGE.parent / "properties") if p.is_dir()), _PACKAGE)


def configurations() -> dict[str, Path]:
    """The ready configurations of data sets by their names, such as ``ml-1m-strong``."""
    return {file.stem: file for file in sorted((PROPERTIES / "dataset").glob("*.yaml"))}


def of_dataset(dataset: str) -> Path | None:
    """The configuration that a run on this data set starts from: the one that has its name."""
    return configurations().get(dataset)
