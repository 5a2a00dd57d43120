"""The versions that this package works with, and the names that RecBole needs and newer packages removed.

A name that RecBole 1.2.1 uses and that is missing is added before RecBole needs it. It is added for the whole process,
because RecBole looks for it in NumPy and SciPy themselves. A name that exists is left alone. The lines of RecBole in the
comments are those of https://github.com/RUCAIBox/RecBole at v1.2.1.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import dok_matrix

from recbole_multvae.errors import UnsupportedVersionError

RECBOLE_VERSION = "1.2.1"
#: Names that NumPy 2.0 removed, and where they are used.
NUMPY = {
    "float_": np.float64,  # recbole/config/configurator.py:630, Config.compatibility_settings
    "complex_": np.complex128,  # recbole/config/configurator.py:631
    "unicode_": np.str_,  # recbole/config/configurator.py:635
    "bool8": np.bool_,  # ray 2.6.3, the newest that RecBole allows, when recbole/quick_start/quick_start.py:20 imports it
}


def check_recbole() -> None:
    """Refuse a RecBole whose internals :mod:`.registration` does not know.

    Raises:
        UnsupportedVersionError: RecBole is missing, or is not of version 1.2.1.
    """
    # pip cannot resolve it on Python 3.12 and newer: it requires a version of ray that has no wheel there.
    remedy = f"pip install --no-deps recbole=={RECBOLE_VERSION}"
    try:
        import recbole
    except ModuleNotFoundError:
        raise UnsupportedVersionError(f"recbole-multvae needs RecBole, which is not installed: {remedy}") from None
    if recbole.__version__ != RECBOLE_VERSION:
        raise UnsupportedVersionError(
            f"recbole-multvae works with RecBole {RECBOLE_VERSION}, but {recbole.__version__} is installed: {remedy}"
        )


def restore_removed_names() -> None:
    """Give NumPy and SciPy the names that RecBole uses.

    Raises:
        UnsupportedVersionError: pandas is 3 or newer, with which RecBole leaves missing values unfilled
            (recbole/data/dataset/dataset.py:501, :648 and :650 fill a copy of the column).
    """
    if int(pd.__version__.split(".")[0]) >= 3:
        raise UnsupportedVersionError(
            f"recbole-multvae works with pandas 1 and 2, but {pd.__version__} is installed, with which RecBole leaves "
            "missing values as they are: pip install 'pandas<3'"
        )
    for name, value in NUMPY.items():
        if not hasattr(np, name):
            setattr(np, name, value)
    # Gone since SciPy 1.13: recbole/model/general_recommender/lightgcn.py:111; gcmc, ncl, ngcf, spectralcf, kgin, mcclk.
    if not hasattr(dok_matrix, "_update"):
        dok_matrix._update = _update


def _update(matrix: Any, entries: Mapping[tuple[int, int], float]) -> None:
    """Set entries of a dok_matrix by their row and column, unchecked."""
    matrix._dict.update(entries)


def ignore_recbole_deprecations() -> None:
    """Hide the deprecation warnings of RecBole's own code: a user of a command cannot act on them."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")


class _Tune(types.ModuleType):
    """A replacement of ``ray.tune``: ``report`` does nothing, and any other name says that ray is not installed."""

    def report(self, **metrics: float) -> None:
        """Do nothing, as ray's does outside a trial. RecBole calls it in a search without ray too (quick_start.py:223)."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ModuleNotFoundError(f"{self.__name__}.{name} needs the package ray, which is not installed: pip install ray")


def import_quick_start() -> None:
    """Import ``recbole.quick_start`` without ray: quick_start.py:20 imports ray, and only a hyper-parameter search uses it.

    A replacement of ray exists only during the import, so that other packages still see that ray is not installed.
    """
    if importlib.util.find_spec("ray") is not None:
        return
    ray = types.ModuleType("ray")
    ray.tune = _Tune("ray.tune")  # type: ignore[attr-defined]
    sys.modules["ray"] = ray
    try:
        importlib.import_module("recbole.quick_start")
    finally:
        del sys.modules["ray"]
