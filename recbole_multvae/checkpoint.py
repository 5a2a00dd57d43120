"""Reading RecBole's ``.pth`` files without executing anything that is inside.

A RecBole checkpoint is a pickle of tensors, of plain values and of a few objects (its ``Config``; for some models an
embedding layer and the data set). ``torch.load(weights_only=True)``, the default since torch 2.6, refuses such objects and
so refuses every RecBole checkpoint; ``weights_only=False`` would run whatever the file says. The exporter's reader
(:mod:`multvae_export.reading`) runs the few instructions that RecBole needs. Here the objects are made:

* an object of RecBole, torch.nn or scipy.sparse is created empty and gets its attributes: its ``__init__`` never runs (that
  of ``Config`` evaluates strings);
* a matrix of scipy.sparse is checked, as SciPy's C functions would read outside of the memory of a wrong one;
* any other object is refused, and the error names it. ``torch.serialization.add_safe_globals`` admits classes of your own.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import yaml
from scipy import sparse
from torch import Tensor, nn

from recbole_multvae.errors import CheckpointError
from recbole_multvae.files import atomic_write

# In a bare clone, where nothing is installed, the exporter lies beside the plugin.
if importlib.util.find_spec("multvae_export") is None:
    sys.path.append(str(Path(__file__).parents[1] / "export"))

from multvae_export.reading import (
    FORMAT_VERSION,
    PACKAGES,
    TEST_RESULT,
    Archive,
    DamagedCheckpointError,
    ExportError,
    Maker,
    Name,
    UnsafeCheckpointError,
    newest,
    unpack,
)

__all__ = ["FORMAT_VERSION", "UPDATED", "add_test_result", "check_format", "load", "load_for_recbole", "newest"]

#: The entry of ``other_parameter`` of a model to which ``multvae-update`` has added clicks.
UPDATED = "updated"

_COO, _LIL = (sparse.coo_matrix, sparse.coo_array), (sparse.lil_matrix, sparse.lil_array)


class _Live(Maker):
    """Makes objects of the classes that the file names."""

    arrays: ClassVar[dict[str, type[np.ndarray]]] = {"ndarray": np.ndarray, "matrix": np.matrix}
    check_sums = False  # As in torch.load: it would take half as long again.

    def __init__(self, map_location: Any, archive: Archive) -> None:
        super().__init__(archive)
        self._restore = torch.serialization._get_restore_location(map_location)
        self._matrices: list[Any] = []

    def named(self, name: Name) -> Any:
        if name == Name("yaml.loader", "FullLoader"):
            return yaml.FullLoader
        if not name.module.startswith(PACKAGES):
            return name
        cls = getattr(importlib.import_module(name.module), name.name, None)
        # Not a class that the module merely imports (Threat 2 of multvae_export.reading).
        return cls if isinstance(cls, type) and cls.__module__ == name.module else self.unknown(name)

    def unknown(self, name: Name) -> Any:
        for allowed in torch.serialization.get_safe_globals():
            if isinstance(allowed, type) and (allowed.__module__, allowed.__qualname__) == (name.module, name.name):
                return allowed
        cls = str(name).rpartition(".")[2]
        raise UnsafeCheckpointError(
            f"{name} is not something that RecBole writes, and loading would have to run it: if you trust the file "
            f"and this is a class of yours, call torch.serialization.add_safe_globals([{cls}]) first"
        )

    def placed(self, content: torch.UntypedStorage, location: str) -> torch.UntypedStorage:
        return self._restore(content, location)

    def is_enum(self, cls: Any) -> bool:
        return isinstance(cls, type) and issubclass(cls, Enum)

    def enum(self, cls: Any, value: int | str, by_name: bool = False) -> Any:
        return cls[value] if by_name else cls(value)

    def empty(self, cls: Any) -> Any:
        return object.__new__(cls) if isinstance(cls, type) and not self.is_enum(cls) else None

    def set_attributes(self, target: Any, state: dict[str, Any]) -> None:
        # Threat 3 of multvae_export.reading.
        if hidden := [name for name in state if callable(getattr(type(target), name, None))]:
            raise UnsafeCheckpointError(f"an attribute of it would hide the method {hidden[0]} of {type(target).__name__}")
        if sparse.issparse(target):
            self._matrices.append(target)
        if isinstance(target, nn.Module):  # A subclass's own __setstate__ may loop as often as the file says.
            nn.Module.__setstate__(target, state)
        elif hasattr(target, "__setstate__"):
            target.__setstate__(state)
        else:
            vars(target).update(state)

    def set_metadata(self, state_dict: OrderedDict[Any, Any], state: Any) -> None:
        if isinstance(state, dict) and "_metadata" in state:
            state_dict._metadata = state["_metadata"]  # type: ignore[attr-defined]

    def finish(self, value: Any) -> None:
        super().finish(value)
        for matrix in self._matrices:
            self.spend(_entries(matrix))
            _check_matrix(matrix)

    def tensor(self, *arguments: Any) -> Tensor:
        return super().tensor(*arguments).requires_grad_(arguments[4] is True)

    def parameter(self, data: Any, requires_grad: Any = True, *_: Any) -> nn.Parameter:
        return nn.Parameter(super().parameter(data), requires_grad is True)

    def device(self, *names: Any) -> torch.device:
        return torch.device(super().device(*names))

    def logger(self, name: Any = "root") -> logging.Logger:
        super().logger(name)
        if name != "root" and name not in logging.Logger.manager.loggerDict:  # A new one would stay after the file is read.
            raise DamagedCheckpointError("it has a logger that this program does not have")
        return logging.getLogger(name)


def _entries(matrix: Any) -> int:
    """How many numbers a check of a sparse matrix reads. Matrices may share their parts."""
    if isinstance(matrix, _LIL):
        return sum(map(len, [*matrix.rows, *matrix.data]))
    return sum(part.size for part in vars(matrix).values() if isinstance(part, np.ndarray))


def _check_matrix(matrix: Any) -> None:
    """Refuse a sparse matrix whose parts do not fit each other (Threat 5 of multvae_export.reading).

    Raises:
        ValueError: they do not, or the format is one that RecBole does not use.
    """
    if hasattr(matrix, "check_format"):  # csr, csc and bsr.
        matrix.check_format(full_check=True)
    elif isinstance(matrix, _COO):
        matrix._check()
    elif isinstance(matrix, _LIL):
        lengths = [len(row) for row in matrix.rows]
        columns = [column for row in matrix.rows for column in row]
        if lengths != [len(row) for row in matrix.data] or len(lengths) != matrix.shape[0]:
            raise ValueError("the rows of a lil_matrix and their values differ in number")
        if columns and not 0 <= min(columns) <= max(columns) < matrix.shape[1]:
            raise ValueError("a column of a lil_matrix is outside of it")
    else:
        raise ValueError(f"a sparse matrix is a {type(matrix).__name__}, expected one of csr, csc, bsr, coo or lil")


def load(file: Any, map_location: Any = None) -> Any:
    """Load what ``torch.save`` or RecBole's ``Trainer`` wrote.

    Args:
        file: a path or an open binary file.
        map_location: as in ``torch.load``.

    Raises:
        CheckpointError: the file is missing, damaged, not a checkpoint, or holds something outside the allow-list.
    """
    try:
        return unpack(file, partial(_Live, map_location))
    except (OSError, UnsafeCheckpointError) as error:
        raise CheckpointError(f"Cannot load the checkpoint {file}: {error}.") from None
    except ExportError as error:
        raise CheckpointError(f"The checkpoint {file} is damaged or is not one of RecBole's: {error}.") from error


def load_for_recbole(file: Any, *args: Any, **kwargs: Any) -> Any:
    """Load a checkpoint for RecBole's own code, which takes its data set for that of the training.

    Raises:
        CheckpointError: see :func:`load`; or the model has taken the clicks of a day, which are not in the data set.
    """
    saved = load(file, *args, **kwargs)
    added = saved.get("other_parameter") if isinstance(saved, dict) else None
    if isinstance(added, dict) and UPDATED in added:
        raise CheckpointError(
            f"{file} was updated with the clicks of a day, so that its data set is not that of its model, as RecBole's own "
            "functions expect: take multvae-recommend, multvae-export, or recbole_multvae.rebuild.model.load_model."
        )
    return saved


def check_format(version: Any) -> None:
    """Refuse a checkpoint that a newer version of this package wrote.

    Raises:
        CheckpointError: the ``format_version`` of the checkpoint is not known.
    """
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CheckpointError(
            f"The checkpoint is of format {version}, and this version knows up to {FORMAT_VERSION}: update recbole-multvae."
        )


def add_test_result(file: str, result: Mapping[str, float]) -> None:
    """Add the metrics of the test to a checkpoint that has none yet, as a part of the archive of ``torch.save``.

    Raises:
        OSError: the file cannot be written.
    """
    with zipfile.ZipFile(file) as archive:
        part_name = f"{archive.namelist()[0].partition('/')[0]}/{TEST_RESULT}"
        if part_name in archive.namelist():
            return
    with atomic_write(file) as part:
        shutil.copyfile(file, part)
        with zipfile.ZipFile(part, "a") as archive:
            archive.writestr(part_name, json.dumps({name: float(value) for name, value in result.items()}))
