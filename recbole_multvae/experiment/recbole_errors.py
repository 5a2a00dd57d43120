"""RecBole's errors as one sentence.

RecBole raises an error with a text if it finds a mistake of the user: this text is shown as it is. Any other error is a bug,
of RecBole or of this package, and keeps its traceback.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import recbole

from recbole_multvae.errors import ConfigurationError, DataError, MultVAEError

_LONGEST = 300
_RECBOLE = str(Path(recbole.__file__).parent)


def one_line(text: object) -> str:
    """A text in one line, cut if it is very long: some errors of RecBole print a whole table."""
    line = " ".join(str(text).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."


@contextmanager
def explain_recbole_errors() -> Iterator[None]:
    """Turn an error that RecBole raises on purpose into one of ours.

    Raises:
        ConfigurationError: RecBole, or a package it needs, refuses the configuration.
        DataError: a model of RecBole reads a column that the data set does not have.
    """
    try:
        yield
    except MultVAEError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        if _is_missing_column(error, frames):
            raise DataError(
                f"The model reads the column {error.args[0]!r}, which the data set does not have: add it to the .inter file "
                "and to load_col, or choose the settings that make RecBole compute it, such as threshold for labels and "
                "train_neg_sample_args for negative items."
            ) from error
        if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("recbole"):
            raise ConfigurationError(f"This needs the package {error.name}, which is not installed.") from error
        if str(error) and _in_recbole(frames[-1]) and (frames[-1].line or "").startswith("raise "):
            raise ConfigurationError(f"RecBole refuses this: {one_line(error)}") from error
        raise


def _in_recbole(frame: traceback.FrameSummary) -> bool:
    return Path(frame.filename).is_relative_to(_RECBOLE)


def _is_missing_column(error: Exception, frames: traceback.StackSummary) -> bool:
    """Whether RecBole's code read a column of a batch that does not exist."""
    return (
        isinstance(error, KeyError)
        and len(frames) > 1
        and Path(frames[-1].filename).name == "interaction.py"
        and all(_in_recbole(frame) for frame in frames[-2:])
    )
