"""Reading RecBole's ``.pth`` files without executing anything that is inside.

A RecBole checkpoint is a pickle of tensors, of plain values and of a few objects (its ``Config``; for some models an
embedding layer and the data set). ``torch.load(weights_only=True)``, the default since torch 2.6, refuses such objects and
so refuses every RecBole checkpoint; ``weights_only=False`` would run whatever the file says. Here:

* a function is called only if it stands in :data:`FUNCTIONS`;
* an object of RecBole, torch.nn or scipy.sparse is created empty and gets its attributes: its ``__init__`` never runs (that
  of ``Config`` evaluates strings);
* anything else is refused by name. ``torch.serialization.add_safe_globals`` admits classes of your own.
"""

from __future__ import annotations

import codecs
import importlib
import logging
import pickle
import zipfile
from collections import OrderedDict, defaultdict
from enum import Enum
from types import ModuleType
from typing import Any

import numpy as np
import torch
import yaml
from numpy.core import multiarray
from recbole.config import Config

from recbole_multvae.errors import CheckpointError

#: The version of what the family adds to a checkpoint (``ClickAutoEncoder.other_parameter``).
FORMAT_VERSION = 2

#: Packages whose classes may be created empty.
PACKAGES = ("recbole.", "recbole_multvae.", "torch.nn.modules.", "scipy.sparse.")


def _enum_member(cls: type[Enum], name: str) -> Enum:
    # Some releases of Python 3.11 pickle an enum member as getattr(cls, name).
    if not (isinstance(cls, type) and issubclass(cls, Enum)):
        raise pickle.UnpicklingError("getattr of something that is not an enum")
    return cls[name]


#: What a RecBole checkpoint may call, found by saving all of RecBole 1.2.1's models.
FUNCTIONS: dict[tuple[str, str], Any] = {
    ("builtins", "getattr"): _enum_member,
    ("builtins", "list"): list,
    ("builtins", "set"): set,
    ("_codecs", "encode"): codecs.encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("logging", "getLogger"): logging.getLogger,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "matrix"): np.matrix,
    ("numpy", "ndarray"): np.ndarray,
    **{
        (module, name): getattr(multiarray, name)
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("_reconstruct", "scalar")
    },
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("yaml.loader", "FullLoader"): yaml.FullLoader,
}


def _empty(cls: type) -> type:
    """A stand-in that makes an empty ``cls``: pickle's NEWOBJ works on it, and calling it with arguments fails."""
    return type(cls.__name__, (), {"__new__": lambda _: object.__new__(cls), "cls": cls})


def _resolve(module: str, name: str) -> Any:
    module = {"__builtin__": "builtins"}.get(module, module)  # Python 2's name, which pickle's protocol 2 uses.
    if (module, name) in FUNCTIONS:
        return FUNCTIONS[module, name]
    if module.startswith(PACKAGES):
        found = getattr(importlib.import_module(module), name, None)
        # A class that the module merely imports (os, subprocess, ...) is not the module's own.
        if isinstance(found, type) and found.__module__ == module:
            return found if issubclass(found, Enum) else _empty(found)
    for allowed in torch.serialization.get_safe_globals():
        if isinstance(allowed, type) and (allowed.__module__, allowed.__qualname__) == (module, name):
            return _empty(allowed)
    raise CheckpointError(
        f"{module}.{name} is not something that RecBole writes, and loading would have to run it: if you trust the file "
        f"and this is a class of yours, call torch.serialization.add_safe_globals([{name}]) first."
    )


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _resolve(module, name)


# What torch.load takes for its pickle module.
_PICKLE = ModuleType("recbole_multvae.safe_pickle")
_PICKLE.Unpickler = _Unpickler  # type: ignore[attr-defined]
_PICKLE.load = lambda file, **options: _Unpickler(file, **options).load()  # type: ignore[attr-defined]


def load(file: Any, map_location: Any = None) -> Any:
    """Load what ``torch.save`` or RecBole's ``Trainer`` wrote.

    Args:
        file: a path or an open binary file.
        map_location: as in ``torch.load``.

    Raises:
        CheckpointError: the file is missing, damaged, not a checkpoint, or holds something outside the allow-list.
    """
    try:
        if _is_torchscript(file):
            raise CheckpointError("It is a TorchScript program, which loading would run.")
        checkpoint = torch.load(file, map_location=map_location, weights_only=False, pickle_module=_PICKLE)
    except (CheckpointError, FileNotFoundError) as error:
        raise CheckpointError(f"Cannot load the checkpoint {file}: {error}") from None
    # A damaged pickle can fail in any way that an opcode can.
    except Exception as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise CheckpointError(f"The checkpoint {file} is damaged or is not one of RecBole's: {reason}") from error
    if isinstance(checkpoint, dict) and isinstance(checkpoint.get("config"), Config):
        config = checkpoint["config"]
        config.model_class = getattr(config.model_class, "cls", config.model_class)
    return checkpoint


def _is_torchscript(file: Any) -> bool:
    start = file.tell() if hasattr(file, "tell") else None
    try:
        if not zipfile.is_zipfile(file):
            return False
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    finally:
        if start is not None:
            file.seek(start)
