"""The kinds of models that can be exported: one file each, found because it is in this folder.

Methods are documented where they are declared, in ``base.py`` and ``layered.py``. An override has a docstring only where it
adds something.
"""

from __future__ import annotations

import importlib
import pkgutil

from multvae_export.architectures.base import Architecture
from multvae_export.checkpoint.contents import Checkpoint
from multvae_export.errors import SpecError, UnsupportedModelError

__all__ = ["Architecture", "exportable", "kind_of"]


def _all() -> list[type[Architecture]]:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return [Architecture.known[name] for name in sorted(Architecture.known)]


def exportable() -> list[str]:
    """The names of the models that can be exported, in order of the alphabet."""
    return sorted({model for kind in _all() for model in (*kind.models, *kind.described)})


def kind_of(checkpoint: Checkpoint) -> type[Architecture]:
    """The architecture that takes a checkpoint: the one that it names, or else the one that takes its model.

    Raises:
        UnsupportedModelError: no architecture takes it.
        SpecError: it is of the plugin's, and has no description.
        FormatVersionError: the plugin that wrote it is newer.
    """
    checkpoint.check_format()
    model, description = checkpoint.model, checkpoint.description
    if description is None and any(model in kind.described for kind in _all()):
        raise SpecError(
            f"the checkpoint of {model} has no description of its model: train it again with a newer recbole-multvae."
        )
    name = str(description["architecture"]) if description else None
    takes = (kind for kind in _all() if (model in kind.models if name is None else kind.name == name))
    if kind := next(takes, None):
        return kind
    subject = f"{model} with the architecture {name!r}" if name else model
    reason = next((kind.refused[model] for kind in _all() if model in kind.refused), None)
    because = f", because {reason}" if reason else ""
    raise UnsupportedModelError(f"{subject} cannot be exported{because}: expected one of {', '.join(exportable())}.")
