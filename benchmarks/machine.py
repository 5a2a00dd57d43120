"""One line that says which machine, which packages and which day a figure comes from."""

from __future__ import annotations

import datetime
import logging
import sys
import warnings

import torch


def describe() -> str:
    """The machine, the version of torch, and the date."""
    from recbole_multvae.hardware import describe_machine  # Not at the head: the package changes RecBole when imported.

    return f"{describe_machine()}, torch {torch.__version__}, {datetime.date.today()}"


def quiet() -> None:
    """Keep RecBole from reading the benchmark's flags, and logs and warnings from the table."""
    sys.argv = sys.argv[:1]
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
