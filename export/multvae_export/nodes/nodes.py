"""Nodes of a graph in ONNX's text form, together with the constants that they read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: Numbers, axes and shapes that any node may read by name.
LITERALS: dict[str, Any] = {
    "zero": np.int64(0), "one": np.int64(1),
    "zero_int32": np.int32(0), "one_int32": np.int32(1), "minus_one_int32": np.int32(-1),
    "zero_float": np.float32(0), "half": np.float32(0.5), "one_float": np.float32(1), "eight": np.float32(8),
    "sixteen": np.float32(16), "sixteenth": np.float32(1 / 16), "tiny": np.float32(1e-12),
    "minus_infinity": np.float32(-np.inf),
    "axis1": np.array([1]), "axis2": np.array([2]), "axis3": np.array([3]), "axis4": np.array([4]),
    "from_start": np.array([0]), "from_second": np.array([1]), "no_items": np.array([0]), "flat_shape": np.array([-1]),
}  # fmt: skip

_WORD = re.compile(r"\w+")
#: The branches of an If stand like tensors at the beginning of a line, and are none.
_PRODUCED = re.compile(r"^\s*(?!then_branch|else_branch)(\w[\w, ]*?) =", re.MULTILINE)


@dataclass(frozen=True)
class Nodes:
    """Nodes, one a line, and the constants that they read.

    Attributes:
        text: in ONNX's text form.
        constants: arrays by name, among them the :data:`LITERALS` that the text reads. Those that it does not read are left
            out. The names of tables, of which a request reads only the rows of its items, begin with ``table``.
    """

    text: str = ""
    constants: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        words = set(_WORD.findall(self.text))
        read = {name: value for name, value in {**LITERALS, **self.constants}.items() if name in words}
        object.__setattr__(self, "constants", read)

    def __add__(self, other: Nodes | str) -> Nodes:
        """These nodes, and then the others.

        Raises:
            ValueError: a constant of both has two values.
        """
        other = Nodes(other) if isinstance(other, str) else other
        for name in self.constants.keys() & other.constants.keys():
            if not _equal(self.constants[name], other.constants[name]):
                raise ValueError(f"the constant {name} has two values: expected one name for each.")
        return Nodes(f"{self.text}\n{other.text}", {**self.constants, **other.constants})

    @property
    def produced(self) -> set[str]:
        """The names of the tensors that the nodes compute."""
        return {name.strip() for names in _PRODUCED.findall(self.text) for name in names.split(",")}

    def renamed(self, prefix: str, names: Mapping[str, str] | None = None) -> Nodes:
        """The same nodes under other names.

        Args:
            prefix: the new beginning of the names that they produce; "" leaves them as they are.
            names: the new names of other tensors and of constants, by the old ones.
        """
        new = {name: prefix + name for name in self.produced} | dict(names or {})
        constants = {new.get(name, name): value for name, value in self.constants.items()}
        return Nodes(_WORD.sub(lambda word: new.get(word[0], word[0]), self.text), constants)


def _equal(one: Any, other: Any) -> bool:
    return one is other or (one.dtype == other.dtype and np.array_equal(one, other))
