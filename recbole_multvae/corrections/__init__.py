"""Models of RecBole 1.2.1 that do not compute what their papers say: a file for each, with the name of RecBole's file.

``OWNER`` of a file is RecBole's class or module, and ``REPLACED`` what takes the place of its members, by name: a function,
called with the original before the original's arguments, or a value. Each file says what is wrong in which line.
"""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any


def corrections() -> Iterator[tuple[Any, str, Any]]:
    """RecBole's class or module, the name of the member, and what takes its place."""
    for module in iter_modules(__path__, f"{__name__}."):
        correction = import_module(module.name)
        yield from ((correction.OWNER, name, value) for name, value in correction.REPLACED.items())
