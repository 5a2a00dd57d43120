"""The kinds of models that can be exported: one file each, found because it is in this folder.

Methods are documented where they are declared, in ``base.py`` and ``layered.py``. An override has a docstring only where it
adds something.
"""

from __future__ import annotations

import importlib
import pkgutil

from multvae_export.architectures.base import Architecture

__all__ = ["Architecture", "exportable", "find", "is_described", "reason_against"]


def _all() -> list[type[Architecture]]:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return [Architecture.known[name] for name in sorted(Architecture.known)]


def exportable() -> list[str]:
    """The names of the models that can be exported, in order of the alphabet."""
    return sorted({model for kind in _all() for model in (*kind.models, *kind.described)})


def find(model: str, architecture: str | None) -> type[Architecture] | None:
    """The architecture that a checkpoint names, or else the one that takes its model; None if there is none.

    Args:
        model: the name of the model's class in the checkpoint's configuration.
        architecture: the name that the checkpoint's description of the model has; None if there is no description.
    """
    if architecture is not None:
        return next((kind for kind in _all() if kind.name == architecture), None)
    return next((kind for kind in _all() if model in kind.models), None)


def is_described(model: str) -> bool:
    """Whether a model's checkpoints have a description, without which it cannot be exported."""
    return any(model in kind.described for kind in _all())


def reason_against(model: str) -> str | None:
    """Why a model of a known kind is not exported, as the end of a sentence; None where nothing is known."""
    return next((kind.refused[model] for kind in _all() if model in kind.refused), None)
