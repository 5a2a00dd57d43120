"""Reads a file with a maker."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

from multvae_export.errors import DamagedCheckpointError, ExportError
from multvae_export.reading.allowed import printable
from multvae_export.reading.archive import Archive
from multvae_export.reading.interpreter import Interpreter
from multvae_export.reading.maker import Maker


def unpack(file: Any, make: Callable[[Archive], Maker]) -> Any:
    """Read what ``torch.save`` wrote, without executing anything that is inside.

    Args:
        file: a path or an open binary file.
        make: the maker for an archive.

    Raises:
        OSError: there is no such file, or it cannot be opened.
        NotACheckpointError: it is of another kind.
        DamagedCheckpointError: it is truncated or damaged.
        UnsafeCheckpointError: it holds a name, a call or an instruction that is not on the list.
    """
    with open(file, "rb") if isinstance(file, str | os.PathLike) else contextlib.nullcontext(file) as stream:
        try:
            archive = Archive(stream)
            maker = make(archive)
            value = Interpreter(archive.read("data.pkl", maker.check_sums), maker).run()
            maker.finish(value)
            return value
        except ExportError:
            raise
        # A damaged file can fail in any way that seeking in it or an instruction of its pickle can.
        except Exception as error:
            raise DamagedCheckpointError(f"reading it fails with {type(error).__name__}: {printable(str(error))}") from error
