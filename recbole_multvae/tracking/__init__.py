"""Trackers of experiments, such as MLflow: one module each. A module ``to_NAME`` is the tracker NAME, and no list names it.

Such a module has a class ``Tracker`` that derives from :class:`.base.Tracker`. It imports the tracker's own package, which
decides by its own files and environment variables where everything goes; nothing else imports that package.
"""

from __future__ import annotations

import importlib
import pkgutil

from recbole_multvae.errors import ConfigurationError
from recbole_multvae.tracking.base import Tracker

_PREFIX = "to_"


def trackers() -> list[str]:
    """The names of the trackers for ``--track``."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name.removeprefix(_PREFIX) for name in modules if name.startswith(_PREFIX))


def tracker_class(name: str) -> type[Tracker]:
    """The tracker called ``name``.

    Raises:
        ConfigurationError: there is none, or its package is not installed.
    """
    if name not in trackers():
        raise ConfigurationError(f"--track={name} is not allowed: expected {' or '.join(trackers())}.")
    try:
        tracker: type[Tracker] = importlib.import_module(f"{__name__}.{_PREFIX}{name}").Tracker
    except ImportError as error:
        raise ConfigurationError(
            f"--track={name} needs a package that cannot be imported ({error}): install this package with [{name}]."
        ) from error
    return tracker
