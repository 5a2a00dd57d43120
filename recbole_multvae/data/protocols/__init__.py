"""Protocols: ways to hold data out for evaluation, one file each. Classes in this folder are found automatically.

RecBole's own splits are RS, LS and TS. ``eval_args: {split: {NAME: arguments}}`` chooses the protocol called NAME.
"""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from recbole_multvae.data.protocols.base import Protocol

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)


def protocols() -> dict[str, type[Protocol]]:
    """The protocols by their names in ``eval_args``."""
    return {cls.name: cls for cls in Protocol.__subclasses__()}


def chosen(config: Mapping[str, Any]) -> type[Protocol] | None:
    """The protocol that a configuration names; None for RecBole's own splits.

    Files that are split already, ``benchmark_filename``, take precedence over any split, as in RecBole.
    """
    arguments = config["eval_args"]
    split = arguments.get("split") if isinstance(arguments, dict) and not config["benchmark_filename"] else None
    return protocols().get(next(iter(split), "")) if isinstance(split, dict) else None
