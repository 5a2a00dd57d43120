"""Bounds on what a small file can cost: see the threats in :mod:`multvae_export.reading`."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable
from enum import Enum
from typing import Any

import numpy as np

from multvae_export.errors import UnsafeCheckpointError

#: Containers that print what they hold.
_CONTAINERS = {list, tuple, set, dict, OrderedDict, defaultdict}
_TEXTS = {str, bytes}
_PLAIN = {*_TEXTS, int, float, bool, type(None)}
_SHORT = 8  # Parts of a tuple.


def check_keys(keys: Collection[Any]) -> None:
    """Refuse keys whose look-up takes very long (numbers with equal hashes, Threat 7) or overflows the stack (nested tuples,
    Threat 8).

    Raises:
        UnsafeCheckpointError: a key is neither text, a number of 64 bits, a member of an enum, nor a short tuple of such.
    """
    if not set(map(type, keys)) <= {str} and not all(map(_is_plain, keys)):
        raise UnsafeCheckpointError("a key in it is neither a text nor a plain number, which RecBole does not write")


def check_nesting(values: Iterable[Any]) -> None:
    """Refuse dicts with defaults directly inside one another (Threat 8).

    Python frees them by recursion. A file that nests a hundred thousand of them would overflow the stack.

    Raises:
        UnsafeCheckpointError: a value of such a dict is one itself.
    """
    if any(isinstance(value, defaultdict) for value in values):
        raise UnsafeCheckpointError("it has dicts with defaults inside one another, which RecBole does not write")


def check_elements(elements: Iterable[Any]) -> None:
    """Refuse arrays whose elements are not texts, numbers or lists of these (Threat 8).

    NumPy frees the elements of an array by recursion; on Python 3.13 that goes on through lists between arrays.

    Raises:
        UnsafeCheckpointError: an element is something else.
    """
    for element in elements:
        for kind in set(map(type, element if type(element) is list else (element,))):
            if kind not in _PLAIN and not issubclass(kind, np.generic):
                raise UnsafeCheckpointError(
                    "it has an array of values that are neither text nor numbers, which RecBole does not write"
                )


def _is_plain(key: Any) -> bool:
    if type(key) is tuple:  # With two long numbers, a tuple can be given any hash.
        return len(key) <= _SHORT and all(_is_number(part, bits=31) or isinstance(part, str) for part in key)
    return isinstance(key, str | float | Enum | None) or _is_number(key, bits=63)


def _is_number(key: Any, bits: int) -> bool:
    return isinstance(key, int | np.integer) and abs(int(key)) < 2**bits


class Printed:
    """The lengths of values as text (Threat 9). A file can hold a part once and refer to it many times.

    Take a list of ten references to a list of ten references to a list, and so on. Twelve levels are 300 bytes in a file
    and a terabyte as text: an error message that shows such a value would fill the memory.

    Args:
        limit: the largest length, in characters and items.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._contents: dict[int, tuple[Any, Any]] = {}
        self._lengths: dict[int, int] = {}

    def note(self, thing: Any, content: Any) -> None:
        """Note the content of an object. Both stay alive, so that no other object gets the same id."""
        self._contents[id(thing)] = thing, content

    def check(self, value: Any) -> None:
        """Add up the lengths of all parts of a value.

        Raises:
            UnsafeCheckpointError: a part of it is longer than the limit.
        """
        # Depth first and without recursion: a container of containers comes twice, before and after them.
        waiting: list[tuple[Any, list[Any] | None]] = [(value, None)]
        while waiting:
            thing, inner = waiting.pop()
            if inner is not None:
                self._add(thing, sum(self._lengths[id(part)] for part in inner))
            elif id(thing) not in self._lengths:
                parts = self._parts(thing)
                kinds = set(map(type, parts))
                self._add(thing, len(parts) + _characters(parts, kinds))
                if not kinds <= _PLAIN:
                    inner = [part for part in parts if type(part) in _CONTAINERS or id(part) in self._contents]
                    waiting.append((thing, inner))
                    waiting += [(part, None) for part in inner]

    def _parts(self, thing: Any) -> Collection[Any]:
        if id(thing) in self._contents:
            return (self._contents[id(thing)][1],)
        if isinstance(thing, dict):
            return [*thing.keys(), *thing.values()]
        return thing if type(thing) in _CONTAINERS else (thing,)

    def _add(self, thing: Any, length: int) -> None:
        self._lengths[id(thing)] = length = self._lengths.get(id(thing), 0) + length
        if length > self.limit:
            raise UnsafeCheckpointError("it refers to the same values again and again, and would be too long as text")


def _characters(parts: Collection[Any], kinds: set[type]) -> int:
    if kinds <= _TEXTS:
        return sum(map(len, parts))
    return sum(len(part) for part in parts if type(part) in _TEXTS) if kinds & _TEXTS else 0
